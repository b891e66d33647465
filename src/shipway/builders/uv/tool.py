"""Runs uv, and sorts its failures into those that may pass and those that will not."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shipway.builders.uv.cache_lock import building
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.source import Print

TAIL_LINES = 30  # of uv's words in an error; the build log has them all
POLL_S = 0.2  # how late a deadline may be noticed
LINE_LIMIT = 4096  # characters of one line in the build log

UNREACHABLE = re.compile(
    r"(?i)error sending request|dns error|tcp connect error|connection (refused|reset|closed)"
    r"|network is unreachable|could ?n.t connect|could not connect|are you offline"
    r"|could not resolve host|temporary failure in name resolution"
    r"|(operation|request|connection) timed out|network timeout"
    r"|50[234] (service|bad|gateway)|429 too many"
)
NOT_CACHED = re.compile(
    r"(?i)network (connectivity )?(was |is |are )?disabled|wasn't found in the cache"
    r"|was not found in the cache|not found in the cache"
)
NO_SPACE = re.compile(r"(?i)no space left on device|disk quota exceeded")
ADDRESS = re.compile(r"\b(?:https?|ssh|git)://(?:[^/@\s`]*@)?([^/\s`'\")]+)")
NEEDED = re.compile(
    r"(?i)(?:fetch|download|read|find)[^`\n]*`([^`]+)`|because ([\w.-]+) was not found"
)


class UvFailed(Exception):
    """A run of uv that did not end well; `words` is what it said."""

    def __init__(self, words: str, exit_code: int) -> None:
        super().__init__(words)
        self.words = words
        self.exit_code = exit_code

    @property
    def is_unreachable(self) -> bool:
        """Whether something on the network did not answer; a wrong certificate is an answer."""
        if "invalid peer certificate" in self.words:
            return False
        return bool(UNREACHABLE.search(self.words) or NOT_CACHED.search(self.words))


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """uv with its cache, variables, deadline and build log."""

    binary: Path
    cache: Path
    env: Mapping[str, str]
    deadline: float  # of the monotonic clock
    print: Print
    flags: tuple[str, ...] = field(
        default=("--no-progress", "--color=never", "--no-python-downloads")
    )

    def run(self, *args: str | Path, cwd: Path) -> str:
        """Run uv and return its stdout, without the network where that is all that fails."""
        try:
            return self._once([*map(str, args), *self.flags], cwd)
        except UvFailed as failed:
            if not failed.is_unreachable:
                raise
            first = failed
        self.print(f"{_not_reached(first.words)}; trying with what the cache holds")
        try:
            return self._once([*map(str, args), *self.flags, "--offline"], cwd)
        except UvFailed as second:
            lacks = _lacking(second.words) or _lacking(first.words) or "what is needed"
            raise TemporaryError(
                f"{_not_reached(first.words)}, and uv's cache on this machine lacks {lacks}"
                f"\n{tail(first.words)}"
            ) from second

    def _once(self, args: Sequence[str], cwd: Path) -> str:
        self.print("$ uv " + " ".join(args))
        env = {
            **self.env,
            "UV_CACHE_DIR": str(self.cache),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
        }
        self.cache.mkdir(parents=True, exist_ok=True)
        with building(self.cache.parent):
            return self._run(args, cwd, env)

    def _run(self, args: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str:
        # A group of its own, so that a deadline also ends the build backends that uv starts.
        process = subprocess.Popen(
            [str(self.binary), *args],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            try:
                out, words = self._read(process)
                code = process.wait()
            except BaseException:
                _end_group(process)
                raise
        if code != 0:
            if NO_SPACE.search(words):
                raise TemporaryError(
                    f"the disk that holds {self.cache.parent} is full; free some space there"
                    f"\n{tail(words)}"
                )
            raise UvFailed(words.strip() or f"uv ended with {code}", code)
        return out

    def _read(self, process: subprocess.Popen[bytes]) -> tuple[str, str]:
        assert process.stdout is not None
        assert process.stderr is not None
        out: list[bytes] = []
        words: deque[str] = deque(maxlen=2000)
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                if time.monotonic() > self.deadline:
                    raise PermanentError("building the environment took longer than its limit")
                for key, _ in selector.select(POLL_S):
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        out.append(data)
                    else:
                        *lines, rest = (rest + data).split(b"\n")
                        for line in lines:
                            self._say(line, words)
        if rest:
            self._say(rest, words)
        return b"".join(out).decode("utf-8", "replace"), "\n".join(words)

    def _say(self, line: bytes, words: deque[str]) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:LINE_LIMIT]
        words.append(text)
        self.print(text)


def tail(words: str) -> str:
    """Return the last lines of what uv said, as an error carries them."""
    return "\n".join(words.strip().splitlines()[-TAIL_LINES:])


def _not_reached(words: str) -> str:
    address = ADDRESS.search(words)
    return f"{address[1] if address else 'the package index'} could not be reached"


def _lacking(words: str) -> str | None:
    found = NEEDED.search(words)
    if found is None:
        return None
    return re.sub(r"//[^/@\s]*@", "//", found[1] or found[2])


def _end_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.wait()
