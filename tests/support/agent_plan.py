"""Tells the agent's plan stories: one event after another, and what follows from each."""

from __future__ import annotations

from typing import Any

from shipway.agent import effects as do
from shipway.agent import events as on
from shipway.agent.lease import Lease
from shipway.agent.need import Stock, need_of
from shipway.agent.plan import step
from shipway.agent.state import (
    Progress,
    State,
)
from shipway.domain.attempt import Cause, Ending
from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Event, Failure, FailureClass, Stage

TERM = 30_000
RUNNING_TERM = 900_000
BROKEN = Failure(stage=Stage.SOURCE, failure_class=FailureClass.SOURCE, reason="no such commit")


def a_lease(name: str = "a", *, attempt: int = 1, **given: Any) -> Lease:
    fields: dict[str, Any] = {
        "key": f"{name}.{attempt}",
        "item": ItemId(name),
        "attempt": attempt,
        "token": Token(f"token-{name}-{attempt}"),
        "job_key": "key",
        "term_ms": TERM,
        "resource": "local-process",
    }
    return Lease(**{**fields, **given})


class Agent:
    """A plan with its state, told one event after another."""

    def __init__(self, *, slots: int = 1, state: State | None = None) -> None:
        self.state = state or State(slots=slots)
        self.done: list[do.Effect] = []
        self.now = 1_000

    def hear(self, *events: on.Event) -> list[do.Effect]:
        """Take events and the turn that ends them, and return what follows."""
        effects: list[do.Effect] = []
        for event in (*events, on.Turn(at=self.now)):
            self.state, more = step(self.state, event)
            effects += more
        self.done += effects
        return effects

    def wait(self, ms: int) -> list[do.Effect]:
        self.now += ms
        return self.hear()

    def lease(self, *leases: Lease) -> list[do.Effect]:
        return self.hear(on.Leased(at=self.now, sent_at=self.now, leases=leases))

    def answer(self, lease: Lease, event: Event, **given: Any) -> list[do.Effect]:
        fields: dict[str, Any] = {"is_ok": True, "term_ms": RUNNING_TERM, **given}
        return self.hear(
            on.Answered(
                at=self.now,
                sent_at=self.now,
                key=lease.key,
                token=lease.token,
                event=event,
                **fields,
            )
        )

    def reach(self, lease: Lease, progress: Progress) -> list[do.Effect]:
        """Take a lease as far as a phase, and return the effects of the last event."""
        at, key = self.now, lease.key
        steps = {
            Progress.FETCHING: lambda: self.lease(lease),
            Progress.BUILDING: lambda: self.hear(on.Fetched(at=at, key=key)),
            Progress.GATE: lambda: self.hear(on.Built(at=at, key=key)),
            Progress.STARTING: lambda: self.answer(lease, Event.START),
            Progress.RUNNING: lambda: self.hear(on.Started(at=at, key=key, handle=f"h-{key}")),
            Progress.DRAINING: lambda: self.end(lease),
            Progress.REPORTING: lambda: self.hear(on.Drained(at=at, key=key, log_sizes={})),
        }
        effects: list[do.Effect] = []
        for name, take in steps.items():
            effects = take()
            if name is progress:
                assert self.progress(lease) is progress
                return effects
        raise AssertionError(progress)

    def end(self, lease: Lease, **given: Any) -> list[do.Effect]:
        fields: dict[str, Any] = {"cause": Cause.EXIT, "exit_code": 0, **given}
        return self.hear(on.Ended(at=self.now, key=lease.key, ending=Ending(**fields)))

    def stop(self, lease: Lease, grace_s: float | None = None) -> list[do.Effect]:
        return self.hear(
            on.StopAsked(at=self.now, item=lease.item, token=lease.token, grace_s=grace_s)
        )

    def lose(self, lease: Lease) -> list[do.Effect]:
        return self.hear(on.Lost(at=self.now, item=lease.item, token=lease.token))

    def progress(self, lease: Lease) -> Progress | None:
        attempt = self.state.attempts.get(lease.key)
        return None if attempt is None else attempt.progress


def room(state: State, now: int) -> int:
    """Return how many leases an agent would ask for with nothing at hand."""
    return need_of(state, now, held={}, stock=Stock()).room


def only(kind: type[Any], effects: list[do.Effect]) -> Any:
    found = [effect for effect in effects if isinstance(effect, kind)]
    assert len(found) == 1, effects
    return found[0]


def kinds(effects: list[do.Effect]) -> set[type]:
    return {type(effect) for effect in effects} - {do.Record}
