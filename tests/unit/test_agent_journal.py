"""The agent's journal: what is owed survives, torn ends are cut, damage is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shipway.agent.effects import Mark, Record
from shipway.agent.journal import COMPACT_BYTES, Journal, JournalDamaged, Kept
from shipway.agent.lease import Lease, read_lease
from shipway.agent.settle import held, settle
from shipway.agent.state import Progress, Settling
from shipway.domain.attempt import Cause, Ending, Phase
from shipway.plugins.runner import RunStatus


def a_lease(name: str = "a", *, padding: int = 0) -> Lease:
    value: dict[str, Any] = {
        "item": name,
        "attempt": 1,
        "token": f"token-{name}",
        "job_key": "sw_j",
        "term_ms": 30_000,
        "item_json": {"resource": "local-process", "spec": {"args": ["x" * padding]}},
    }
    return read_lease(value)


def a_status(name: str, *, ending: Ending | None = None) -> RunStatus:
    return RunStatus(
        item=name,
        attempt=1,
        token=f"token-{name}",
        handle=f"h-{name}",
        phase=Phase.RUNNING if ending is None else Phase.ENDED,
        ending=ending,
    )


def lease_record(lease: Lease) -> Record:
    return Record(mark=Mark.LEASE, key=lease.key, lease=lease, at=7)


def reopened(path: Path) -> list[Kept]:
    journal = Journal(path, boot_id="boot")
    try:
        return journal.open()
    finally:
        journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def write(path: Path) -> Callable[..., None]:
    def write(*records: Record) -> None:
        journal = Journal(path, boot_id="boot")
        journal.open()
        journal.write(records)
        journal.close()

    return write


def test_what_is_owed_is_found_again_in_order(path: Path, write: Callable[..., None]) -> None:
    first, second, third = a_lease("c"), a_lease("a"), a_lease("b")
    write(lease_record(first), lease_record(second), lease_record(third))
    write(
        Record(mark=Mark.GATE, key=second.key),
        Record(mark=Mark.GATE, key=third.key),
        Record(mark=Mark.START, key=third.key, handle="h"),
    )
    kept = reopened(path)
    assert [one.lease for one in kept] == [first, second, third]
    assert [(one.has_passed, one.handle) for one in kept] == [
        (False, None),
        (True, None),
        (True, "h"),
    ]


def test_what_is_done_is_forgotten(path: Path, write: Callable[..., None]) -> None:
    lease = a_lease()
    write(lease_record(lease), Record(mark=Mark.DONE, key=lease.key))
    assert reopened(path) == []


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_record_is_cut_off(path: Path, write: Callable[..., None], cut: int) -> None:
    write(lease_record(a_lease("a")), lease_record(a_lease("b")))
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    assert [one.lease.item for one in reopened(path)] == ["a"]
    assert [one.lease.item for one in reopened(path)] == ["a"]


def test_a_damaged_middle_is_an_error_that_names_the_line(
    path: Path, write: Callable[..., None]
) -> None:
    write(lease_record(a_lease("a")), lease_record(a_lease("b")))
    data = bytearray(path.read_bytes())
    data[data.index(b"token-a")] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(JournalDamaged, match=r"line 2 of .*journal is damaged"):
        reopened(path)


def test_a_long_journal_of_done_work_is_written_anew(path: Path) -> None:
    journal = Journal(path, boot_id="boot")
    journal.open()
    live = a_lease("live")
    journal.write([lease_record(live)])
    for number in range(50):
        lease = a_lease(f"n{number}", padding=COMPACT_BYTES // 40)
        journal.write([lease_record(lease), Record(mark=Mark.DONE, key=lease.key)])
    journal.close()
    assert path.stat().st_size < COMPACT_BYTES
    assert [one.lease for one in reopened(path)] == [live]


def test_after_a_power_cut_nothing_is_owed_and_the_server_settles_it(
    path: Path, write: Callable[..., None]
) -> None:
    write(lease_record(a_lease()))
    data = bytearray(path.read_bytes())
    data[-30:] = bytes(30)  # what was not synced may be anything
    path.write_bytes(bytes(data) + b"rest\n")
    journal = Journal(path, boot_id="another")
    assert journal.open() == []
    journal.close()


def test_marks_are_synced_in_the_background_once_for_many(path: Path) -> None:
    waiting: list[Callable[[], None]] = []
    journal = Journal(path, boot_id="boot", later=waiting.append)
    journal.open()
    for name in "abc":
        journal.write([lease_record(a_lease(name))])
    assert len(waiting) == 1
    waiting.pop()()
    journal.write([lease_record(a_lease("d"))])
    assert len(waiting) == 1
    journal.close()
    waiting.pop()()


def kept(lease: Lease, **given: Any) -> Kept:
    fields: dict[str, Any] = {"lease": lease, "leased_at": 5, **given}
    return Kept(**fields)


def settled(owed: list[Kept], statuses: list[RunStatus]) -> Any:
    found = [("local-process", status) for status in statuses]
    return settle(owed, found, slots=2, now=1_000)


def test_a_live_program_is_adopted_and_nothing_else_is_taken_yet() -> None:
    state, missed = settled([kept(a_lease(), has_passed=True)], [a_status("a")])
    attempt = state.attempts["a.1"]
    assert (attempt.progress, attempt.handle) == (Progress.RUNNING, "h-a")
    assert (missed, state.settling) == ([], Settling.UNASKED)
    assert held(state) == {"a": "token-a"}


def test_a_program_that_ended_meanwhile_is_reported() -> None:
    ending = Ending(cause=Cause.EXIT, exit_code=0)
    _, missed = settled([kept(a_lease(), has_passed=True)], [a_status("a", ending=ending)])
    assert [one.ending for one in missed] == [ending]


def test_an_attempt_before_the_gate_is_prepared_again() -> None:
    state, missed = settled([kept(a_lease())], [])
    attempt = state.attempts["a.1"]
    assert (attempt.progress, attempt.wake_at, missed) == (Progress.FETCHING, 1_000, [])


def test_an_attempt_past_the_gate_that_never_started_is_prepared_again() -> None:
    state, missed = settled([kept(a_lease(), has_passed=True)], [])
    assert state.attempts["a.1"].progress is Progress.FETCHING
    assert missed == []


def test_a_program_that_its_runner_forgot_is_lost_and_not_started_twice() -> None:
    _, missed = settled([kept(a_lease(), has_passed=True, handle="h")], [])
    assert missed[0].ending.cause is Cause.SUPERVISOR


def test_a_program_that_its_runner_withdrew_is_given_back() -> None:
    ending = Ending(cause=Cause.WITHDRAWN)
    status = a_status("a", ending=ending)
    _, missed = settled([kept(a_lease(), has_passed=True, handle="h-a")], [status])
    assert [one.ending for one in missed] == [ending]


def test_a_program_without_a_journal_is_adopted_by_its_token() -> None:
    state, _ = settled([], [a_status("x")])
    attempt = state.attempts["x.1"]
    assert (attempt.progress, attempt.lease.token) == (Progress.RUNNING, "token-x")
    assert attempt.lease.resource == "local-process"
