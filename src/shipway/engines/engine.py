"""Runs one container engine's command line: argv only, bounded in time, with errors to act on."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from shipway.plugins.errors import PermanentError, PluginError, TemporaryError

NAMES = ("docker", "podman")
CALL_LIMIT_S = 60.0
END_LIMIT_S = 10.0  # for a command whose processes were ended, before it is killed itself
_LINE = 1 << 16  # bytes of a line after which it is told in parts
_TAIL = 2_000  # characters of what an engine said that an error repeats
_PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
)
_PASSED_PREFIXES = ("DOCKER_", "CONTAINER_", "CONTAINERS_", "BUILDKIT_", "BUILDAH_", "PODMAN_")
_CLOUDS = ("AWS_", "CLOUDSDK_", "GOOGLE_", "AZURE_")  # what helpers log in to registries with
_PASSED_TOO = ("REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR", "DBUS_SESSION_BUS_ADDRESS")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
# What engines say when it is they that are away, not the thing that was asked of them.
_AWAY = (
    "cannot connect to the docker daemon",
    "cannot connect to podman",
    "error during connect",
    "unable to connect to podman",
    "is the docker daemon running",
)
_FAR = ("dial tcp", "no such host", "i/o timeout", "tls handshake timeout", "connection reset")


class EngineAway(TemporaryError):
    """The engine does not answer; it may when it is started again."""


class EngineRefused(PermanentError):
    """The engine answered, and will not do it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine: which program speaks to it, in which environment."""

    name: str  # docker or podman: which dialect it speaks
    program: str  # an absolute path
    env: Mapping[str, str] = field(repr=False)  # all that its commands see

    def argv(self, *words: str) -> tuple[str, ...]:
        """Return a whole command line."""
        return (self.program, *words)

    def run(
        self,
        *words: str,
        input: bytes | None = None,
        timeout_s: float = CALL_LIMIT_S,
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a command and return its standard output; raise what it said where it failed."""
        try:
            done = subprocess.run(
                self.argv(*words),
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                timeout=timeout_s,
                env={**self.env, **(env or {})},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineAway(f"{self._doing(words)} did not end within {timeout_s:g} s") from None
        except OSError as error:
            raise EngineRefused(f"cannot start {self.program}: {error.strerror}") from error
        if done.returncode:
            raise self.error(words, done.stderr.decode(errors="replace"), done.returncode)
        return done.stdout

    def stream(
        self,
        *words: str,
        print: Callable[[str], None],
        timeout_s: float,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run a long command, telling each line that it prints; raise its last ones on failure."""
        try:
            process = subprocess.Popen(
                self.argv(*words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**self.env, **(env or {})},
                start_new_session=True,
            )
        except OSError as error:
            raise EngineRefused(f"cannot start {self.program}: {error.strerror}") from error
        with process:
            try:
                tail = _follow(process, print, time.monotonic() + timeout_s)
            except BaseException:
                _end(process)
                raise
            if tail is None:
                _end(process)
                raise EngineRefused(f"{self._doing(words)} did not end within {timeout_s:g} s")
        if process.returncode:
            raise self.error(words, tail, process.returncode)

    def error(self, words: tuple[str, ...], said: str, code: int) -> PluginError:
        """Return what an engine said as an error of the kind that it is."""
        text = said.strip()[-_TAIL:] or f"it exited with code {code}"
        if any(sign in text.lower() for sign in _AWAY):
            return EngineAway(f"{self.name} does not answer: {text}")
        if any(sign in text.lower() for sign in _FAR):
            return TemporaryError(f"{self._doing(words)} cannot reach a registry: {text}")
        return EngineRefused(f"{self._doing(words)} failed: {text}")

    def _doing(self, words: tuple[str, ...]) -> str:
        """Name a command by its first words: the rest may be long, or not for everybody."""
        return " ".join([self.name, *words[: 2 if words[0] in ("image", "system") else 1]])


def find_engine(env: Mapping[str, str], wanted: str | None = None) -> Engine:
    """Return the engine that was asked for, else the first that answers; raise why there is none.

    `wanted` is docker, podman, or the absolute path of a program that speaks like one of them.
    """
    if wanted is not None:
        found = named(env, wanted)
        found.run("version", timeout_s=20)
        return found
    reasons = []
    for name in NAMES:
        try:
            found = named(env, name)
            found.run("version", timeout_s=20)
        except PluginError as error:
            reasons.append(str(error))
        else:
            return found
    raise PermanentError("no container engine can be used: " + "; ".join(reasons))


def named(env: Mapping[str, str], wanted: str) -> Engine:
    """Return an engine by name or path without asking it anything."""
    if wanted in NAMES:
        path = shutil.which(wanted, path=env.get("PATH", os.defpath))
        if path is None:
            raise PermanentError(f"no program {wanted} in PATH")
    elif wanted.startswith("/") and os.access(wanted, os.X_OK):
        path = wanted
    else:
        raise PermanentError(
            f"engine {wanted!r} is none: write docker, podman, or the path of such a program"
        )
    is_podman = "podman" in Path(path).resolve().name  # also where it is called docker
    return Engine(name="podman" if is_podman else "docker", program=path, env=engine_env(env))


def engine_env(env: Mapping[str, str]) -> dict[str, str]:
    """Pick what an engine's commands may see of a process's variables."""
    names = {*_PASSED, *_PASSED_TOO, *_PROXIES, *(name.lower() for name in _PROXIES)}
    return {
        name: value
        for name, value in env.items()
        if name in names or name.startswith((*_PASSED_PREFIXES, *_CLOUDS))
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command: what it started first, for then podman itself tidies up after a build's step.

    What runs in a step's container is in no group of the command's.
    """
    below = _below(process.pid)
    for pid in reversed(below):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if below:
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    """Return the processes that a process started, parents first."""
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(file.parent.name)] = int(file.read_bytes().rpartition(b")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _follow(
    process: subprocess.Popen[bytes], tell: Callable[[str], None], until: float
) -> str | None:
    """Tell a process's lines; return the last of them, or None where it took too long."""
    assert process.stdout is not None
    tail: list[str] = []
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = until - time.monotonic()  # one that never stops printing is out of time, too
            if left <= 0 or not selector.select(left):
                return None
            data = os.read(process.stdout.fileno(), _LINE)
            *lines, rest = (rest + data).split(b"\n")
            if rest and (not data or len(rest) > _LINE):
                lines, rest = [*lines, rest], b""
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r")
                tell(text)
                tail = [*tail[-40:], text]
            if not data:
                return "\n".join(tail)
