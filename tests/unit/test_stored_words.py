"""The words that rows, frames, journals and clients keep: a change of one is a migration."""

from __future__ import annotations

from enum import Enum

import pytest

from shipway.domain.actor import Role
from shipway.domain.agent import AgentState, RunAs
from shipway.domain.attempt import Cause, LogName, LogStream, Phase
from shipway.domain.capsule import MAGIC, Mode
from shipway.domain.errors import Code
from shipway.domain.item import Event, FailureClass, Note, Stage, State
from shipway.domain.job import JobKind
from shipway.domain.queue import OnLost, Priority
from shipway.domain.run import RunState
from shipway.domain.source import SourceKind
from shipway.domain.spool import (
    CELL_SIZE,
    CLAIM_PREFIX,
    MARK_VARIABLE,
    META,
    RECORD_SIZE,
    SEGMENT_RECORDS,
    TEXT_SIZE,
    GuardianWord,
    NoteKind,
    Seat,
    Verdict,
    Word,
)
from shipway.domain.tombstone import KEPT_MS

TEXTS: dict[type[Enum], str] = {
    Role: "admin member viewer agent job",
    AgentState: "active draining stopping gone",
    RunAs: "self shared",
    LogName: "program build records",
    Phase: "starting running ended",
    Cause: "exit signal oom oom_probable stop time_limit lease supervisor withdrawn not_started",
    Mode: "100644 100755 120000",
    Code: (
        "invalid not_found exists conflict lease_lost offset key_reused unauthenticated forbidden "
        "no_route too_large too_slow rate_limited overloaded unknown_outcome storage_full "
        "not_available unreachable timeout failed stopped deleted internal"
    ),
    State: "pending leased running finished failed stopped",
    Event: "lease start finish fail requeue give_up stop",
    Note: "enqueue stop_request delete priority pin resume warning",
    Stage: "agent source build run",
    JobKind: "git code image",
    OnLost: "fail retry",
    RunState: "pending running finished failed crashed stopped",
    SourceKind: "git capsule image",
}
NUMBERS: dict[type[Enum], list[int]] = {
    LogStream: [0, 1, 2, 3, 255],
    Priority: [0, 1, 2, 3],
    Word: list(range(13)),
    GuardianWord: list(range(9)),
    Seat: list(range(8)),
    Verdict: [0, 1],
    NoteKind: [1, 2, 3, 4],
}


@pytest.mark.parametrize("kind", TEXTS, ids=lambda kind: kind.__name__)
def test_stored_texts_stay(kind: type[Enum]) -> None:
    assert [member.value for member in kind] == TEXTS[kind].split()


@pytest.mark.parametrize("kind", NUMBERS, ids=lambda kind: kind.__name__)
def test_stored_numbers_stay(kind: type[Enum]) -> None:
    assert [member.value for member in kind] == NUMBERS[kind]


def test_failure_classes_stay() -> None:
    assert [str(kind) for kind in FailureClass] == [
        "exit", "signal", "oom", "oom (probable)", "time_limit", "start_limit", "lost", "source",
        "build", "agent", "poison",
    ]  # fmt: skip


def test_what_lies_on_disk_keeps_its_form() -> None:
    assert MAGIC == b"shipway capsule 1\n"
    assert (RECORD_SIZE, SEGMENT_RECORDS, CELL_SIZE, TEXT_SIZE) == (1024, 64, 256, 64)
    assert (META, CLAIM_PREFIX, MARK_VARIABLE) == ("meta", "claim.", "SHIPWAY_ATTEMPT_MARK")


def test_what_was_deleted_is_kept_for_a_week() -> None:
    assert KEPT_MS == 7 * 86_400_000
