"""`shipway up`, `down` and `status`: the embedded server and agent of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from shipway.cli.agents import readable
from shipway.cli.children import tail
from shipway.cli.connection import settings
from shipway.cli.embedded_home import EmbeddedHome
from shipway.cli.output import as_json, emit, fields, note, progress, say
from shipway.client import Client
from shipway.domain.agent import AgentState
from shipway.domain.errors import ShipwayError
from shipway.sdk.discovery import Embedded, find_embedded, is_process
from shipway.sdk.home import choose_home

DETACH_WAIT_S = 60.0  # until the server answers
DOWN_WAIT_S = 25.0  # until `up` has ended server and agent
LOOK_EVERY_S = 0.05


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="0: any free one. Kept for next time.")
@click.option("--no-agent", is_flag=True, help="Server and pages only; nothing is run.")
@click.option("--detach", is_flag=True, help="Go into the background once the server answers.")
def up(*, port: int | None, no_agent: bool, detach: bool) -> int:
    """The embedded server, agent and page in the foreground.

    SHIPWAY_BASE_URL and SHIPWAY_API_KEY are ignored. Ctrl-C ends server and agent; programs go on
    and are found again.
    """
    home = embedded_home()
    if detach:
        return _detach(home, port=port, no_agent=no_agent)
    from shipway.cli.embedded import Embedded as Parent  # noqa: PLC0415 - only the parent needs it
    from shipway.cli.embedded import UpOptions  # noqa: PLC0415 - only the parent needs it

    options = UpOptions(port=port, with_agent=not no_agent)
    return Parent(home, options, env=os.environ, say=say).run()


@click.command()
@click.option("--stop", is_flag=True, help="Stop the programs first.")
@click.option("--purge", is_flag=True, help="Stop the programs, then delete all data.")
@as_json
def down(*, stop: bool, purge: bool, is_json: bool) -> None:
    """End the embedded server and agent; programs go on.

    A later `shipway up` finds them again. `--stop` stops them, `--purge` also deletes everything
    that shipway keeps in this home: items, runs, logs, files, environments, the key.
    """
    home = embedded_home()
    was_up = home.is_held()
    was_there = home.root.exists()
    stopped, running = 0, 0
    if stop or purge:
        stopped = _stop_programs(home, was_up=was_up)
    elif was_up:
        running = _count_running(home)
    _end(home)
    if stop or purge:
        from shipway.cli.supervisor import end_supervisors  # noqa: PLC0415 - rarely needed

        for agent_home in home.agent_homes:
            end_supervisors(agent_home)
    if purge:
        home.purge()
    if is_json:
        emit({"was_up": was_up, "stopped": stopped, "running": running, "is_purged": purge})
        return
    say("shipway is down" if was_up else f"shipway was not up on {home.root}")
    if stopped:
        say(f"{stopped} {'program was' if stopped == 1 else 'programs were'} stopped")
    if running:
        noun = "program goes" if running == 1 else "programs go"
        say(f"{running} {noun} on; stop with: shipway down --stop")
    if purge:
        say(f"all data in {home.root} is {'deleted' if was_there else 'gone already'}")


@click.command()
@as_json
def status(*, is_json: bool) -> int:
    """Show how the embedded server stands; exit 1 when it is not up."""
    home = embedded_home()
    server = find_embedded(home.root)
    if server is None:
        if is_json:
            emit({"is_up": False, "is_starting": home.is_held(), "home": str(home.root)})
        elif home.is_held():
            say(f"shipway is starting on {home.root}")
        else:
            say(f"shipway is not up on {home.root}; start it: shipway up")
        return 1
    found = _standing(home, server)
    if is_json:
        emit(found)
        return 0
    fields(
        {
            **found,
            "agents": ", ".join(_with_state(found["agents"])) or "none",
            "pages": f"{_client(server).people.signin_link()} (signs in once, within 5 minutes)",
            "items": ", ".join(f"{n} {state}" for state, n in found["items"].items()) or "none",
        },
        {
            "base_url": "address",
            "home": "home",
            "version": "version",
            "pid": "server pid",
            "agents": "agents",
            "items": "items",
            "pages": "pages",
        },
    )
    return 0


def embedded_home() -> EmbeddedHome:
    """Return the home of this machine's embedded server, saying so where it is an odd place."""
    chosen = choose_home(os.environ, explicit=settings().home)
    if chosen.notice:
        note(chosen.notice)
    return EmbeddedHome(chosen.path)


