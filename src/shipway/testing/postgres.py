"""Starts a real PostgreSQL server for tests, in a temporary folder that goes away with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 30.0  # until the server must answer
STOP_S = 10.0
POLL_S = 0.02
PORT = 5432  # names the socket alone: the folder is new, and nothing listens on a network

_PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")


def find_binaries() -> Path | None:
    """Return the folder of the newest server's programs, or None where there is no server."""
    found = [
        path.parent
        for place in _PLACES
        for pattern in ("*/bin/initdb", "bin/initdb")
        for path in Path(place).glob(pattern)
        if (path.parent / "postgres").exists()
    ]
    if found:
        return max(found, key=_version)
    program = shutil.which("initdb")
    return None if program is None else Path(program).resolve().parent


@dataclass(slots=True)
class Postgres:
    """A server in a folder of its own, which may be killed and started again."""

    folder: Path
    is_durable: bool = False  # without it is fast, and good for tests
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"postgresql://tester@/postgres?host={self.folder}&port={PORT}"

    def make(self) -> None:
        """Make what it serves; the folder changes its owner where a server must have another."""
        user = _server_user()
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        _make(_binaries(), self.folder, user)

    def start(self) -> None:
        """Start it; it may end by itself while processes of a killed one are there."""
        self.process = _start(_binaries(), self.folder, _server_user(), is_durable=self.is_durable)

    def wait(self) -> None:
        """Wait until it answers."""
        assert self.process is not None
        _wait_until_it_answers(_binaries(), self.folder, self.process)

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            _stop(self.process)


@contextmanager
def running_postgres(*, is_durable: bool = False) -> Iterator[str]:
    """Run a server and yield its address; without durability it is fast, and good for tests."""
    folder = Path(tempfile.mkdtemp(prefix="shipway-pg-"))
    server = Postgres(folder, is_durable=is_durable)
    try:
        server.make()
        server.start()
        server.wait()
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def new_database(url: str, name: str, *, template: str = "template1") -> str:
    """Make a database on a running server, empty or another's copy, and return its address."""
    import psycopg  # noqa: PLC0415 - an extra: only those who start a server have it

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    return url.replace("@/postgres?", f"@/{name}?")


def _binaries() -> Path:
    found = find_binaries()
    assert found is not None, "no PostgreSQL server is installed"
    return found


def _version(binaries: Path) -> tuple[int, ...]:
    digits = [part for part in binaries.parent.name.split(".") if part.isdigit()]
    return tuple(int(part) for part in digits)


def _server_user() -> str | None:
    """Return who the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _UNPRIVILEGED if name in names)


def _make(binaries: Path, folder: Path, user: str | None) -> None:
    done = subprocess.run(
        [
            binaries / "initdb", "--pgdata", folder / "data", "--username=tester",
            "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync",
        ],
        check=False, capture_output=True, cwd=folder, user=user, env=_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def _start(
    binaries: Path, folder: Path, user: str | None, *, is_durable: bool
) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "port": str(PORT),
        "max_connections": "60",
        "shared_buffers": "32MB",
        "dynamic_shared_memory_type": "mmap",
    }
    if not is_durable:
        settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            user=user,
            env=_environment(),
            start_new_session=True,
        )


def _wait_until_it_answers(binaries: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    ask = [str(binaries / "pg_isready"), "--quiet", f"--host={folder}", f"--port={PORT}"]
    while subprocess.run(ask, check=False, env=_environment()).returncode != 0:
        log = (folder / "server.log").read_text(encoding="utf-8", errors="replace")
        assert server.poll() is None, f"PostgreSQL ended at once: {log}"
        assert time.monotonic() < until, f"PostgreSQL does not answer: {log}"
        time.sleep(POLL_S)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)  # a fast shutdown
    try:
        server.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "LC_ALL": "C"}
