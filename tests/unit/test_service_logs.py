"""Logs: which chunk is taken, what a reader is told, and what records say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor
from shipway.domain.errors import Invalid, LeaseLost, NotFound, WrongOffset
from shipway.domain.ids import Digest, ItemId, Token
from shipway.domain.item import Event
from shipway.domain.run import RunFile
from shipway.service.logs import LogView, Records, parse_records
from shipway.service.ports import LogChunk
from shipway.service.reports import Report
from tests.unit.conftest import World

DIGEST = Digest("d" * 64)
NOTHING = Records(config={}, summary={}, history=[], files=[])


def a_chunk(item_id: ItemId, **changes: Any) -> LogChunk:
    whole = LogChunk(
        item_id=item_id, attempt=1, name="program", offset=0, length=10, digest=DIGEST,
        first_at=1, last_at=2,
    )  # fmt: skip
    return replace(whole, **changes)


def append(world: World, token: Token, chunk: LogChunk) -> int:
    return world.do(lambda tx: world.service.logs.append(tx, world.ann, chunk, token))


def record(world: World, token: Token, chunk: LogChunk, said: Records) -> int:
    return world.do(lambda tx: world.service.logs.records(tx, world.ann, chunk, token, said))


def view(world: World, item_id: ItemId, who: Actor | None = None, **asked: Any) -> LogView:
    said = {"name": "program", "attempt": None, "offset": 0, **asked}
    return world.do(lambda tx: world.service.logs.view(tx, who or world.ann, item_id, **said))


def test_a_log_grows_chunk_by_chunk(world: World) -> None:
    item_id, token = world.running()
    assert append(world, token, a_chunk(item_id)) == 10
    assert append(world, token, a_chunk(item_id, offset=10, length=5)) == 15
    seen = view(world, item_id)
    assert (seen.attempt, seen.size, seen.is_ended, seen.is_complete) == (1, 15, False, False)
    assert [chunk.offset for chunk in seen.chunks] == [0, 10]
    assert [chunk.offset for chunk in view(world, item_id, offset=10).chunks] == [10]


def test_a_chunk_goes_where_the_log_ends(world: World) -> None:
    item_id, token = world.running()
    append(world, token, a_chunk(item_id))
    for offset in (0, 9, 11):
        with pytest.raises(WrongOffset, match="the stream has 10 bytes"):
            append(world, token, a_chunk(item_id, offset=offset))
    assert append(world, token, a_chunk(item_id, name="build")) == 10  # a log of its own


def test_a_chunk_needs_the_lease_of_its_attempt(world: World) -> None:
    item_id, token = world.running()
    with pytest.raises(LeaseLost, match=f"lease of item {item_id} is not this agent's"):
        append(world, Token("other"), a_chunk(item_id))
    with pytest.raises(LeaseLost):
        append(world, token, a_chunk(item_id, attempt=2))
    with pytest.raises(Invalid, match="there is no log 'moon'") as refused:
        append(world, token, a_chunk(item_id, name="moon"))
    assert refused.value.details == {"field": "name", "value": "moon"}
    assert view(world, item_id).size == 0


def ended(world: World, item_id: ItemId, token: Token, sizes: dict[str, int]) -> None:
    said = Report(item=item_id, token=token, event=Event.FINISH, exit_code=0, log_sizes=sizes)
    world.do(lambda tx: world.service.leases.report(tx, world.ann, world.agent, [said]))


def test_a_log_is_complete_when_it_has_what_the_last_report_says(world: World) -> None:
    item_id, token = world.running()
    append(world, token, a_chunk(item_id))
    ended(world, item_id, token, {"program": 10, "build": 3})
    seen = view(world, item_id)
    assert (seen.is_ended, seen.is_complete) == (True, True)
    assert not view(world, item_id, name="build").is_complete
    assert view(world, item_id, name="build").is_ended


def test_an_earlier_attempts_log_has_ended(world: World) -> None:
    item_id, token = world.running()
    append(world, token, a_chunk(item_id))
    world.report(item_id, token, Event.REQUEUE)
    grant = world.lease().leases[0]
    assert view(world, item_id, attempt=1).is_ended
    seen = view(world, item_id)
    assert (seen.attempt, seen.size, seen.is_ended) == (grant.item.attempt, 0, False)


def test_an_earlier_attempt_is_judged_by_its_own_report(world: World) -> None:
    item_id, token = world.running()
    append(world, token, a_chunk(item_id))
    back = Report(item=item_id, token=token, event=Event.REQUEUE, log_sizes={"program": 10})
    world.do(lambda tx: world.service.leases.report(tx, world.ann, world.agent, [back]))
    grant = world.lease().leases[0]
    world.report(item_id, grant.token, Event.START)
    ended(world, item_id, grant.token, {"program": 99})
    assert view(world, item_id, attempt=1).is_complete
    assert not view(world, item_id).is_complete


def test_a_chunk_is_refused_before_its_bytes_are_stored(world: World) -> None:
    item_id, token = world.running()
    check = world.service.logs.check
    said = {"attempt": 1, "name": "program"}
    with pytest.raises(WrongOffset):
        world.do(lambda tx: check(tx, world.ann, item_id, token, offset=1, **said))
    assert world.do(lambda tx: check(tx, world.ann, item_id, token, offset=0, **said)).id == item_id


def test_readers_see_program_and_build_of_their_own_items(world: World) -> None:
    item_id, _ = world.running()
    with pytest.raises(Invalid, match="there is no log 'records' to read") as refused:
        view(world, item_id, name="records")
    assert refused.value.details == {"field": "name", "value": "records"}
    with pytest.raises(NotFound, match=f"there is no item '{item_id}'"):
        view(world, item_id, world.bob)


def test_records_do_what_they_say(world: World) -> None:
    item_id, token = world.running(project="p")
    item = world.item(item_id)
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {DIGEST: 4}))
    file = RunFile(path="a.txt", digest=DIGEST, size=4, at=1)
    said = Records(config={"lr": 1}, summary={"loss": 2}, history=[{"loss": 2}], files=[file])
    assert record(world, token, a_chunk(item_id, name="records"), said) == 10
    runs = world.service.runs
    seen = world.do(lambda tx: runs.get(tx, world.ann, "ann", "p", item.run_id))
    assert (seen.run.config, seen.run.summary) == ({"lr": 1}, {"loss": 2})
    assert seen.run.history_size == 1
    assert [one.path for one in world.do(lambda tx: runs.files(tx, world.ann, seen))] == ["a.txt"]


@pytest.mark.parametrize("part", ["config", "summary"])
def test_one_kind_of_value_alone_is_merged_too(world: World, part: str) -> None:
    item_id, token = world.running(project="p")
    run_id = world.item(item_id).run_id
    said = replace(NOTHING, **{part: {"a": 1}})
    record(world, token, a_chunk(item_id, name="records"), said)
    seen = world.do(lambda tx: world.service.runs.get(tx, world.ann, "ann", "p", run_id))
    assert getattr(seen.run, part) == {"a": 1}


def test_records_of_a_file_that_was_not_uploaded_change_nothing(world: World) -> None:
    item_id, token = world.running(project="p")
    run_id = world.item(item_id).run_id
    file = RunFile(path="a.txt", digest=DIGEST, size=4, at=1)
    said = replace(NOTHING, config={"lr": 1}, files=[file])
    with pytest.raises(NotFound, match=f"there is no blob {DIGEST} of file 'a.txt'"):
        record(world, token, a_chunk(item_id, name="records"), said)
    seen = world.do(lambda tx: world.service.runs.get(tx, world.ann, "ann", "p", run_id))
    assert seen.run.config == {}
    with pytest.raises(LeaseLost):
        record(world, Token("other"), a_chunk(item_id, name="records"), NOTHING)


def lines(*records: object) -> bytes:
    return b"\n".join(json.dumps(one).encode() for one in records)


def test_each_kind_of_record_is_read() -> None:
    read = parse_records(
        lines(
            {"kind": "config", "values": {"lr": 1, "n": 1}},
            {"kind": "config", "values": {"n": 2}},
            {"kind": "summary", "values": {"best": 1}},
            {"kind": "history", "step": 3, "at": 4, "values": {"loss": 5}},
            {"kind": "history", "step": 4, "at": 5, "values": {"loss": 4}},
            {"kind": "dropped", "lines": 2},
            {"kind": "file", "path": "a", "digest": DIGEST, "size": 6},
        )
        + b"\n \n",
        at=7,
    )
    assert read == Records(
        config={"lr": 1, "n": 2},
        summary={"best": 1, "loss": 4},
        history=[
            {"loss": 5, "_step": 3, "_timestamp": 4},
            {"loss": 4, "_step": 4, "_timestamp": 5},
        ],
        files=[RunFile(path="a", digest=DIGEST, size=6, at=7)],
    )


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        (b"nonsense", "records", "is no JSON object on one line"),
        (b"[1]", "records", "is no JSON object on one line"),
        (b"[" * 100_000, "records", "is no JSON object on one line"),
        (b'{"kind": "config"}', "records", "a record has no values"),
        (b'{"kind": "config", "values": [1]}', "records", "a record has no values"),
        (b'{"kind": "moon", "values": {}}', "kind", "a record of kind 'moon' is not known"),
        (b'{"kind": "file", "path": "/a"}', "path", "is not a relative path"),
    ],
)
def test_a_bad_record_is_refused(line: bytes, field: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        parse_records(b"\n" + line, at=0)
    assert refused.value.details["field"] == field


def test_a_bad_record_is_shown_cut() -> None:
    with pytest.raises(Invalid) as refused:
        parse_records(b"x" * 199 + "é".encode() * 9, at=0)
    assert refused.value.details["value"] == "x" * 199 + "\ufffd"