def wait_for(found: Callable[[], bool], *, limit_s: float) -> bool:
    """Look until something is so; return whether it came to be in time."""
    end = time.monotonic() + limit_s
    while not found():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def _detach(home: EmbeddedHome, *, port: int | None, no_agent: bool) -> int:
    """Start `up` in a session of its own, and return once the server answers."""
    home.make()
    log = home.logs / "up.log"
    said = log.stat().st_size if log.exists() else 0  # by those that ran before
    process: subprocess.Popen[bytes] | None = None
    asked_at = time.time_ns() // 1_000_000
    if not home.is_held():
        argv = [sys.executable, "-m", "shipway", "up"]
        argv += [] if port is None else ["--port", str(port)]
        argv += ["--no-agent"] if no_agent else []
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "SHIPWAY_HOME": str(home.root)},
                cwd="/",
                start_new_session=True,
            )

    def is_decided() -> bool:
        server = find_embedded(home.root)
        is_ours_over = process is not None and process.poll() is not None
        if server is not None:
            # a server whose parent was killed answers for some seconds more: it is not meant
            return process is None or is_ours_over or server.started_at >= asked_at
        return is_ours_over and not home.is_held()

    wait_for(is_decided, limit_s=DETACH_WAIT_S)
    server = find_embedded(home.root)
    if server is None:
        raise ShipwayError(
            f"the embedded server did not start; the end of {log}:\n{tail(log, since=said)}"
        )
    if process is not None:
        process.returncode = 0  # it goes on by itself: nobody is to wait for it
    say(f"shipway is up at {server.base_url} (data in {home.root}); end it with: shipway down")
    return 0


def _stop_programs(home: EmbeddedHome, *, was_up: bool) -> int:
    """Stop what runs and what is about to; what waits goes on waiting."""
    from shipway.cli.supervisor import is_supervised  # noqa: PLC0415 - rarely needed

    if not was_up:
        if not any(map(is_supervised, home.agent_homes)):
            return 0
        # only an agent can end what its supervisor runs, and write down that it was stopped
        _detach(home, port=None, no_agent=False)
    server = find_embedded(home.root)
    if server is None:
        if not any(map(is_supervised, home.agent_homes)):
            return 0  # nothing runs, so a server that does not start keeps nobody from the end
        raise ShipwayError(
            f"the server of {home.root} does not answer, so its programs cannot be stopped: "
            f"look into {home.logs / 'server.log'}"
        )
    from shipway.cli.stop_all import stop_all  # noqa: PLC0415 - rarely needed

    client = _client(server)
    try:
        return stop_all(client, say=note, progress=progress, keep=home.keep_drained)
    except BaseException:  # Ctrl-C too: shipway stays up, so its agents go on taking work
        from shipway.cli.embedded import resume_drained  # noqa: PLC0415 - rarely needed

        with suppress(ShipwayError):
            resume_drained(client, home)
        raise


def _end(home: EmbeddedHome) -> None:
    """End `up` with SIGTERM, or with SIGKILL when it does not go."""
    holder = home.holder()
    if holder is None or not home.is_held():
        home.withdraw()
        return

    def is_gone() -> bool:
        return not is_process(holder.pid, started_before=holder.started_at)

    os.kill(holder.pid, signal.SIGTERM)
    if not wait_for(is_gone, limit_s=DOWN_WAIT_S):
        note(f"process {holder.pid} did not end within {DOWN_WAIT_S:.0f} s: it is killed")
        os.kill(holder.pid, signal.SIGKILL)
        wait_for(is_gone, limit_s=DOWN_WAIT_S)
        home.withdraw()


def _standing(home: EmbeddedHome, server: Embedded) -> dict[str, Any]:
    client = _client(server)
    items: dict[str, int] = {}
    for queue in client.queues.find():
        for state, count in queue.get("counts", {}).items():
            items[state] = items.get(state, 0) + count
    agents = [
        {key: agent.get(key) for key in ("id", "hostname", "state", "queues", "slots", "seen_at")}
        for agent in client.agents.find()
    ]
    return {
        "is_up": True,
        "home": str(home.root),
        "base_url": server.base_url,
        "version": server.version,
        "protocol": server.protocol,
        "pid": server.pid,
        "boot_id": server.boot_id,
        "started_at": server.started_at,
        "items": items,
        "agents": agents,
    }


def _with_state(agents: list[dict[str, Any]]) -> list[str]:
    there = [readable(one) for one in agents if one["state"] != AgentState.GONE]
    return [f"{one['id']} ({one['state']})" for one in there]


def _count_running(home: EmbeddedHome) -> int:
    server = find_embedded(home.root)
    if server is None:
        return 0
    try:
        queues = _client(server).queues.find()
    except ShipwayError:
        return 0  # it is ending already
    return sum(int(queue.get("counts", {}).get("running", 0)) for queue in queues)


def _client(server: Embedded) -> Client:
    return Client(server.base_url, server.api_key, env={})
