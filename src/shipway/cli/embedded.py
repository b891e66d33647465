"""Runs the embedded server and agent as two children and keeps them alive."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway import __version__
from shipway.cli.children import Child, tail
from shipway.cli.embedded_home import EmbeddedHome
from shipway.client import Client
from shipway.domain.errors import Code, NotFound, ShipwayError, Unauthenticated
from shipway.domain.names import DEFAULT_QUEUE
from shipway.sdk.discovery import is_process, read_server

HOST = "127.0.0.1"
SLOTS_LIMIT = 4  # programs at once, where no config file says: one a CPU, at most so many
FORMER_WAIT_S = 8.0  # a server without its parent ends within 5 s
READY_WAIT_S = 60.0  # until the server answers for the first time
FIRST_DEATHS_LIMIT = 3  # starts that fail before the server was ever ready
LOOK_EVERY_S = 0.05  # while the server starts
LIVES_LOOK_S = 1.0  # the longest sleep of the parent
COUNT_WAIT_S = 3.0  # for the number of programs that go on


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `shipway up` was asked for."""

    port: int | None = None  # None: last time's; 0: any free one
    with_agent: bool = True


class Embedded:
    """The parent of the embedded server and agent."""

    def __init__(
        self,
        home: EmbeddedHome,
        options: UpOptions,
        *,
        env: Mapping[str, str],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._options = options
        self._env = child_env(env, home)
        self._say = say
        self._clock = clock
        self._port = 0
        self._is_stopping = False
        self._client: Client | None = None
        self._published: tuple[int | None, str] | None = None
        self._server = self._child("server", self._server_argv)
        self._agent = self._child("agent", self._agent_argv)

    def run(self) -> int:
        """Run until a signal asks for the end; return the exit code."""
        self._home.make()
        with self._home.hold():
            self._await_former_server()
            self._home.withdraw()
            self._port = choose_port(self._options.port, self._home.port())
            self._home.keep_port(self._port)
            with self._signals() as wakeup:
                try:
                    self._start()
                    self._watch(wakeup)
                finally:
                    self._stop()
        return 0

    def _await_former_server(self) -> None:
        """Let the server of a killed parent end first: it has our port and our database."""
        former = read_server(self._home.server_json)
        if former is None or former.host != socket.gethostname():
            return
        end = self._clock() + FORMER_WAIT_S
        while is_process(former.pid, started_before=former.started_at):
            if self._clock() > end:
                with suppress(ProcessLookupError):
                    os.kill(former.pid, signal.SIGKILL)
                end = self._clock() + FORMER_WAIT_S
            time.sleep(LOOK_EVERY_S)

    def _start(self) -> None:
        """Start the server, say where it is once it answers, and start the agent."""
        self._server.start()
        self._await_server()
        if self._is_stopping:
            return
        assert self._client is not None
        link = self._client.people.signin_link()
        self._say(f"shipway is up at {self._client.base_url} (data in {self._home.root})")
        self._say(f"sign in, once, within 5 minutes: {link}")
        self._say("end it with Ctrl-C or: shipway down")
        resume_drained(self._client, self._home)
        if self._options.with_agent:
            self._agent.start()

    def _await_server(self) -> None:
        end = self._clock() + READY_WAIT_S
        while not self._is_stopping and not self._is_ready():
            self._server.look()
            if self._server.state.deaths >= FIRST_DEATHS_LIMIT or self._clock() > end:
                log = self._home.logs / "server.log"
                raise ShipwayError(
                    f"the embedded server did not start; the last lines of {log}:\n{tail(log)}"
                )
            if self._server.is_due():
                self._server.start()
            time.sleep(LOOK_EVERY_S)

    def _watch(self, wakeup: int) -> None:
        """Start again what dies, until asked to stop."""
        while not self._is_stopping:
            for child in self._children():
                code = child.look()
                if code is not None:
                    self._say(f"the {child.name} ended with code {code}: it is started again")
                if child.is_due():
                    child.start()
            timeout = LIVES_LOOK_S if self._is_ready() else LOOK_EVERY_S
            select.select([wakeup], [], [], timeout)
            with suppress(BlockingIOError):
                os.read(wakeup, 4096)

    def _is_ready(self) -> bool:
        """Look at the server once after each of its starts, and publish where it is."""
        pid = self._server.state.pid
        if pid is None:
            return False
        if self._published is not None and self._published[0] == pid:
            return True
        try:
            key = self._home.key.read_text().strip()
            client = Client(f"http://{HOST}:{self._port}", key, patience_s=0, env={})
            health = client.health(timeout_s=2.0)
            me = client.me()
        except Unauthenticated as error:
            raise Unauthenticated(
                f"the embedded server refuses the key in {self._home.key}: {error.message}; put "
                "the right key there, or begin anew with: shipway down --purge"
            ) from None
        except (OSError, ShipwayError):
            return False
        self._client = client
        self._published = (pid, str(health["boot_id"]))
        self._home.publish(
            {
                "base_url": client.base_url,
                "api_key": key,
                "entity": me["entity"],
                "pid": pid,
                "host": socket.gethostname(),
                "boot_id": health["boot_id"],
                "started_at": time.time_ns() // 1_000_000,
                "version": health.get("version", __version__),
                "protocol": health.get("protocol", 1),
            }
        )
        return True

    def _stop(self) -> None:
        """End agent and server; programs go on, and one line says how many."""
        running = self._count_running()
        self._home.withdraw()
        self._agent.end()
        self._server.end()
        if running:
            noun = "program goes" if running == 1 else "programs go"
            self._say(f"{running} {noun} on; stop with: shipway down --stop")

    def _count_running(self) -> int:
        if self._client is None or self._server.state.pid is None:
            return 0
        try:
            return sum(
                queue.get("counts", {}).get("running", 0) for queue in self._client.queues.find()
            )
        except ShipwayError as error:
            if error.code is not Code.UNREACHABLE:
                self._say(f"how many programs go on is not known: {error.message}")
            return 0

    def _children(self) -> Sequence[Child]:
        return (self._server, self._agent) if self._options.with_agent else (self._server,)

    def _child(self, name: str, argv: Callable[[int], Sequence[str]]) -> Child:
        log = self._home.logs / f"{name}.log"
        return Child(name=name, argv=argv, env=self._env, log=log, clock=self._clock)

    def _server_argv(self, pipe: int) -> list[str]:
        return [
            *(sys.executable, "-m", "shipway.server"),
            *("--database", f"sqlite:///{self._home.database}"),
            *("--blobs", str(self._home.blobs)),
            *("--host", HOST, "--port", str(self._port)),
            *("--key-file", str(self._home.key)),
            *("--parent-fd", str(pipe)),
        ]

    def _agent_argv(self, pipe: int) -> list[str]:
        return [
            *(sys.executable, "-m", "shipway.agent"),
            *("--home", str(self._home.agent)),
            *("--base-url", f"http://{HOST}:{self._port}"),
            *("--key-file", str(self._home.key)),
            *("--parent-fd", str(pipe)),
            *agent_flags(self._home.agent_config),
        ]

    @contextmanager
    def _signals(self) -> Iterator[int]:
        """Let SIGINT, SIGTERM and SIGHUP ask for the end, and a child's death wake us."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        old = {
            number: signal.signal(number, self._ask_stop)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            yield reader
        finally:
            for number, action in old.items():
                signal.signal(number, action)
            signal.set_wakeup_fd(before)
            os.close(reader)
            os.close(writer)

    def _ask_stop(self, *_: Any) -> None:
        self._is_stopping = True


def resume_drained(client: Client, home: EmbeddedHome) -> None:
    """Let the agents take work again that `shipway down --stop` had told to take nothing new."""
    for agent in home.drained():
        with suppress(NotFound):
            client.agents.resume(agent)
    home.forget_drained()


def choose_port(asked: int | None, kept: int) -> int:
    """Return the port to use: the one asked for, last time's if it is free, or any free one."""
    if asked:
        if not _is_free(asked):
            raise ShipwayError(f"port {asked} is in use: choose another, or 0 for any free one")
        return asked
    if asked is None and kept and _is_free(kept):
        return kept
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def agent_flags(config: Path) -> list[str]:
    """Return what the agent is to serve: its config file says, else `default` with some slots."""
    if config.exists():
        return ["--config", str(config)]
    return ["--queue", DEFAULT_QUEUE, "--max-jobs", str(min(SLOTS_LIMIT, os.cpu_count() or 1))]


def child_env(env: Mapping[str, str], home: EmbeddedHome) -> dict[str, str]:
    """Return the children's environment: this home, and no other server's address or key."""
    kept = {k: v for k, v in env.items() if k not in {"SHIPWAY_BASE_URL", "SHIPWAY_API_KEY"}}
    return {**kept, "SHIPWAY_HOME": str(home.root)}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
