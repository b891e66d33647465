"""Checks of one machine: each says how a thing stands, and how to mend it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from shipway.cli.finding import Finding, Verdict
from shipway.domain.agent import room_in
from shipway.domain.disk import Room, in_words
from shipway.domain.errors import ShipwayError
from shipway.sdk.home import choose_home, file_system_of
from shipway.sdk.settings import Settings

COMMAND_LIMIT_S = 10.0
CLOCK_LIMIT_S = 5.0  # between this clock and the server's
OLDEST_GIT = (2, 34)

Run = Callable[[Sequence[str]], str | None]  # a command's output, None where it fails


def run_command(argv: Sequence[str]) -> str | None:
    """Return what a command prints, or None where it is absent, fails or hangs."""
    try:
        ran = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None


def check_git(run: Run = run_command) -> Finding:
    """Check that git is there and new enough for what we ask of it."""
    found = run(["git", "--version"])
    if found is None:
        return _bad("git", "git is not there", "install git, for example: apt-get install git")
    version = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if version < OLDEST_GIT:
        wanted = ".".join(map(str, OLDEST_GIT))
        return _odd("git", f"{found} is older than {wanted}", "install a newer git")
    return _good("git", found)


def check_uv(run: Run = run_command) -> Finding:
    """Check that uv, which makes environments, is the one that came with shipway."""
    path = uv_path()
    found = run([str(path), "--version"]) if path else None
    if found is None:
        return _bad(
            "uv", "uv is not there", "install shipway anew: its uv package brings the binary"
        )
    return _good("uv", f"{found} at {path}")


def check_pythons(run: Run = run_command) -> Finding:
    """List the Pythons that programs can have."""
    path = uv_path()
    listing = run([str(path), "python", "list", "--only-installed", "--offline"]) if path else None
    if not listing:
        return _odd(
            "pythons",
            f"only {sys.version.split()[0]}, which runs shipway itself",
            "install others with your package manager or: uv python install 3.12",
        )
    names = dict.fromkeys(line.split()[0] for line in listing.splitlines() if line.strip())
    return _good("pythons", ", ".join(names))


def check_file_system(home: Path) -> Finding:
    """Check what kind of file system the data lies on."""
    kind = file_system_of(home)
    return _good("file system", f"{home} is on {kind or 'an unknown file system'}")


def check_disk(home: Path) -> Finding:
    """Check that there is room for environments and logs."""
    folder = next(path for path in (home, *home.parents) if path.exists())
    usage = shutil.disk_usage(folder)
    room = Room(free=usage.free, total=usage.total)
    if room.is_low:
        return _bad(
            "disk",
            f"{folder} has {room}: no new work is taken",
            "free some space ('shipway gc' says what can go), or set SHIPWAY_HOME to a larger disk",
        )
    text = f"{in_words(room.free)} free at {folder}"
    if not os.access(folder, os.W_OK):
        return _bad(
            "disk", f"{folder} may not be written to", "set SHIPWAY_HOME to a folder of yours"
        )
    return _good("disk", text)


def check_platform(platform: str = sys.platform) -> Finding:
    """Say what this platform can and cannot promise."""
    if platform == "linux":
        return _good("platform", "Linux: every process of a stopped program is found and ended")
    if platform == "darwin":
        return _odd(
            "platform",
            "macOS: a program that detaches itself completely may stay behind",
            "run agents on Linux where that matters",
        )
    return _odd(
        "platform", f"{platform}: SDK and command line only", "run agents on Linux or in WSL 2"
    )


def check_server(settings: Settings, address: str | None) -> Finding:
    """Check that the server answers and that the key is good."""
    if address is None:
        return _odd(
            "server",
            "no embedded server is up; the next launch starts one"
            if settings.is_autostart
            else "no embedded server is up, and SHIPWAY_AUTOSTART=0",
            "start it now: shipway up",
        )
    from shipway.sdk.connection import connect  # noqa: PLC0415 - only with a server

    try:
        me = connect(settings=settings).client.me()
    except ShipwayError as error:
        return _bad("server", error.message, "check SHIPWAY_BASE_URL and the key: shipway login")
    if me.get("is_short_of_disk"):
        return _bad(
            "server",
            f"{address} takes no new work: its disk is short",
            "free some space on its disk; 'shipway gc' there says what can go",
        )
    return _good(
        "server", f"{address}, version {me.get('server_version')}, as {me['user']} ({me['role']})"
    )


def check_agents(settings: Settings, address: str | None) -> Finding:
    """Look for agents that take no new work because their disk is short."""
    if address is None:
        return _good("agents", "no server to ask")
    from shipway.sdk.connection import connect  # noqa: PLC0415 - only with a server

    try:
        agents = connect(settings=settings).client.agents.find()
    except ShipwayError as error:
        return _odd("agents", error.message, "see the line `server`")
    live = [agent for agent in agents if agent.get("state") != "gone"]
    rooms = [(agent["hostname"], room_in(agent.get("facts") or {})) for agent in live]
    short = [f"{name} has {room}" for name, room in rooms if room is not None and room.is_low]
    if short:
        return _bad(
            "agents",
            f"no new work is taken where the disk is short: {', '.join(short)}",
            "free some space there; 'shipway gc' says what can go",
        )
    return _good("agents", f"{len(live)} known, none of them short of disk")


def check_clock(address: str | None, now: Callable[[], float] = time.time) -> Finding:
    """Compare this clock with the server's; leases do not depend on either."""
    if address is None:
        return _good("clock", "no server to compare with")
    parts = urlsplit(address)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    link = kind(parts.hostname or "", parts.port, timeout=COMMAND_LIMIT_S)
    try:
        link.request("GET", "/healthz")
        stamp = link.getresponse().getheader("Date")
    except (OSError, HTTPException) as error:
        return _odd("clock", f"the server did not tell its time: {error}", "see the line `server`")
    finally:
        link.close()
    if stamp is None:
        return _good("clock", "the server does not tell its time")
    apart = abs(now() - parsedate_to_datetime(stamp).timestamp())
    if apart > CLOCK_LIMIT_S:
        return _odd(
            "clock",
            f"{apart:.0f} s apart from the server's: times shown will be off; leases are not",
            "let a time service set both clocks",
        )
    return _good("clock", f"{apart:.0f} s apart from the server's")


def check_home(env: Mapping[str, str], settings: Settings) -> tuple[Path | None, Finding]:
    """Return the home, and whether the embedded server may lie there."""
    try:
        chosen = choose_home(env, explicit=settings.home)
    except ShipwayError as error:
        return None, _bad("home", error.message, "set SHIPWAY_HOME to a directory on a local disk")
    if chosen.notice:
        return chosen.path, _odd("home", chosen.notice, "set SHIPWAY_HOME to a local disk")
    return chosen.path, _good("home", str(chosen.path))


def uv_path() -> Path | None:
    """Return the uv that came with shipway, else the one in PATH."""
    beside = Path(sys.executable).with_name("uv")
    if beside.exists():
        return beside
    found = shutil.which("uv")
    return Path(found) if found else None


def _good(name: str, text: str) -> Finding:
    return Finding(name=name, verdict=Verdict.GOOD, text=text)


def _odd(name: str, text: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.ODD, text=text, remedy=remedy)


def _bad(name: str, text: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.BAD, text=text, remedy=remedy)
