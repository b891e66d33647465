"""`shipway up`, `down` and `status` with real processes on a home of their own."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from shipway.client import Client
from tests.support.embedded import SHIPWAY, Embedded, embedded, until

NAP = "sleep 300\n"
HEARS_CTRL_C = ("env", "--default-signal=INT")  # also where a shell's background job runs the tests
END_S = 5.0  # the promise: without a parent, server and agent are gone by then


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def nap(shipway: Embedded) -> str:
    """Launch a program that sleeps, and wait until it runs."""
    source = shipway.root / "nap"
    source.mkdir(exist_ok=True)
    (source / "nap.sh").write_text(NAP)
    item = json.loads(shipway.run("launch", "-u", str(source), "-E", "nap.sh", "--json"))
    until(lambda: state_of(shipway, item["id"]) == "running", within_s=60, what="the program runs")
    return str(item["id"])


def state_of(shipway: Embedded, item_id: str) -> str:
    return str(json.loads(shipway.run("item", "show", item_id, "--json"))["state"])


@pytest.mark.slow
def test_ready_means_discoverable_and_down_takes_it_back() -> None:
    """Earns: what the SDK relies on to find and start the embedded default."""
    with embedded() as shipway:
        assert json.loads(shipway.run("status", "--json", check=False))["is_up"] is False
        shipway.up()
        file = shipway.home / "server.json"
        found = shipway.server()
        assert set(found) == {
            "base_url", "api_key", "entity", "pid", "host", "boot_id", "started_at", "version",
            "protocol",
        }  # fmt: skip
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE((shipway.home / "key").stat().st_mode) == 0o600
        health = Client(found["base_url"], found["api_key"], env={}).health()
        assert health["boot_id"] == found["boot_id"]
        standing = json.loads(shipway.run("status", "--json"))
        assert standing["is_up"] is True
        assert f"{found['base_url']}/signin/link/" in shipway.run("status")
        shipway.up()  # a second one finds the first
        assert shipway.server()["boot_id"] == found["boot_id"]
        shipway.run("down")
        assert not file.exists()
        assert not {"up", "server", "agent"} & shipway.pids().keys()
        shipway.up()
        again = shipway.server()
        assert (again["base_url"], again["api_key"]) == (found["base_url"], found["api_key"])


@pytest.mark.slow
def test_what_dies_is_started_again() -> None:
    """Earns: one command, and the death of any child is healed."""
    with embedded() as shipway:
        shipway.up()
        before = until(lambda: whole(shipway), within_s=20, what="server and agent run")
        for name in ("server", "agent"):
            shipway.kill(name)
        after = until(
            lambda: (
                (now := whole(shipway)) and not set(now.values()) & set(before.values()) and now
            ),
            within_s=30,
            what="both are started again",
        )
        assert after["server"] != before["server"]
        until(
            lambda: json.loads(shipway.run("status", "--json", check=False)).get("is_up"),
            within_s=30,
            what="the server is published again",
        )


@pytest.mark.slow
def test_children_end_without_their_parent_and_a_new_one_takes_the_same_port() -> None:
    """Earns: no half of an embedded server stays behind a kill."""
    with embedded() as shipway:
        shipway.up()
        found = shipway.server()
        children = until(lambda: whole(shipway), within_s=20, what="server and agent run")
        shipway.kill("up")
        until(
            lambda: not any(alive(pid) for pid in children.values()),
            within_s=END_S + 2,
            what="the children end by themselves",
        )
        shipway.up()
        assert shipway.server()["base_url"] == found["base_url"]


@pytest.mark.slow
def test_programs_go_on_after_down_until_they_are_stopped() -> None:
    """Earns: an upgrade of shipway ends nobody's training; `--stop` ends it all."""
    with embedded() as shipway:
        shipway.up()
        item = nap(shipway)
        said = shipway.run("down")
        assert "1 program goes on" in said
        assert "shipway down --stop" in said
        assert "supervisor" in shipway.pids()
        shipway.up()
        until(lambda: state_of(shipway, item) == "running", within_s=30, what="it is still there")
        shipway.run("down")
        shipway.run("down", "--stop")  # from nothing: it finds the supervisor and what it holds
        assert not shipway.pids()
        shipway.up()
        assert state_of(shipway, item) == "stopped"
        assert nap(shipway)  # the agent that was told to take nothing new takes work again


