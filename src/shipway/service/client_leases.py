"""Keeps and ends the leases of clients' agents by what their runs say, and by what they do not."""

from __future__ import annotations

from shipway.domain.ids import AgentId
from shipway.domain.item import CLIENT_HANDLE, Event, Failure, FailureClass, Item, Stage, State
from shipway.domain.run import Run
from shipway.service.lease_time import LeaseTime
from shipway.service.leases import Leases
from shipway.service.ports import Tx
from shipway.service.reports import Report

UNACKED_TERM_MS = 50_000  # with upkeep's grace a minute, after which it waits again
UNACKED_MS = 40_000  # its agent lives and did not want it: given back, and not counted
RENEWED_MS = 5_000  # between two renewals by polls
SILENT_MS = 5 * 60_000  # a program that was heard of, and then was not, though its agent lives
STOPPED_MS = 75_000  # the same of one that was to be stopped: its agent has killed it by now


def is_going_on(item: Item) -> bool:
    """Tell whether a program goes on that a client's agent started."""
    return item.is_clients and item.state is State.RUNNING


class ClientLeases:
    """The life of such a lease after its ack; each call is one transaction's work."""

    def __init__(self, *, leases: Leases, lease_time: LeaseTime) -> None:
        self._leases = leases
        self._lease_time = lease_time

    def heard(self, tx: Tx, item: Item) -> None:
        """Renew a lease whose program said something."""
        assert item.lease_token is not None
        tx.leases.renew({item.id: item.lease_token}, lease_now=self._lease_time.now())

    def ended(self, tx: Tx, item: Item, exit_code: int) -> None:
        """End a lease whose program has told of its end."""
        failure = None
        if exit_code != 0:
            failure = Failure(
                stage=Stage.RUN,
                failure_class=FailureClass.EXIT,
                reason=f"the program exited with code {exit_code}",
                exit_code=exit_code,
            )
        event = Event.FINISH if failure is None else Event.FAIL
        self.report(tx, item, event, exit_code=exit_code, failure=failure)

    def poll(self, tx: Tx, agent: AgentId) -> int:
        """Look after what an agent holds that lives, and return how many items that is."""
        held = tx.leases.held_by(agent)
        return sum(self._look(tx, item) for item in held)

    def give_back(self, tx: Tx, agent: AgentId) -> None:
        """Take back what an agent that ends has not acked; the rest is left to its runs."""
        for item in tx.leases.held_by(agent):
            if item.state is State.LEASED:
                self.report(tx, item, Event.REQUEUE)

    def report(
        self, tx: Tx, item: Item, event: Event, *, exit_code: int | None = None,
        failure: Failure | None = None,
    ) -> bool:  # fmt: skip
        """Report on a lease as its agent would; tell whether it took effect."""
        assert item.lease_token is not None
        assert item.lease_agent is not None
        agent = tx.agents.get(item.lease_agent)
        assert agent is not None, "an agent that holds items is not forgotten"
        said = Report(
            item=item.id,
            token=item.lease_token,
            event=event,
            handle=CLIENT_HANDLE if event is Event.START else None,
            exit_code=exit_code,
            failure=failure,
        )
        (result,) = self._leases.take(tx, agent, [said])
        return result.ok

    def _look(self, tx: Tx, item: Item) -> bool:
        """Renew, give back or give up; tell whether the item is still held."""
        assert item.lease_deadline is not None
        silent_ms = self._lease_time.now() - (item.lease_deadline - item.lease_term)
        if item.state is State.LEASED:
            if silent_ms < UNACKED_MS:
                return True
            self.report(tx, item, Event.REQUEUE)
            return False
        if not _is_heard(tx, item):  # its agent will say so if it never is
            if silent_ms >= RENEWED_MS:  # each of its jobs polls for itself
                self.heard(tx, item)
            return True
        limit_ms = SILENT_MS if item.stop_requested_at is None else STOPPED_MS
        if silent_ms < limit_ms:
            return True
        why = f"nothing was heard of its program for {silent_ms // 1000} s"
        self._leases.lose(tx, item, why=why, actor="upkeep")
        return False


def _is_heard(tx: Tx, item: Item) -> bool:
    run: Run | None = tx.runs.get(item.entity, item.project, item.run_id)
    return run is not None and run.heard_at is not None
