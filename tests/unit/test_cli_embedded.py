"""What the embedded parent decides: pauses between starts, ports, files of a home, findings."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path

import pytest

from shipway.cli import children
from shipway.cli.checks import check_git, check_platform, check_pythons
from shipway.cli.children import (
    FIRST_PAUSE_S,
    HEALTHY_AFTER_S,
    LONGEST_PAUSE_S,
    Child,
    ChildState,
    died,
    started,
)
from shipway.cli.embedded import child_env, choose_port
from shipway.cli.embedded_home import EmbeddedHome
from shipway.cli.finding import Verdict
from shipway.cli.log import Lines, Printer
from shipway.domain.attempt import Frame, LogStream
from shipway.domain.errors import Conflict, ShipwayError
from tests.support.embedded import until


def test_pauses_between_starts_double_and_have_a_limit() -> None:
    state, now, pauses = ChildState(), 0.0, []
    for _ in range(12):
        state = started(state, 5, now)
        state = died(state, now + 1)
        pauses.append(state.due_at - (now + 1))
        now = state.due_at
    assert pauses[0] == pytest.approx(FIRST_PAUSE_S)
    assert pauses[1] == pytest.approx(2 * FIRST_PAUSE_S)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S)


def test_a_child_that_lived_long_begins_with_the_first_pause() -> None:
    state = ChildState(deaths=9)
    state = died(started(state, 5, 0.0), HEALTHY_AFTER_S)
    assert state.due_at - HEALTHY_AFTER_S == pytest.approx(FIRST_PAUSE_S)
    assert state.pid is None


def test_a_child_s_log_has_an_end_and_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "LOG_LIMIT", 1_000)
    log, go = tmp_path / "logs/server.log", tmp_path / "go"
    text = f"seq 1000; until [ -e {go} ]; do sleep 0.01; done; echo last"
    child = Child(name="it", argv=lambda _: ("sh", "-c", text), env=dict(os.environ), log=log)
    child.start()
    try:
        until(lambda: log.read_text().endswith("\n1000\n"), within_s=20, what="it spoke")
        assert child.look() is None
        assert log.read_text() == ""
        assert log.with_suffix(".log.1").read_text().endswith("\n1000\n")
        go.touch()
        until(lambda: child.look() == 0, within_s=20, what="it ended")
        assert log.read_text() == "last\n"
    finally:
        child.end()


def test_the_port_of_last_time_is_used_again_when_it_is_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert choose_port(None, port) == port


def test_a_kept_port_that_is_taken_is_replaced_and_an_asked_one_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert choose_port(None, port) not in {0, port}
        with pytest.raises(ShipwayError, match=str(port)):
            choose_port(port, 0)


def test_children_know_this_home_and_no_other_server(tmp_path: Path) -> None:
    env = {"SHIPWAY_BASE_URL": "http://else.where", "SHIPWAY_API_KEY": "k", "PATH": "/bin"}
    found = child_env(env, EmbeddedHome(tmp_path))
    assert found == {"PATH": "/bin", "SHIPWAY_HOME": str(tmp_path)}


def test_one_up_at_a_time(tmp_path: Path) -> None:
    home = EmbeddedHome(tmp_path)
    with home.hold():
        assert home.is_held()
        holder = home.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
        with pytest.raises(Conflict, match="already"), EmbeddedHome(tmp_path).hold():
            pass
    assert not home.is_held()


def test_a_pid_of_another_time_is_not_the_holder(tmp_path: Path) -> None:
    (tmp_path / "up.pid").write_text(json.dumps({"pid": os.getpid(), "started_at": 1_000}))
    assert EmbeddedHome(tmp_path).holder() is None


def test_server_json_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = EmbeddedHome(tmp_path)
    home.publish({"base_url": "http://127.0.0.1:1"})
    assert home.server_json.stat().st_mode & 0o777 == 0o600
    home.withdraw()
    home.withdraw()
    assert not home.server_json.exists()


def test_purge_removes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    home = EmbeddedHome(tmp_path / "home")
    home.make()
    sealed = home.agent / "sources/tree"
    sealed.mkdir(parents=True)
    (sealed / "main.py").write_text("")
    sealed.chmod(0o500)
    (home.root / "notes.txt").write_text("mine")
    home.purge()
    assert [path.name for path in home.root.iterdir()] == ["notes.txt"]


def test_a_terminal_gets_colours_and_no_other_orders() -> None:
    out, err = io.BytesIO(), io.BytesIO()
    show = Printer(out, err, is_terminal=True)
    show(Frame(LogStream.STDOUT, 1, b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jx\r"))
    assert out.getvalue() == b"\x1b[31mred\x1b[0m x\r"


def test_streams_are_kept_apart_and_bytes_unchanged() -> None:
    out, err = io.BytesIO(), io.BytesIO()
    show = Printer(out, err)
    show(Frame(LogStream.STDOUT, 1, b"a\x1b[2J\xff"))
    show(Frame(LogStream.STDERR, 2, b"b"))
    assert (out.getvalue(), err.getvalue()) == (b"a\x1b[2J\xff", b"b")


def test_lines_of_a_json_log_are_whole() -> None:
    lines = Lines()
    for data in (b"one\ntw", b"o\n 10%\r 20%\r\nrest"):
        lines(Frame(LogStream.STDOUT, 7, data))
    lines.close()
    assert [row["text"] for row in lines.rows] == ["one", "two", " 20%", "rest"]


def test_findings_say_how_to_mend_what_is_missing() -> None:
    assert check_git(lambda _: None).verdict is Verdict.BAD
    assert check_git(lambda _: "git version 2.20.1").verdict is Verdict.ODD
    assert check_git(lambda _: "git version 2.39.5").verdict is Verdict.GOOD
    assert "uv python install" in check_pythons(lambda _: None).remedy
    assert check_platform("darwin").remedy
