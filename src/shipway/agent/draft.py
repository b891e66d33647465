"""The working copy of a state while events are taken: what the plan's rules write to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shipway.agent.change import change
from shipway.agent.effects import Drain, Effect, Forget, Mark, Record, Stop
from shipway.agent.lease import Key
from shipway.agent.state import STARTED, Attempt, Progress, Settling, State
from shipway.agent.verdict import failure_of
from shipway.domain.attempt import Cause
from shipway.domain.ids import ItemId, Token


@dataclass(slots=True)
class Draft:
    """A state that is being changed, and what should be done because of that."""

    slots: int
    attempts: dict[Key, Attempt]
    effects: list[Effect]
    is_draining: bool
    is_short: bool
    settling: Settling
    renewed_at: int
    disowned: tuple[Token, ...]
    run_ms: float

    def put(self, attempt: Attempt) -> None:
        """Keep a changed attempt in its place."""
        self.attempts[attempt.lease.key] = attempt

    def do(self, effect: Effect) -> None:
        """Have something done."""
        self.effects.append(effect)

    def holder(self, item: ItemId, token: Token) -> Attempt | None:
        """Return the attempt that has this lease."""
        for attempt in self.attempts.values():
            if attempt.lease.token == token and attempt.lease.item == item:
                return attempt
        return None

    def close(self, attempt: Attempt, **how: Any) -> None:
        """Let what is left of it go to the server; how it ended is said after that."""
        attempt = change(attempt, progress=Progress.DRAINING, wake_at=None, **how)
        ending = attempt.ending
        has_failed = (
            attempt.failure is not None
            if ending is None
            else failure_of(attempt.lease, ending) is not None
        )
        self.put(attempt)
        self.do(
            Drain(
                lease=attempt.lease,
                with_tail=has_failed,
                program_size=None if ending is None else ending.log_size,
            )
        )

    def end(self, attempt: Attempt, cause: Cause) -> None:
        """End a program; one that the runner has not answered for yet is ended when it does."""
        if attempt.progress is Progress.STARTING and attempt.wake_at is not None:
            # The runner refused it so far, so nothing runs.
            refused = change(attempt, wake_at=None)
            if attempt.is_lost:
                self.forget(refused)
            else:
                self.close(refused)
            return
        if attempt.handle is None:
            self.put(attempt)
            return
        grace_s = attempt.lease.grace_s if attempt.stop_grace_s is None else attempt.stop_grace_s
        self.put(change(attempt, progress=Progress.ENDING))
        self.do(Stop(lease=attempt.lease, handle=attempt.handle, grace_s=grace_s, cause=cause))

    def lose(self, attempt: Attempt) -> None:
        """Drop an attempt whose lease is another's, its program first; nobody is told."""
        if attempt.is_lost:
            return
        gone = change(attempt, is_lost=True)
        if attempt.progress in STARTED:
            self.end(gone, Cause.LEASE)
        else:
            self.forget(gone)

    def forget(self, attempt: Attempt) -> None:
        """Let go of an attempt: nothing is owed for it any more."""
        lease = attempt.lease
        del self.attempts[lease.key]
        failure = attempt.failure
        if failure is None and attempt.report is not None:
            failure = attempt.report.failure
        self.do(Record(mark=Mark.DONE, key=lease.key))
        self.do(
            Forget(lease=lease, handle=attempt.handle, failure=failure, is_lost=attempt.is_lost)
        )


def draft_of(state: State) -> Draft:
    """Return a working copy; the state itself stays as it is."""
    return Draft(
        slots=state.slots,
        attempts=dict(state.attempts),
        effects=[],
        is_draining=state.is_draining,
        is_short=state.is_short,
        settling=state.settling,
        renewed_at=state.renewed_at,
        disowned=state.disowned,
        run_ms=state.run_ms,
    )


def state_of(draft: Draft) -> State:
    """Return what became of a working copy; nobody may write to it after that."""
    return State(
        slots=draft.slots,
        attempts=draft.attempts,
        is_draining=draft.is_draining,
        is_short=draft.is_short,
        settling=draft.settling,
        renewed_at=draft.renewed_at,
        disowned=draft.disowned,
        run_ms=draft.run_ms,
    )
