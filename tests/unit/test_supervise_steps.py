"""What a supervisor decides, with the time passed in."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from shipway.domain.attempt import Cause
from shipway.domain.spool import STOP_CAUSES, Verdict
from shipway.runners.local_watchdog import STRIKES, Suspicion, suspect
from shipway.supervise.renewer import Change, Held, changes, whom_to_renew
from shipway.supervise.steps import (
    ASK_EVERY_MS,
    ASK_LIMIT_MS,
    LEAVE_AFTER_MS,
    LOOK_EVERY_MS,
    LOST_GRACE_MS,
    TREE_EVERY_MS,
    Action,
    Sight,
    Stage,
    Watch,
    classify,
    kill_by,
    may_leave,
    step,
    wake_at,
)

NOW = 1_000_000


def a_watch(**changes: object) -> Watch:
    return replace(Watch(grace_ms=5_000, run_deadline=0), **changes)  # type: ignore[arg-type] # by name


def a_sight(**changes: object) -> Sight:
    values = Sight(
        now=NOW,
        deadline=NOW + 60_000,
        stop_by=0,
        stop_cause=0,
        verdict=Verdict.NONE,
        is_main_gone=False,
    )
    return replace(values, **changes)  # type: ignore[arg-type] # by name


def test_nothing_to_do_changes_nothing() -> None:
    assert step(a_watch(), a_sight()) == (a_watch(), ())


@pytest.mark.parametrize("cause", STOP_CAUSES)
def test_stop_terminates_until_its_time(cause: Cause) -> None:
    sight = a_sight(stop_by=NOW + 700, stop_cause=STOP_CAUSES.index(cause))
    watch, actions = step(a_watch(), sight)
    assert actions == (Action.TERMINATE,)
    assert (watch.stage, watch.cause, watch.until) == (Stage.ENDING, cause, NOW + 700)


def test_stop_without_grace_kills_at_once() -> None:
    watch, actions = step(a_watch(), a_sight(stop_by=NOW))
    assert (watch.stage, actions) == (Stage.KILLING, (Action.KILL,))


def test_grace_over_kills_and_goes_on_killing() -> None:
    watch, _ = step(a_watch(), a_sight(stop_by=NOW + 700))
    watch, actions = step(watch, a_sight(now=NOW + 699, stop_by=NOW + 700))
    assert actions == ()
    watch, actions = step(watch, a_sight(now=NOW + 700, stop_by=NOW + 700))
    assert (watch.stage, watch.cause, actions) == (Stage.KILLING, Cause.STOP, (Action.KILL,))
    assert step(watch, a_sight(now=NOW + 900)) == (watch, (Action.KILL,))


def test_later_stop_shortens_the_grace_never_lengthens_it() -> None:
    watch, _ = step(a_watch(), a_sight(stop_by=NOW + 700))
    shorter, _ = step(watch, a_sight(stop_by=NOW + 300))
    assert shorter.until == NOW + 300
    longer, _ = step(shorter, a_sight(stop_by=NOW + 900))
    assert longer.until == NOW + 300


def test_run_limit_terminates_with_the_attempts_grace() -> None:
    watch, actions = step(a_watch(run_deadline=NOW), a_sight())
    assert actions == (Action.TERMINATE,)
    assert (watch.cause, watch.until) == (Cause.TIME_LIMIT, NOW + 5_000)


def test_leftovers_of_a_main_program_that_ended_get_term_and_no_cause() -> None:
    watch, actions = step(a_watch(), a_sight(is_main_gone=True, stop_by=NOW + 100))
    assert actions == (Action.TERMINATE,)
    assert (watch.stage, watch.cause) == (Stage.ENDING, None)


def test_lease_said_to_be_lost_has_a_short_grace() -> None:
    watch, _ = step(a_watch(grace_ms=600_000), a_sight(verdict=Verdict.LOST))
    assert (watch.cause, watch.until) == (Cause.LEASE, NOW + LOST_GRACE_MS)


def test_deadline_freezes_and_asks() -> None:
    watch, actions = step(a_watch(), a_sight(deadline=NOW))
    assert actions == (Action.FREEZE, Action.ASK)
    assert (watch.stage, watch.until) == (Stage.FROZEN, NOW + ASK_LIMIT_MS)


def frozen() -> Watch:
    return step(a_watch(), a_sight(deadline=NOW))[0]


def test_frozen_tree_goes_on_when_the_lease_is_renewed() -> None:
    watch, actions = step(frozen(), a_sight(now=NOW + 500, deadline=NOW + 30_000))
    assert (watch.stage, actions) == (Stage.RUNNING, (Action.CONTINUE,))


def test_frozen_tree_asks_again_each_second() -> None:
    assert step(frozen(), a_sight(now=NOW + 10, deadline=NOW)) == (frozen(), ())
    watch, actions = step(frozen(), a_sight(now=NOW + ASK_EVERY_MS, deadline=NOW))
    assert actions == (Action.ASK,)
    assert watch.ask_at == NOW + 2 * ASK_EVERY_MS


@pytest.mark.parametrize(
    "changes",
    [
        {"now": NOW + ASK_LIMIT_MS, "deadline": NOW},
        {"now": NOW + 10, "deadline": NOW, "verdict": Verdict.LOST},
    ],
)
def test_frozen_tree_is_killed_without_grace(changes: dict[str, int]) -> None:
    watch, actions = step(frozen(), a_sight(**changes))
    assert (watch.stage, watch.cause, actions) == (Stage.KILLING, Cause.LEASE, (Action.KILL,))


def test_stop_of_a_frozen_tree_lasts_no_longer_than_its_lease_might() -> None:
    watch, actions = step(frozen(), a_sight(now=NOW + 10, deadline=NOW, stop_by=NOW + 60_000))
    assert actions == (Action.TERMINATE,)
    assert (watch.cause, watch.until) == (Cause.STOP, NOW + ASK_LIMIT_MS)


def test_deadline_that_passes_while_ending_bounds_the_grace() -> None:
    watch, _ = step(a_watch(), a_sight(stop_by=NOW + 60_000))
    watch, _ = step(watch, a_sight(deadline=NOW + 1_000, stop_by=NOW + 60_000))
    assert watch.until == NOW + 1_000 + ASK_LIMIT_MS


def test_waits_are_bounded_and_never_negative() -> None:
    assert wake_at(a_watch(), a_sight()) == NOW + LOOK_EVERY_MS
    assert wake_at(a_watch(), a_sight(deadline=NOW + 7)) == NOW + 7
    assert wake_at(a_watch(run_deadline=NOW + 5), a_sight()) == NOW + 5
    assert wake_at(a_watch(), a_sight(deadline=NOW - 7)) == NOW
    assert wake_at(a_watch(stage=Stage.KILLING), a_sight()) == NOW + TREE_EVERY_MS


def test_watchdog_learns_the_plan() -> None:
    assert kill_by(a_watch()) == 0
    assert kill_by(a_watch(run_deadline=NOW)) == NOW + 5_000
    assert kill_by(a_watch(stage=Stage.ENDING, until=NOW + 3)) == NOW + 3


EXITED_3, KILLED, SEGMENT_FAULT, SHELL_KILLED = 3 << 8, signal.SIGKILL, signal.SIGSEGV, 137 << 8


@pytest.mark.parametrize(
    ("status", "cause", "group", "machine", "expected"),
    [
        (0, None, False, False, (Cause.EXIT, 0, None)),
        (EXITED_3, None, True, True, (Cause.EXIT, 3, None)),
        (SEGMENT_FAULT, None, True, True, (Cause.SIGNAL, None, 11)),
        (KILLED, None, False, False, (Cause.SIGNAL, None, 9)),
        (KILLED, None, True, True, (Cause.OOM, None, 9)),
        (KILLED, None, False, True, (Cause.OOM_PROBABLE, None, 9)),
        (SHELL_KILLED, None, True, False, (Cause.OOM, 137, None)),
        (SHELL_KILLED, None, False, False, (Cause.EXIT, 137, None)),
        (KILLED, Cause.STOP, True, True, (Cause.STOP, None, 9)),
        (0, Cause.TIME_LIMIT, False, False, (Cause.TIME_LIMIT, 0, None)),
    ],
)
def test_endings_are_told_apart(
    status: int,
    cause: Cause | None,
    group: bool,
    machine: bool,
    expected: tuple[Cause, int | None, int | None],
) -> None:
    found = classify(status, cause, is_group_oom=group, is_machine_oom=machine)
    assert found == expected


def test_slot_past_its_time_is_proven_by_ticks_without_heartbeat() -> None:
    known = Suspicion(heartbeat=NOW)
    for _ in range(STRIKES):
        assert not known.is_proven
        known = suspect(known, now=NOW + 9_000, heartbeat=NOW, due=(0, NOW + 5_000))
    assert known.is_proven


def test_heartbeat_clears_a_slot() -> None:
    known = Suspicion(heartbeat=NOW, strikes=STRIKES - 1)
    assert suspect(known, now=NOW + 9_000, heartbeat=NOW + 1, due=(NOW,)).strikes == 0


def test_slot_within_its_time_is_no_suspect() -> None:
    known = Suspicion(heartbeat=NOW)
    assert suspect(known, now=NOW + 5_999, heartbeat=NOW, due=(0, NOW + 5_000)).strikes == 0
    assert suspect(known, now=NOW + 99_999, heartbeat=NOW, due=(0, 0)).strikes == 0


def test_guardian_leaves_after_a_minute_without_agent_and_program() -> None:
    assert not may_leave(NOW, beat=NOW - LEAVE_AFTER_MS + 1, last_live=0)
    assert not may_leave(NOW, beat=0, last_live=NOW - LEAVE_AFTER_MS + 1)
    assert may_leave(NOW, beat=0, last_live=NOW - LEAVE_AFTER_MS)


LEASES = [Held(cell=1, item="a", token="t1"), Held(cell=2, item="b", token="t2")]


def test_leases_are_renewed_only_while_the_agent_is_away() -> None:
    asks: frozenset[int] = frozenset()
    assert whom_to_renew(LEASES, now=NOW, beat=NOW - 12_000, last=0, asked=asks) == []
    assert whom_to_renew(LEASES, now=NOW, beat=NOW - 12_001, last=0, asked=asks) == LEASES
    recent = whom_to_renew(LEASES, now=NOW, beat=0, last=NOW - 9_999, asked=asks)
    assert recent == []


def test_frozen_program_is_asked_for_whoever_is_there() -> None:
    found = whom_to_renew(LEASES, now=NOW, beat=NOW, last=NOW, asked=frozenset({2}))
    assert found == LEASES[1:]


def test_answer_of_the_server_becomes_changes_of_cells() -> None:
    answer = {
        "renewed": [{"item": "a", "term_ms": 30_000}, {"item": "stranger", "term_ms": 1}],
        "lost": ["b", "stranger"],
        "stops": [{"item": "a", "token": "t1", "grace_s": 2}, {"item": "b", "grace_s": None}],
    }
    assert changes(answer, LEASES, sent_at=NOW) == [
        Change(cell=1, deadline=NOW + 27_000),
        Change(cell=2, is_lost=True),
        Change(cell=1, stop_by=NOW + 2_000),
        Change(cell=2, stop_by=NOW + 10_000),
    ]
