"""Says how an attempt ended: from the runner's ending to the report that the server gets."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace

from shipway.agent.lease import Lease, Report
from shipway.agent.reasons import a_reason, a_tail
from shipway.agent.state import Attempt
from shipway.domain.attempt import Cause, Ending
from shipway.domain.item import Event, Failure, FailureClass, Stage

_CLASSES: Mapping[Cause, FailureClass] = {
    Cause.SIGNAL: FailureClass.SIGNAL,
    Cause.OOM: FailureClass.OOM,
    Cause.OOM_PROBABLE: FailureClass.OOM_PROBABLE,
    Cause.TIME_LIMIT: FailureClass.TIME_LIMIT,
    Cause.LEASE: FailureClass.LOST,
    Cause.SUPERVISOR: FailureClass.LOST,
    Cause.NOT_STARTED: FailureClass.AGENT,
}
_REASONS: Mapping[Cause, str] = {
    Cause.OOM: "the kernel ended the program because its memory ran out",
    Cause.OOM_PROBABLE: "the program was killed while the machine ran out of memory",
    Cause.LEASE: "its lease ran out before the server could be reached",
    Cause.SUPERVISOR: "its supervisor died",
    Cause.NOT_STARTED: "the program could not be started",
}


def verdict(attempt: Attempt, *, log_sizes: Mapping[str, int], log_tail: Sequence[str]) -> Report:
    """Return the last report of an attempt that is over."""
    assert not attempt.is_lost
    event, exit_code, failure = _judge(attempt)
    if failure is not None and log_tail:
        failure = replace(failure, log_tail=a_tail(log_tail))
    return Report(
        key=attempt.lease.key,
        item=attempt.lease.item,
        token=attempt.lease.token,
        event=event,
        handle=attempt.handle,
        exit_code=exit_code,
        failure=failure,
        log_sizes=log_sizes,
    )


def failure_of(lease: Lease, ending: Ending) -> Failure | None:
    """Return why a program failed, or None for one that exited 0, was stopped or never began."""
    is_ours = ending.cause in {Cause.STOP, Cause.WITHDRAWN}
    if is_ours or (ending.cause is Cause.EXIT and ending.exit_code == 0):
        return None
    failure_class = _CLASSES.get(ending.cause, FailureClass.EXIT)
    return Failure(
        stage=Stage.AGENT if failure_class is FailureClass.LOST else Stage.RUN,
        failure_class=failure_class,
        reason=_reason(lease, ending),
        exit_code=ending.exit_code,
        signal=ending.signal,
    )


def _judge(attempt: Attempt) -> tuple[Event, int | None, Failure | None]:
    ending = attempt.ending
    if attempt.stop_grace_s is not None or (ending is not None and ending.cause is Cause.STOP):
        return Event.STOP, None if ending is None else ending.exit_code, None
    if attempt.is_returned or (ending is not None and ending.cause is Cause.WITHDRAWN):
        return Event.REQUEUE, None, attempt.failure
    failure = attempt.failure if ending is None else failure_of(attempt.lease, ending)
    if ending is not None and failure is None:
        return Event.FINISH, 0, None
    assert failure is not None
    return Event.FAIL, None if ending is None else ending.exit_code, failure


def _reason(lease: Lease, ending: Ending) -> str:
    if ending.reason:
        return a_reason(ending.reason)
    if ending.cause is Cause.SIGNAL:
        return f"the program was ended by signal {_signal_name(ending.signal)}"
    if ending.cause is Cause.TIME_LIMIT:
        return f"the program ran longer than its run limit of {lease.run_limit_s:g} s"
    if ending.cause is Cause.EXIT:
        return f"the program exited with code {ending.exit_code}"
    return _REASONS[ending.cause]


def _signal_name(number: int | None) -> str:
    try:
        return f"{number} ({signal.Signals(number or 0).name})"
    except ValueError:
        return str(number)
