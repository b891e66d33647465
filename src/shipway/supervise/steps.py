"""Decides what a supervisor does next: pure steps, with the time passed in."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from enum import StrEnum

from shipway.domain.attempt import Cause
from shipway.domain.spool import STOP_CAUSES, Seat, Verdict

ASK_LIMIT_MS = 9_000  # frozen at the deadline, waiting for the server; it leases again after 13 s
ASK_EVERY_MS = 1_000
LOST_GRACE_MS = 10_000  # the longest grace once the server said that the lease is lost
LOOK_EVERY_MS = 1_000  # the longest wait: epoll does not count suspended time
TREE_EVERY_MS = 20  # between looks at a tree that is being ended
TICK_MS = 500  # of the guardian
LEAVE_AFTER_MS = 60_000  # without program and without agent
_KILLED_CODE = 128 + signal.SIGKILL  # what a shell says of a child that SIGKILL ended


class Stage(StrEnum):
    """How far a program's end has come."""

    RUNNING = "running"  # nobody wants its end
    FROZEN = "frozen"  # its tree is stopped, the server is asked once more
    ENDING = "ending"  # it got SIGTERM
    KILLING = "killing"  # it gets SIGKILL until nothing is left


class Action(StrEnum):
    """What a slot does to a program's tree, or for it."""

    FREEZE = "freeze"  # SIGSTOP to all
    ASK = "ask"  # have the renewer ask the server
    CONTINUE = "continue"  # SIGCONT to all
    TERMINATE = "terminate"  # SIGTERM, then SIGCONT, to all
    KILL = "kill"  # SIGSTOP, then SIGKILL, to all


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a slot keeps in mind of its program."""

    grace_ms: int
    run_deadline: int  # 0 = none
    stage: Stage = Stage.RUNNING
    cause: Cause | None = None  # why we end it; None also when it ended by itself
    until: int = 0  # when the present stage is over; 0 = it has no end of its own
    ask_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a slot sees at one moment."""

    now: int
    deadline: int
    stop_by: int  # 0 = nobody asked
    stop_cause: int
    verdict: int
    is_main_gone: bool


SEATS = {
    Stage.RUNNING: Seat.RUNNING,
    Stage.FROZEN: Seat.FROZEN,
    Stage.ENDING: Seat.ENDING,
    Stage.KILLING: Seat.ENDING,
}


def step(watch: Watch, sight: Sight) -> tuple[Watch, tuple[Action, ...]]:
    """Return what to keep in mind from now on, what to do now."""
    if watch.stage is Stage.RUNNING:
        return _running(watch, sight)
    if watch.stage is Stage.FROZEN:
        return _frozen(watch, sight)
    if watch.stage is Stage.ENDING:
        limits = [watch.until]
        if sight.stop_by:
            limits.append(sight.stop_by)
        if watch.cause is not Cause.LEASE:
            limits.append(sight.deadline + ASK_LIMIT_MS)
        return _end(watch, sight.now, watch.cause, min(limits), is_new=False)
    return watch, (Action.KILL,)


def wake_at(watch: Watch, sight: Sight) -> int:
    """Return when to look again at the latest, ms on the boot clock."""
    now = sight.now
    if watch.stage in (Stage.ENDING, Stage.KILLING):
        return now + TREE_EVERY_MS
    times = [now + LOOK_EVERY_MS]
    if watch.stage is Stage.FROZEN:
        times += [watch.until, watch.ask_at]
    else:
        times += [sight.deadline] + ([watch.run_deadline] if watch.run_deadline else [])
    return max(now, min(times))


def kill_by(watch: Watch) -> int:
    """Return when the tree will have been killed at the latest, for the watchdog; 0 = no plan."""
    if watch.stage is Stage.RUNNING:
        return watch.run_deadline + watch.grace_ms if watch.run_deadline else 0
    return watch.until


def classify(
    status: int, cause: Cause | None, *, is_group_oom: bool, is_machine_oom: bool
) -> tuple[Cause, int | None, int | None]:
    """Return cause, exit code and signal of a wait status."""
    code = os.waitstatus_to_exitcode(status)
    exit_code, number = (code, None) if code >= 0 else (None, -code)
    if cause is not None:
        return cause, exit_code, number
    if number == signal.SIGKILL or exit_code == _KILLED_CODE:
        if is_group_oom:
            return Cause.OOM, exit_code, number
        if is_machine_oom:
            return Cause.OOM_PROBABLE, exit_code, number
    return (Cause.EXIT if number is None else Cause.SIGNAL), exit_code, number


def may_leave(now: int, *, beat: int, last_live: int) -> bool:
    """Tell whether a guardian is of no use any more: no program, no agent, for a minute."""
    return now - max(beat, last_live) >= LEAVE_AFTER_MS


def _running(watch: Watch, sight: Sight) -> tuple[Watch, tuple[Action, ...]]:
    now = sight.now
    if sight.is_main_gone:
        return _end(watch, now, None, now + watch.grace_ms)
    if sight.stop_by:
        return _end(watch, now, STOP_CAUSES[sight.stop_cause], sight.stop_by)
    if watch.run_deadline and now >= watch.run_deadline:
        return _end(watch, now, Cause.TIME_LIMIT, now + watch.grace_ms)
    if sight.verdict == Verdict.LOST:
        return _end(watch, now, Cause.LEASE, now + min(watch.grace_ms, LOST_GRACE_MS))
    if now >= sight.deadline:
        frozen = replace(
            watch, stage=Stage.FROZEN, until=now + ASK_LIMIT_MS, ask_at=now + ASK_EVERY_MS
        )
        return frozen, (Action.FREEZE, Action.ASK)
    return watch, ()


def _frozen(watch: Watch, sight: Sight) -> tuple[Watch, tuple[Action, ...]]:
    now = sight.now
    if sight.is_main_gone:
        return _end(watch, now, None, min(now + watch.grace_ms, watch.until))
    if sight.verdict == Verdict.LOST or now >= watch.until:
        return _end(watch, now, Cause.LEASE, now)
    if sight.stop_by:
        return _end(watch, now, STOP_CAUSES[sight.stop_cause], min(sight.stop_by, watch.until))
    if sight.deadline > now:
        return replace(watch, stage=Stage.RUNNING, until=0), (Action.CONTINUE,)
    if now >= watch.ask_at:
        return replace(watch, ask_at=now + ASK_EVERY_MS), (Action.ASK,)
    return watch, ()


def _end(
    watch: Watch, now: int, cause: Cause | None, until: int, *, is_new: bool = True
) -> tuple[Watch, tuple[Action, ...]]:
    if now >= until:
        killing = replace(watch, stage=Stage.KILLING, cause=cause, until=until)
        return killing, (Action.KILL,)
    ending = replace(watch, stage=Stage.ENDING, cause=cause, until=until)
    return ending, (Action.TERMINATE,) if is_new else ()
