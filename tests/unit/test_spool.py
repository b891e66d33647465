"""The formats that runner and supervisor share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.domain.attempt import FRAME, LOG_CAP, LOG_TAIL, Cause, Ending, LogStream, decode_frames
from shipway.domain.spool import (
    CELL_SIZE,
    REASON_LIMIT,
    RECORD_SIZE,
    SEGMENT_RECORDS,
    TEXT_SIZE,
    Cell,
    Claim,
    Note,
    NoteKind,
    Record,
    Word,
    gap_frame,
    journal_name,
    mark_of,
    pack_record,
    plan_log,
    segment_name,
    segment_offset,
    split_journal_name,
    split_mark,
    unpack_record,
)
from shipway.runners.local_journal import Journal, read_journals
from shipway.runners.local_log import LogReader, remove_log, settle
from shipway.supervise.log_spool import LogSpool

CAUSES = st.sampled_from(Cause)


def an_ending(**changes: object) -> Ending:
    values: dict[str, object] = {"cause": Cause.EXIT, "exit_code": 0, "ended_at": 2, "log_size": 3}
    return Ending(**(values | changes))  # type: ignore[arg-type] # by name


def a_record(mark: str = "item.1", **changes: object) -> Record:
    return Record(mark=mark, token="t", boot_id="b" * 36, ending=an_ending(**changes))


def test_claim_comes_back_and_a_torn_one_does_not() -> None:
    claim = Claim(generation=1, cell=2, slot_pid=3, slot_start=4, boot_id="b", group="/g")
    assert Claim.from_bytes(claim.to_bytes()) == claim
    assert Claim.from_bytes(claim.to_bytes()[:-3]) is None
    assert Claim.from_bytes(b"") is None


@given(reason=st.text(), cause=CAUSES)
def test_record_fits_whatever_its_reason_says(reason: str, cause: Cause) -> None:
    widest = (1 << 63) - 1
    record = Record(
        mark="m" * TEXT_SIZE,
        token="t" * TEXT_SIZE,
        boot_id="b" * 36,
        ending=Ending(
            cause=cause,
            exit_code=255,
            reason=reason * 50,
            started_at=widest,
            ended_at=widest,
            log_size=widest,
        ),
    )
    found = unpack_record(pack_record(record.to_text()))
    assert found is not None
    assert (reason * 50).startswith(found.ending.reason)
    assert found.ending.cause is cause


def test_torn_record_is_no_record() -> None:
    block = pack_record(a_record().to_text())
    assert len(block) == RECORD_SIZE
    assert unpack_record(block) == a_record()
    assert unpack_record(block[:20] + b"\0" * (RECORD_SIZE - 20)) is None
    assert unpack_record(bytes(RECORD_SIZE)) is None
    assert unpack_record(block[:-1]) is None


def test_note_comes_back_as_it_was() -> None:
    note = Note(
        kind=NoteKind.DONE, is_idle=True, generation=1, cell=2, pid=3, segment=4, index=5, text=b"x"
    )
    assert Note.from_bytes(note.to_bytes()) == note


def test_mark_names_item_and_attempt() -> None:
    assert split_mark(mark_of("a.b", 12)) == ("a.b", 12)


def test_cell_is_clean_for_each_attempt() -> None:
    board = memoryview(bytearray(CELL_SIZE * 2))
    cell = Cell(board, 1)
    for word in Word:
        cell.words[word] = 7
    cell.assign("item.1", "token", 99)
    assert (cell.mark, cell.token, cell.words[Word.DEADLINE]) == ("item.1", "token", 99)
    kept = {Word.STATE, Word.PID, Word.PID_START, Word.HEARTBEAT, Word.SEGMENT, Word.INDEX}
    assert {word for word in Word if cell.words[word] == 7} == kept
    assert bytes(board[:CELL_SIZE]) == bytes(CELL_SIZE)
    cell.release()


def test_names_of_files_come_back() -> None:
    assert split_journal_name(journal_name(3, 12)) == (3, 12)
    assert split_journal_name("board") is None
    assert segment_offset(segment_name(5 << 40)) == 5 << 40
    assert segment_offset("build.log") is None
    assert segment_offset("log.new") is None


@pytest.mark.parametrize("cap", [LOG_CAP, 100 << 20, 1 << 20, 64 << 10])
def test_log_plan_keeps_within_the_cap(cap: int) -> None:
    plan = plan_log(cap)
    assert plan.head + plan.tail + 2 * plan.segment <= cap
    assert plan.tail == min(LOG_TAIL, cap // 2)


def a_cell() -> Cell:
    return Cell(memoryview(bytearray(CELL_SIZE)), 0)


def test_journal_goes_on_in_a_new_file(tmp_path: Path) -> None:
    cell = a_cell()
    journal = Journal(tmp_path, 1, cell)
    for number in range(SEGMENT_RECORDS + 2):
        journal.prepare()
        journal.append(a_record(f"item.{number}").to_text())
    journal.close()
    found = list(read_journals(tmp_path))
    assert [record.mark for _, record in found] == [f"item.{n}" for n in range(SEGMENT_RECORDS + 2)]
    assert {place for place, _ in found} == {(1, 0), (1, 1)}


def test_record_whose_writer_died_is_neither_lost_nor_overwritten(tmp_path: Path) -> None:
    cell = a_cell()
    journal = Journal(tmp_path, 1, cell)
    journal.prepare()
    journal.append(a_record("item.1").to_text())
    cell.words[Word.INDEX] = 0  # as if it had died before it counted the record
    journal.close()
    journal = Journal(tmp_path, 1, cell)
    last = journal.last()
    assert last is not None
    assert last.mark == "item.1"
    journal.prepare()
    journal.append(a_record("item.2").to_text())
    journal.close()
    assert [record.mark for _, record in read_journals(tmp_path)] == ["item.1", "item.2"]


def spooled(folder: Path, cap: int, lines: int) -> tuple[int, bytes]:
    spool = LogSpool(str(folder), plan_log(cap))
    whole = []
    for number in range(lines):
        data = b"%09d\n" % number * 10
        spool.write(LogStream.STDOUT, number, data)
        whole.append(data)
    return spool.finish(), b"".join(whole)


def read_all(folder: Path, size: int, step: int) -> bytes:
    reader, pieces, at = LogReader(folder), [], 0
    while piece := reader.read(at, step, visible=size, is_ended=True):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def test_no_output_makes_no_file(tmp_path: Path) -> None:
    assert spooled(tmp_path, 1 << 20, 0)[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_log_under_its_cap_is_whole(tmp_path: Path) -> None:
    size, whole = spooled(tmp_path, 1 << 20, 3_000)
    framed = read_all(tmp_path, size, 777)
    assert len(framed) == size
    assert b"".join(frame.data for frame in decode_frames(framed)) == whole


def test_log_over_its_cap_names_the_bytes_that_are_gone(tmp_path: Path) -> None:
    cap = 128 << 10
    size, whole = spooled(tmp_path, cap, 5_000)
    framed = read_all(tmp_path, size, 777)
    assert len(framed) == size
    frames = list(decode_frames(framed))
    (at,) = [n for n, frame in enumerate(frames) if frame.stream is LogStream.GAP]
    gap = json.loads(frames[at].data)
    length = 13 + 100  # of one frame here
    assert gap == {"from": at * length, "to": (5_000 - (len(frames) - at - 1)) * length}
    kept = frames[:at] + frames[at + 1 :]
    assert b"".join(frame.data for frame in kept[:at]) == whole[: at * 100]
    tail = b"".join(frame.data for frame in kept[at:])
    assert whole.endswith(tail)
    assert len(tail) >= cap // 2 - length
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= cap


def test_gap_frame_is_one_frame() -> None:
    (frame,) = decode_frames(gap_frame(1, 2, 3))
    assert (frame.stream, frame.at, json.loads(frame.data)) == (
        LogStream.GAP,
        3,
        {"from": 1, "to": 2},
    )


@pytest.mark.parametrize("torn", [b"\0" * 5, b"\1" * 12, FRAME.pack(0, 1, 30) + b"x", b"\xff" * 99])
def test_torn_frame_is_cut_off_when_the_writer_died(tmp_path: Path, torn: bytes) -> None:
    size, _ = spooled(tmp_path, 1 << 20, 10)
    path = tmp_path / segment_name(0)
    path.write_bytes(path.read_bytes() + torn)
    assert settle(tmp_path) == size
    assert path.stat().st_size == size


def test_running_log_shows_only_what_is_whole(tmp_path: Path) -> None:
    size, _ = spooled(tmp_path, 1 << 20, 10)
    reader = LogReader(tmp_path)
    assert len(reader.read(0, 1 << 20, visible=113, is_ended=False)) == 113
    assert reader.read(113, 1 << 20, visible=113, is_ended=False) == b""
    assert len(reader.read(113, 1 << 20, visible=size, is_ended=False)) == size - 113


def test_removed_log_is_gone(tmp_path: Path) -> None:
    spooled(tmp_path, 1 << 20, 10)
    (tmp_path / "build.log").touch()
    remove_log(tmp_path)
    remove_log(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["build.log"]


def test_short_reason_is_kept_whole_and_a_long_one_is_cut() -> None:
    def told(reason: str) -> str:
        found = unpack_record(pack_record(a_record(reason=reason).to_text()))
        return "" if found is None else found.ending.reason

    def a_record(reason: str) -> Record:
        return Record(mark="item.1", token="t", boot_id="b", ending=an_ending(reason=reason))

    whole = "r" * (REASON_LIMIT - 2)  # two quotes
    assert told("no such file") == "no such file"
    assert told(whole) == whole
    assert told(whole + "r") == "r" * ((REASON_LIMIT - 1) * 3 // 4)


def test_record_has_the_bytes_that_other_versions_read() -> None:
    ending = Ending(
        cause=Cause.SIGNAL, exit_code=None, signal=9, reason="r", started_at=1, ended_at=2,
        log_size=3,
    )  # fmt: skip
    text = Record(mark="item.1", token="t", boot_id="b", ending=ending).to_text()
    assert json.loads(text) == ["item.1", "t", "b", "signal", None, 9, "r", 1, 2, 3]
    assert Record.from_text(text).ending == ending
    block = pack_record(text)
    assert block[:4] == b"SWR1"
    assert block[8:10] == len(text).to_bytes(2, "little")
    assert block[10 : 10 + len(text)] == text
    longest = pack_record(b"x" * (RECORD_SIZE - 10))
    assert len(longest) == RECORD_SIZE
    changed = block[:12] + b"?" + block[13:]
    assert unpack_record(changed) is None
    assert unpack_record(b"?" + block[1:]) is None


def test_note_and_claim_have_the_bytes_that_other_versions_read() -> None:
    note = Note(kind=NoteKind.DONE, is_idle=True, generation=1, cell=2, pid=3, segment=4, index=5)
    numbers = b"".join(number.to_bytes(4, "big") for number in (1, 2, 3, 4, 5))
    assert note.to_bytes() == b"\x03\x01" + numbers
    claim = Claim(generation=1, cell=2, slot_pid=3, slot_start=4, boot_id="b", group="/g")
    assert json.loads(claim.to_bytes()) == [1, 2, 3, 4, "b", "/g"]
    assert (journal_name(3, 12), segment_name(5)) == (
        "journal.0003.000012",
        "log.000000000000005",
    )


@pytest.mark.parametrize("name", ["journal.1", "journal.1.2.3", "board.1.2"])
def test_file_of_another_name_is_no_journal(name: str) -> None:
    assert split_journal_name(name) is None


def test_cell_keeps_its_text_to_the_last_byte() -> None:
    board = memoryview(bytearray(CELL_SIZE * 2))
    cell = Cell(board, 0)
    cell.assign("m" * TEXT_SIZE, "t" * TEXT_SIZE, 1)
    assert (cell.mark, cell.token) == ("m" * TEXT_SIZE, "t" * TEXT_SIZE)
    assert bytes(board[CELL_SIZE:]) == bytes(CELL_SIZE)
    cell.assign("m", "t", 1)
    assert (cell.mark, cell.token) == ("m", "t")
    cell.release()
    assert len(Cell(board, 1).words) == (CELL_SIZE - 2 * TEXT_SIZE) // 8


@pytest.mark.parametrize(
    ("cap", "head", "tail", "segment"),
    [
        (LOG_CAP, LOG_CAP - LOG_TAIL - (32 << 20), LOG_TAIL, 16 << 20),
        (100 << 20, (50 << 20) - 2 * (25 << 20) // 2, 50 << 20, (50 << 20) // 4),
        (8 << 10, 4 << 10, 4 << 10, 4 << 10),
    ],
)
def test_log_plan_keeps_head_and_tail(cap: int, head: int, tail: int, segment: int) -> None:
    plan = plan_log(cap)
    assert (plan.head, plan.tail, plan.segment) == (head, tail, segment)