@pytest.mark.slow
def test_an_agent_that_was_drained_or_stopped_by_hand() -> None:
    """Earns: `down --stop` undoes its own drain only; a stop is for one life of the agent."""
    with embedded() as shipway:
        shipway.up()
        agent = until(lambda: _agents(shipway), within_s=20, what="the agent has registered")[0]
        shipway.run("agents", "drain", agent["id"])
        shipway.run("down", "--stop")
        shipway.up()
        assert [a["state"] for a in _agents(shipway)] == ["draining"]
        shipway.run("agents", "drain", "--undo", agent["id"])
        shipway.run("agents", "stop", agent["id"])
        assert nap(shipway)
        assert [a["state"] for a in _agents(shipway)] == ["active"]


@pytest.mark.slow
def test_an_older_server_is_replaced_once_nothing_runs_on_it() -> None:
    """Earns: an upgrade needs no command, and never pulls a server from under a program."""
    with embedded() as shipway:
        shipway.up()
        item = nap(shipway)
        older = {**shipway.server(), "version": "0.0.1"}
        (shipway.home / "server.json").write_text(json.dumps(older))
        assert state_of(shipway, item) == "running"
        assert shipway.server() == older
        shipway.run("item", "cancel", item)
        until(lambda: state_of(shipway, item) == "stopped", within_s=30, what="it has stopped")
        until(lambda: shipway.server()["version"] != "0.0.1", within_s=30, what="it is replaced")
        assert shipway.server()["boot_id"] != older["boot_id"]
        assert shipway.server()["base_url"] == older["base_url"]


