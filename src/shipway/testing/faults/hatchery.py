"""Forks servers from one warm process, each ready within milliseconds."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from shipway.blobs.directory import DirectoryBlobs
from shipway.client import Client
from shipway.server.app import Application, SystemClock, build_app, build_service
from shipway.server.first_key import adopt_key
from shipway.server.serving import make_server
from shipway.server.settings import Settings
from shipway.service.wiring import Service
from shipway.store.migrate import Migration
from shipway.store.open import end_process
from shipway.store.sqlite import open_sqlite

# What a server imports only once it runs; a fork that has it already starts in half the time.
LATE_IMPORTS = (
    *("uvloop", "uvicorn.loops.uvloop", "uvicorn.lifespan.on"),
    *("anyio.abc", "anyio.streams.memory", "anyio.streams.stapled", "anyio._backends._asyncio"),
)
READY = b"r"
GO = b"g"


class Later:
    """Stands for a thing that only the forked server makes."""

    def __init__(self) -> None:
        self.made: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)


@dataclass(slots=True, kw_only=True)
class Server:
    """A forked server; it holds its socket alone, so that its end is heard."""

    pid: int
    port: int
    home: Path
    ready: int  # a pipe that says when it answers
    go: int  # a pipe that lets it begin

    def begin(self) -> None:
        """Let it open its home."""
        os.write(self.go, GO)

    def is_ready(self) -> bool:
        """Wait until it answers; False when it ended before."""
        return os.read(self.ready, 1) == READY

    def client(self) -> Client:
        """Return a way to it with the owner's key; each request is tried once."""
        key = (self.home / "key").read_text().strip()
        return Client(f"http://127.0.0.1:{self.port}", key, patience_s=0, env={})

    def kill(self) -> None:
        """End it at once, if it has not ended by itself."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it in good order."""
        os.kill(self.pid, signal.SIGTERM)
        self.reap()

    def reap(self) -> int:
        """Wait for its end and return its status."""
        os.close(self.ready)
        os.close(self.go)
        return os.waitpid(self.pid, 0)[1]


class Hatchery:
    """A process that has made all of a server but what belongs to one home."""

    def __init__(self) -> None:
        self._store, self._blobs = Later(), Later()
        self._service: Service
        self._app: Application

    def warm(self) -> None:
        """Make what all servers share; no thread and no loop may be there before a fork."""
        for name in LATE_IMPORTS:
            import_module(name)
        clock = SystemClock()
        self._service = build_service(clock)
        self._app = build_app(
            Settings(database="", blobs=Path()),
            self._store,
            self._blobs,
            base_url="http://127.0.0.1",
            clock=clock,
            service=self._service,
        )

    def hatch(self, home: Path, *, migrations: Sequence[Migration] | None = None) -> Server:
        """Fork a server that opens a home once it is told to begin."""
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            ready, says_ready = os.pipe()
            awaits_go, go = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(ready)
                os.close(go)
                self._serve(home, listener, says_ready, awaits_go, migrations)
            os.close(says_ready)
            os.close(awaits_go)
            port = listener.getsockname()[1]
        return Server(pid=pid, port=port, home=home, ready=ready, go=go)

    def _serve(
        self, home: Path, listener: socket.socket, says_ready: int, awaits_go: int,
        migrations: Sequence[Migration] | None,
    ) -> NoReturn:  # fmt: skip
        """Do what `run_server` does, in the same order; never return."""
        status = 70
        try:
            log = os.open(home.parent / f"{home.name}.log", os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(log, sys.stderr.fileno())
            if os.read(awaits_go, 1) != GO:
                os._exit(0)
            store = self._store.made = open_sqlite(
                home / "data/shipway.db",
                is_migrated=True,
                now=0,
                fatal=end_process,
                migrations=migrations,
            )
            store.start()
            blobs = self._blobs.made = DirectoryBlobs(home / "data/blobs", free_floor=0)
            blobs.open()
            adopt_key(store, self._service.keys, home / "key", name="admin")
            settings = Settings(database="", blobs=home)
            server = make_server(self._app, settings, lambda: _say(says_ready))
            server.run(sockets=[listener])
            store.close()
            status = 0
        except BaseException as error:  # noqa: BLE001 - a forked process must not return
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)


def _say(pipe: int) -> None:
    os.write(pipe, READY)
