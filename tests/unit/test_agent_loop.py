"""The real loop, with a server and a runner that are scripts: no network, no processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shipway.agent.loop import Reason
from shipway.domain.attempt import Cause, Ending, decode_frames
from shipway.domain.errors import Code, ShipwayError
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.testing.scripted_runner import ScriptedRunner
from tests.support.agent_world import WAIT_S, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        yield made
    finally:
        made.inbox.put(None)


def test_once_runs_everything_and_ends(world: World) -> None:
    names = [world.server.add() for _ in range(30)]
    world.begin(slots=4, is_once=True)
    assert world.ended.result(WAIT_S) is Reason.EMPTY
    assert [world.server.state(name) for name in names] == ["finished"] * 30
    assert sorted(world.machine.starts) == sorted(f"{name}.1" for name in names)


def test_one_fetch_serves_all_items_of_a_source_and_folders_serve_again(world: World) -> None:
    for _ in range(60):
        world.server.add()
    world.begin(slots=4, is_once=True)
    assert world.ended.result(WAIT_S) is Reason.EMPTY
    assert world.source.fetches == 1


def test_a_program_that_fails_is_reported_with_its_code_and_last_lines(world: World) -> None:
    def script(runner: ScriptedRunner, handle: str) -> None:
        runner.print(handle, "one\ntwo\n")
        runner.end(handle, Ending(cause=Cause.EXIT, exit_code=3))

    world.script = script
    name = world.server.add()
    world.begin()
    world.server.until(lambda: world.server.state(name) == "failed")
    last = world.server.items[name]["last"]
    assert last["exit_code"] == 3
    assert last["failure"]["log_tail"] == ["one", "two"]
    log = world.server.logs[name, 1, "program"]
    assert b"".join(frame.data for frame in decode_frames(log)) == b"one\ntwo\n"
    assert last["log_sizes"]["program"] == len(log)
    world.finish()


def test_output_of_a_live_program_is_shipped_before_it_ends(world: World) -> None:
    world.script = lambda runner, handle: runner.print(handle, "hello\n")
    name = world.server.add()
    world.begin()
    world.server.until(lambda: (name, 1, "program") in world.server.logs)
    assert world.server.state(name) == "running"
    world.runner.end(f"{name}.1")
    world.server.until(lambda: world.server.state(name) == "finished")
    world.finish()


def test_a_stop_reaches_a_running_program_though_no_slot_is_free(world: World) -> None:
    world.script = None
    name = world.server.add()
    world.begin(slots=1)
    world.server.until(lambda: bool(world.machine.starts))
    world.server.stop(name)
    world.server.until(lambda: world.server.state(name) == "stopped")
    assert world.machine.stops == [(f"{name}.1", 1.0, "stop")]
    world.finish()


def test_a_source_that_cannot_be_fetched_fails_the_item_with_its_build_log(world: World) -> None:
    world.source.refusals = [PermanentError("no such commit")]
    name = world.server.add()
    world.begin()
    world.server.until(lambda: world.server.state(name) == "failed")
    failure = world.server.items[name]["last"]["failure"]
    assert (failure["stage"], failure["reason"]) == ("source", "no such commit")
    assert failure["log_tail"] == ["fetching", "no such commit"]
    assert not world.machine.starts
    world.finish()


def test_an_entry_point_that_is_not_in_the_source_fails_with_stage_source(world: World) -> None:
    name = world.server.add(entry_point=["gone.py"])
    world.begin()
    world.server.until(lambda: world.server.state(name) == "failed")
    assert world.server.items[name]["last"]["failure"]["stage"] == "source"
    world.finish()


def test_a_runner_that_refuses_for_good_fails_the_item(world: World) -> None:
    world.begin()
    world.runner._refusals = [PermanentError("no such user")]
    name = world.server.add()
    world.server.until(lambda: world.server.state(name) == "failed")
    assert world.server.items[name]["last"]["failure"]["reason"] == "no such user"
    world.finish()


def test_a_server_that_is_away_is_found_again_and_nothing_is_lost(world: World) -> None:
    world.server.is_away = True
    names = [world.server.add() for _ in range(5)]
    world.begin()
    world.server.is_away = False
    world.server.until(lambda: all(world.server.state(name) == "finished" for name in names))
    world.finish()


def test_a_report_whose_answer_was_lost_is_sent_again(world: World) -> None:
    world.script = None
    name = world.server.add()
    world.begin()
    world.server.until(lambda: bool(world.machine.starts))
    world.server.is_away = True
    world.runner.end(f"{name}.1")
    world.server.is_away = False
    world.server.until(lambda: world.server.state(name) == "finished")
    world.finish()


def test_a_restarted_agent_adopts_what_runs_and_starts_nothing_twice(world: World) -> None:
    world.script = None
    names = [world.server.add() for _ in range(2)]
    world.begin()
    world.server.until(lambda: len(world.machine.starts) == 2)
    assert world.finish() is Reason.STOPPED
    world.runner.end(f"{names[0]}.1")
    world.begin()
    world.server.until(lambda: world.server.state(names[0]) == "finished")
    assert world.server.state(names[1]) == "running"
    world.runner.end(f"{names[1]}.1")
    world.server.until(lambda: world.server.state(names[1]) == "finished")
    assert len(world.machine.starts) == 2
    world.finish()


def test_a_restarted_agent_ends_what_is_not_its_own_before_it_takes_new_work(
    world: World,
) -> None:
    world.script = None
    name = world.server.add()
    world.begin()
    world.server.until(lambda: bool(world.machine.starts))
    world.finish()
    world.server.take_away(name)
    other = world.server.add()
    world.begin(obeys_stops=False)
    world.server.until(lambda: bool(world.machine.stops))
    assert world.machine.stops == [(f"{name}.1", 10.0, "lease")]
    assert world.server.state(other) == "pending"
    world.runner.end(f"{name}.1", Ending(cause=Cause.LEASE, signal=9))
    world.server.until(lambda: world.server.state(other) == "running")
    assert "last" not in world.server.items[name]
    world.finish()


def test_a_restarted_agent_starts_what_passed_the_gate_and_never_started(world: World) -> None:
    world.script = None
    name = world.server.add()
    world.begin()
    world.server.until(lambda: bool(world.machine.starts))
    world.finish()
    world.machine.programs.clear()
    world.machine.starts.clear()
    lines = (world.home / "journal").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"mark":"start"' not in line]
    (world.home / "journal").write_bytes(b"".join(kept))
    world.begin()
    world.server.until(lambda: bool(world.machine.starts))
    assert world.machine.starts == [f"{name}.1"]
    world.finish()


def test_a_lost_lease_is_dropped_and_its_log_goes_nowhere(world: World) -> None:
    world.script = lambda runner, handle: runner.print(handle, "hello\n")
    name = world.server.add()
    world.begin()
    world.server.until(lambda: (name, 1, "program") in world.server.logs)
    world.server.take_away(name)
    world.runner.print(f"{name}.1", "more\n")
    world.server.until(lambda: bool(world.machine.stops))
    assert world.machine.stops[0][2] == "lease"
    assert len(world.server.logs[name, 1, "program"]) == 13 + 6
    world.finish()


def test_records_are_shipped_as_lines_and_saved_files_before_theirs(world: World) -> None:
    def script(runner: ScriptedRunner, handle: str) -> None:
        env = runner.machine.programs[handle].request.env
        Path(env["SHIPWAY_FILES"], "0").write_bytes(b"weights")
        lines = [
            {"kind": "summary", "values": {"score": 1.5}},
            {"kind": "file", "path": "model.bin", "stored": "0"},
            {"kind": "file", "path": "evil", "stored": "../../etc"},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        Path(env["SHIPWAY_RECORDS"]).write_text(text + '{"kind":"torn')
        runner.end(handle)

    world.script = script
    name = world.server.add(run_config={"lr": 0.1})
    world.begin()
    world.server.until(lambda: world.server.state(name) == "finished")
    sent = [json.loads(line) for line in world.server.logs[name, 1, "records"].splitlines()]
    assert [line["kind"] for line in sent] == ["summary", "file", "dropped"]
    assert world.server.blob_store[sent[1]["digest"]] == b"weights"
    assert sent[1]["size"] == 7
    world.finish()


def test_a_refused_agent_ends(world: World) -> None:
    def refuse(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ShipwayError("wrong key", code=Code.UNAUTHENTICATED)

    world.server.register = refuse  # type: ignore[method-assign] - the fake's own method
    world.begin()
    assert world.ended.result(WAIT_S) is Reason.REFUSED


def test_a_temporary_failure_is_tried_again_in_place(world: World) -> None:
    world.source.refusals = [TemporaryError("try later")]
    name = world.server.add()
    world.begin()
    world.server.until(lambda: world.server.state(name) == "finished")
    assert world.server.items[name]["attempt"] == 1
    world.finish()