@pytest.mark.slow
def test_a_refused_key_ends_the_start_at_once_and_says_why() -> None:
    """Earns: the reason, not a minute's wait and somebody else's last words."""
    with embedded() as shipway:
        shipway.up()
        key = shipway.home / "key"
        right = key.read_text()
        shipway.run("down")
        key.write_text(right.strip()[:-1] + ("0" if right.strip()[-1] != "0" else "1") + "\n")
        began = time.monotonic()
        done = subprocess.run(
            [*SHIPWAY, "up", "--detach"], env=shipway.env, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert time.monotonic() - began < 20
        assert done.returncode == 1
        assert "refuses the key in" in done.stderr
        assert "shipway is up at" not in done.stderr
        key.write_text(right)


@pytest.mark.slow
def test_a_revoked_key_of_the_home_s_own_is_renewed_by_the_next_up() -> None:
    """Earns: nobody locks themselves out of their own machine's data."""
    with embedded() as shipway:
        shipway.up()
        old = shipway.server()["api_key"]
        done = subprocess.run(
            [*SHIPWAY, "key", "revoke", old.partition("-")[0].removeprefix("sw_")],
            env=shipway.env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "`shipway down` and then `shipway up` make a fresh one" in done.stderr
        shipway.run("down")
        shipway.up()
        assert shipway.server()["api_key"] != old
        assert nap(shipway)


@pytest.mark.slow
def test_status_of_a_fresh_home_starts_and_makes_nothing() -> None:
    """Earns: a look changes nothing; every other command may start the server."""
    with embedded() as shipway:
        for argv in (["status"], ["status", "--json"]):
            done = subprocess.run(
                [*SHIPWAY, *argv], env=shipway.env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 1
            assert not shipway.home.exists()
        assert "is not up on" in shipway.run("status", check=False)
        shipway.run("queue", "ls")
        assert json.loads(shipway.run("status", "--json"))["is_up"] is True


@pytest.mark.slow
def test_an_agent_that_ended_cleanly_is_gone_at_once() -> None:
    """Earns: nobody waits a minute to learn that no agent is left."""
    with embedded() as shipway:
        shipway.run("up", "--detach", "--no-agent")
        agent = subprocess.Popen(
            [*SHIPWAY, "agent", "-q", "default"], env=shipway.env, stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: _agents(shipway), within_s=20, what="the agent has registered")
        finally:
            agent.terminate()
            agent.wait(20)
        assert [a["state"] for a in _agents(shipway)] == ["gone"]


def _agents(shipway: Embedded) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shipway.run("agents", "ls", "--json"))["items"]
    return found


@pytest.mark.slow
def test_ctrl_c_ends_the_foreground_and_says_what_goes_on() -> None:
    """Earns: the same line for a terminal's Ctrl-C as for `down`."""
    with embedded() as shipway:
        up = subprocess.Popen(
            [*HEARS_CTRL_C, *SHIPWAY, "up"],
            env=shipway.env,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        try:
            assert up.stdout is not None
            first = up.stdout.readline()
            assert "shipway is up at http://127.0.0.1:" in first
            assert "sign in" in up.stdout.readline()
            nap(shipway)
            up.send_signal(signal.SIGINT)
            rest = up.communicate(timeout=40)[0]
            assert up.returncode == 0
            assert "1 program goes on; stop with: shipway down --stop" in rest
        finally:
            up.kill()
            up.communicate()


@pytest.mark.slow
def test_up_ignores_another_server_s_address_and_key() -> None:
    """Earns: a configured team server never becomes the parent of an embedded one."""
    other = {"SHIPWAY_BASE_URL": "http://127.0.0.1:9", "SHIPWAY_API_KEY": "sw_x-" + "0" * 40}
    with embedded(**other) as shipway:
        shipway.up()
        assert shipway.server()["base_url"] != other["SHIPWAY_BASE_URL"]
        for name in other:
            del shipway.env[name]
        assert json.loads(shipway.run("status", "--json"))["is_up"] is True


@pytest.mark.slow
def test_purge_leaves_nothing() -> None:
    """Earns: the demo's promise, no process and no file."""
    with embedded() as shipway:
        shipway.up()
        item = nap(shipway)
        assert item
        shipway.run("down", "--purge")
        assert not shipway.home.exists()
        assert not shipway.pids()


@pytest.mark.slow
def test_follow_exits_as_the_program_does() -> None:
    """Earns: `shipway launch --follow` can stand in a shell script."""
    ends = {"exit 3": 3, "kill -SEGV $$": 139, "true": 0}
    with embedded() as shipway:
        shipway.up()
        source = shipway.root / "ends"
        source.mkdir()
        for number, (command, code) in enumerate(ends.items()):
            (source / "end.sh").write_text(f"echo out {number}\necho err {number} >&2\n{command}\n")
            argv = ["launch", "-u", str(source), "-E", "end.sh", "--follow"]
            ran = subprocess.run(
                [*SHIPWAY, *argv], env=shipway.env, capture_output=True, text=True, timeout=120,
                check=False, cwd=shipway.root,
            )  # fmt: skip
            assert ran.returncode == code, ran.stderr
            assert ran.stdout == f"out {number}\n"
            assert f"err {number}\n" in ran.stderr
        limit = '{"local-process": {"run_limit_s": 1, "grace_s": 1}}'
        (source / "end.sh").write_text(NAP)
        argv = ["launch", "-u", str(source), "-E", "end.sh", "--follow", "-R", limit]
        ran = subprocess.run(
            [*SHIPWAY, *argv], env=shipway.env, capture_output=True, text=True, timeout=120,
            check=False, cwd=shipway.root,
        )  # fmt: skip
        assert ran.returncode == 124, ran.stderr


@pytest.mark.slow
def test_ctrl_c_of_a_follower_leaves_the_run_alone() -> None:
    """Earns: closing a terminal never ends a training; the way to stop it is said."""
    with embedded() as shipway:
        shipway.up()
        source = shipway.root / "nap"
        source.mkdir()
        (source / "nap.sh").write_text(f"echo ready\n{NAP}")
        argv = [*HEARS_CTRL_C, *SHIPWAY, "launch", "-u", str(source), "-E", "nap.sh", "--follow"]
        follower = subprocess.Popen(
            argv, env=shipway.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "ready\n"
            follower.send_signal(signal.SIGINT)
            said = follower.communicate(timeout=30)[1]
            assert follower.returncode == 130
            item = said.split()[0]
            assert f"stop it with: shipway item cancel {item}" in said
            assert state_of(shipway, item) == "running"
        finally:
            follower.kill()
            follower.communicate()


def whole(shipway: Embedded) -> dict[str, int] | None:
    """Return the pids of server and agent once both are there."""
    pids = shipway.pids()
    found = {name: pids[name] for name in ("server", "agent") if name in pids}
    return found if len(found) == 2 and all(map(alive, found.values())) else None
