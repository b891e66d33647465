"""Runs a whole shipway on one machine, whose processes are killed and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from shipway.client import Client
from shipway.domain.errors import ShipwayError
from shipway.testing.campaign.verdict import RETRIES
from shipway.testing.postgres import Postgres, new_database

SLOTS = 8  # programs at once, of all agents together
START_S = 90.0
END_S = 20.0
POSTGRES_S = 0.7  # from the postmaster's start to the server's
LOST_AFTER_S = 60
_PAUSE_S = 0.05


@dataclass(slots=True)
class Site:
    """The processes of one shipway, and how each is started again."""

    root: Path
    database: str
    env: dict[str, str]
    commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)  # whose SHIPWAY_HOME is where
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    postgres: Postgres | None = None
    served_from: float = 0.0  # when the database may be there
    quits: Counter[str] = field(default_factory=Counter)  # who ended by itself, with which code
    base_url: str = ""
    key: str = ""
    address: Path | None = None  # the file that says where an embedded server is now

    def client(self, patience_s: float = 2.0) -> Client:
        """Return a way to the server for who launches."""
        self._look_up()
        return Client(self.base_url, self.key, timeout_s=20, patience_s=patience_s, env={})

    def add(self, name: str, *command: str, **variables: str) -> None:
        """Name a process that belongs to the site."""
        self.commands[name] = command
        self.homes[name] = self.root / name
        self.variables[name] = variables

    def revive(self) -> list[str]:
        """Start whatever is not there; return what was started."""
        started = []
        if self.postgres is not None:
            process = self.postgres.process
            if process is None or process.poll() is not None:
                self.postgres.start()
                self.served_from = time.monotonic() + POSTGRES_S
                started.append("postmaster")
        for name in self.commands:
            if name == "server" and time.monotonic() < self.served_from:
                continue
            process = self.running.get(name)
            if process is None or process.poll() is not None:
                if process is not None and process.returncode != -signal.SIGKILL:
                    self.quits[f"{name}: {process.returncode}: {self.last_line(name)}"] += 1
                self._start(name)
                started.append(name)
        return started

    def run(self, name: str, *argv: str, **variables: str) -> str:
        """Run a command with the variables of one of its processes."""
        done = subprocess.run(
            [sys.executable, "-m", "shipway", *argv], env={**self._env(name), **variables},
            cwd=self.root, capture_output=True, text=True, check=False, timeout=START_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def last_line(self, name: str) -> str:
        """Return the last that a process said."""
        said = (self.root / f"{name}.log").read_text(errors="replace").splitlines()
        return said[-1] if said else ""

    def await_server(self) -> None:
        """Wait until the server answers, reviving what ends by itself meanwhile."""
        end = time.monotonic() + START_S
        while not self.is_up():
            assert time.monotonic() < end, f"the server does not come up, see {self.root}"
            self.revive()
            time.sleep(_PAUSE_S)

    def is_up(self) -> bool:
        """Tell whether the server answers."""
        self._look_up()
        with suppress(ShipwayError, OSError):
            if self.base_url:
                return bool(Client(self.base_url, "", env={}).health()["status"] == "ok")
        return False

    def _look_up(self) -> None:
        """Take the address of an embedded server: its next one may be elsewhere."""
        if self.address is not None:
            with suppress(FileNotFoundError, ValueError):
                server = json.loads(self.address.read_text())
                self.base_url, self.key = server["base_url"], server["api_key"]

    def _env(self, name: str) -> dict[str, str]:
        return {**self.env, "SHIPWAY_HOME": str(self.homes[name]), **self.variables[name]}

    def _start(self, name: str) -> None:
        self.homes[name].mkdir(mode=0o700, exist_ok=True)
        with (self.root / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "shipway", *self.commands[name]], env=self._env(name),
                cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip


@contextmanager
def site(kind: str) -> Iterator[Site]:
    """Yield a running site: `embedded`, or a team's on `sqlite` or `postgresql`."""
    root = Path(tempfile.mkdtemp(prefix="sw-campaign-"))
    root.chmod(0o711)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SHIPWAY_") and "proxy" not in name.lower()
    }
    made = Site(root=root, database="", env={**kept, "PYTHONWARNINGS": ""})
    try:
        if kind == "embedded":
            _embed(made)
        else:
            _gather(made, is_postgres=kind == "postgresql")
        yield made
    finally:
        end(made)
        shutil.rmtree(root, ignore_errors=True)


def end(site: Site) -> None:
    """End all that belongs to a site."""
    from shipway.testing.campaign.prey import belongings  # noqa: PLC0415 - it knows sites

    until = time.monotonic() + END_S
    for process in site.running.values():
        process.kill()
        process.wait()
    while left := belongings(site):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < until, f"{left} do not end"
        time.sleep(_PAUSE_S)
    if site.postgres is not None:
        site.postgres.stop()


def _embed(site: Site) -> None:
    home = site.root / "up"
    home.mkdir(mode=0o700)
    (home / "agent.toml").write_text(f"queues = {json.dumps(list(RETRIES))}\nmax_jobs = {SLOTS}\n")
    site.add("up", "up")
    site.database = f"sqlite:///{home / 'data' / 'shipway.db'}"
    site.revive()
    until = time.monotonic() + START_S
    site.address = home / "server.json"
    while not site.address.exists():
        assert time.monotonic() < until, f"it does not come up, see {site.root}"
        time.sleep(_PAUSE_S)
    _make_queues(site)


def _gather(site: Site, *, is_postgres: bool) -> None:
    if is_postgres:
        folder = site.root / "postgres"
        folder.mkdir()
        site.postgres = Postgres(folder, is_durable=True)
        site.postgres.make()
        site.postgres.start()
        site.postgres.wait()
        site.database = new_database(site.postgres.url, "team")
    else:
        site.database = f"sqlite:///{site.root / 'shipway.db'}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    site.base_url = f"http://127.0.0.1:{port}"
    key_file = site.root / "admin.key"
    site.add(
        "server", "server", "--database", site.database, "--migrate", "--port", str(port),
        "--blobs", str(site.root / "blobs"), "--admin-key-file", str(key_file),
    )  # fmt: skip
    site.await_server()
    admin = Client(site.base_url, key_file.read_text().strip(), patience_s=20, env={})
    admin.people.create_user("ann", "member")
    site.key = admin.people.create_key(user="ann")["key"]
    _make_queues(site)
    for name in ("agent-1", "agent-2"):
        key = admin.people.create_key(user="ann", role="agent", label=name)["key"]
        queues = [word for queue in RETRIES for word in ("-q", queue)]
        variables = {"SHIPWAY_BASE_URL": site.base_url, "SHIPWAY_API_KEY": key}
        site.add(name, "agent", *queues, "-j", str(SLOTS // 2), **variables)
    site.revive()


def _make_queues(site: Site) -> None:
    client = site.client(patience_s=20)
    for name, retries in RETRIES.items():
        rule = f"retry:{retries}" if retries else "fail"
        client.queues.create(
            {
                "name": name,
                "resource": "local-process",
                "on_lost": rule,
                "lost_after_s": LOST_AFTER_S,
            }
        )
