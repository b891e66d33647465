"""A server, its agents and a user on one machine, each with an OS user and a home of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import shipway
from shipway.builders.uv_settings import find_uv
from shipway.client import Client
from shipway.domain.errors import ShipwayError
from tests.support.embedded import until

SOURCE = Path(shipway.__file__).parents[1]
SYSTEM_PYTHON = Path("/usr/bin") / f"python3.{sys.version_info.minor}"
UIDS = range(20_000, 60_000)
START_S = 60.0
END_S = 10.0
# Packages of the tests' own environment that no server and no agent needs, and that are large.
_HEAVY = ("pip*", "mypy*", "*mypyc*", "hyperqueue*", "hypothesis*", "setuptools*", "grimp*")


@dataclass(frozen=True)
class Account:
    """An OS user without an entry anywhere: a number, a home, and what its shell would have."""

    name: str
    uid: int
    home: Path
    env: dict[str, str]

    def write(self, name: str, data: str) -> Path:
        """Write a file into its home that is its own."""
        path = self.home / name
        path.write_text(data)
        path.chmod(0o600)
        os.chown(path, self.uid, self.uid)
        return path

    def start(self, argv: Sequence[str | Path], log: Path, **env: str) -> subprocess.Popen[bytes]:
        """Start a process as this user."""
        with log.open("ab") as file:
            return subprocess.Popen(
                argv, user=self.uid, group=self.uid, extra_groups=[], cwd=self.home,
                env={**self.env, **env}, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                umask=0o077,
            )  # fmt: skip

    def run(
        self, argv: Sequence[str | Path], timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a process as this user to its end."""
        return subprocess.run(
            argv, user=self.uid, group=self.uid, extra_groups=[], cwd=self.home, env=self.env,
            capture_output=True, text=True, timeout=timeout, check=False, umask=0o077,
        )  # fmt: skip

    def processes(self) -> list[int]:
        """Return the pids of all that runs as this user."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and entry.stat().st_uid == self.uid:
                    found.append(int(entry.name))
        return found


@dataclass
class Fleet:
    """Accounts, and the servers and agents that run as them; killed and started by tests."""

    root: Path
    python: tuple[str, dict[str, str]]
    accounts: dict[str, Account] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _commands: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def account(self, name: str, **env: str) -> Account:
        """Make a user whose home nobody else can read."""
        home = self.root / name
        uid = _free_uid({account.uid for account in self.accounts.values()})
        for folder in (home, home / "tmp"):
            folder.mkdir(mode=0o700)
            os.chown(folder, uid, uid)
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("SHIPWAY_", "XDG_", "PYTHON", "VIRTUAL_ENV"))
        }
        own = {"HOME": home, "USER": name, "LOGNAME": name, "TMPDIR": home / "tmp"}
        own["SHIPWAY_HOME"] = home / "shipway"
        made = {**kept, **{key: str(value) for key, value in own.items()}, **self.python[1], **env}
        self.accounts[name] = Account(name=name, uid=uid, home=home, env=made)
        return self.accounts[name]

    def start(self, name: str, *argv: str) -> None:
        """Start `shipway …` as an account; without arguments, what it ran before."""
        command = argv or self._commands[name]
        self._commands[name] = command
        log = self.root / f"{name}.log"
        self._running[name] = self.accounts[name].start(
            [self.python[0], "-m", "shipway", *command], log
        )

    def kill(self, name: str) -> None:
        """Kill a server or an agent with SIGKILL."""
        process = self._running.pop(name)
        assert process.poll() is None, f"{name} ended by itself:\n{self.log(name)}"
        process.kill()
        process.wait()

    def log(self, name: str) -> str:
        """Return the end of what a server or an agent said."""
        return (self.root / f"{name}.log").read_text(errors="replace")[-4000:]

    def wait_for(self, name: str, address: str) -> None:
        """Wait until a server answers."""

        def is_there() -> bool:
            assert self._running[name].poll() is None, self.log(name)
            with (
                contextlib.suppress(ShipwayError, OSError),
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1),
            ):
                return Client(address, "", env={}).health()["status"] == "ok"
            return False

        until(is_there, within_s=START_S, what=f"{name} answers")

    def readable_by(self, name: str) -> list[str]:
        """Return the accounts whose home this one can look into."""
        argv = [self.python[0], "-c", _LOOK, *(str(a.home) for a in self.accounts.values())]
        done = self.accounts[name].run(argv)
        assert done.returncode == 0, done.stderr
        return [Path(line).name for line in done.stdout.splitlines()]

    def end(self) -> None:
        """End all that runs as one of the accounts: programs and supervisors too."""
        for process in self._running.values():
            process.kill()
            process.wait()
        end = time.monotonic() + END_S
        while left := [pid for a in self.accounts.values() for pid in a.processes()]:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < end, f"{left} do not end"
            time.sleep(0.05)


@contextlib.contextmanager
def fleet() -> Iterator[Fleet]:
    """Yield a fleet without anybody in it; only root can have one."""
    root = Path(tempfile.mkdtemp(prefix="sw-fleet-"))
    root.chmod(0o711)
    made = Fleet(root=root, python=("", {}))
    try:
        made.python = _python(root)
        yield made
    finally:
        made.end()
        shutil.rmtree(root, ignore_errors=True)


def free_port() -> int:
    """Return a port that a server keeps through its restarts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


_LOOK = """
import os, sys
for home in sys.argv[1:]:
    try:
        os.listdir(home)
    except PermissionError:
        continue
    print(home)
"""


def _python(root: Path) -> tuple[str, dict[str, str]]:
    """Return a Python with shipway that anybody can start, and the variables that it needs.

    The environment's own may lie under a private home: then the system's, on the same packages,
    copied where they too cannot be read.
    """
    packages = Path(sysconfig.get_path("purelib"))
    copied = root / "environment"
    for python, path in (
        (sys.executable, None),
        (str(SYSTEM_PYTHON), (packages, SOURCE)),
        (str(SYSTEM_PYTHON), (copied / packages.relative_to(sys.prefix), copied / "src")),
    ):
        if path is not None and path[0].is_relative_to(copied):
            _copy(packages, SOURCE, copied)
        env = {} if path is None else {"PYTHONPATH": os.pathsep.join(map(str, path))}
        if _starts(python, env):
            return python, env
    raise LookupError(
        f"neither {sys.executable} nor {SYSTEM_PYTHON} is one that all users may start"
    )


def _copy(packages: Path, source: Path, target: Path) -> None:
    """Copy packages and source; uv's own binary lies where its package looks for it."""
    ignore = shutil.ignore_patterns(*_HEAVY)
    inner = target / packages.relative_to(sys.prefix)
    shutil.copytree(packages, inner, ignore=ignore, symlinks=True)
    shutil.copytree(source, target / "src", symlinks=True)
    (target / "bin").mkdir()
    shutil.copy(find_uv(os.defpath), target / "bin")


def _starts(python: str, env: dict[str, str]) -> bool:
    probe = [python, "-c", "import shipway.cli.main, shipway.server.main, shipway.agent.main"]
    uid = _free_uid(set())
    with contextlib.suppress(OSError):
        return subprocess.run(
            probe, user=uid, group=uid, extra_groups=[], env={"PATH": os.defpath, **env}, cwd="/",
            capture_output=True, check=False, timeout=START_S,
        ).returncode == 0  # fmt: skip
    return False


def _free_uid(taken: set[int]) -> int:
    used = {entry.pw_uid for entry in pwd.getpwall()} | taken
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            used.add(entry.stat().st_uid)
    return random.SystemRandom().choice([uid for uid in UIDS if uid not in used])
