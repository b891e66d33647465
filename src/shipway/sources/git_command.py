"""Runs git by argv, hardened: named protocols only, no hooks, no prompt, limits on all."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from shipway.domain.git_address import PROTOCOLS, redact

TICK_S = 0.25  # between two looks at a running command's time and size
WORDS_LIMIT = 600  # characters of git's own words that an error repeats
OUTPUT_LIMIT = 256 << 20  # bytes of one command's output
TOO_SLOW = -1  # the exit code of a command that was ended for its time
TOO_LARGE = -2  # … for what it wrote

_NEVER = ("file", "ext", "git", "http", "ftp", "ftps", "fd")  # unless the policy names one
_KEPT = re.compile(  # what the user may tell git of how to reach a host; everything else goes
    r"GIT_(SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|EXEC_PATH|PROXY_COMMAND|SSL_.*|HTTP_.*|"
    r"CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM|"
    r"CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+))\Z"
)
_PERMANENT = re.compile(
    r"authentication failed|could not read (username|password)|terminal prompts disabled|"
    r"permission denied|access denied|repository not found|repository '.*' not found|"
    r"not appear to be a git repository|not our ref|unadvertised object|"
    r"host key verification failed|no ecdsa host key|transport '.*' not allowed|"
    r"remote ref|returned error: (400|401|403|404|410|451)|certificate|"
    r"unable to find remote helper|no such remote|http basic: access denied|"
    r"protocol .* not (supported|allowed)|is not a git command|"
    r"invalid username or (password|token)",
    re.IGNORECASE,
)


class GitFailed(Exception):
    """A git command that did not end well, with git's own words."""

    def __init__(self, *, what: str, code: int, words: str) -> None:
        super().__init__(f"git {what} failed: {words}" if words else f"git {what} failed")
        self.what = what
        self.code = code
        self.words = words

    @property
    def is_permanent(self) -> bool:
        """Whether the same command would fail again tomorrow."""
        if self.code == TOO_LARGE:
            return True
        return self.code != TOO_SLOW and _PERMANENT.search(self.words) is not None


class CommitMissing(GitFailed):
    """A repository that answers, but does not have the commit."""

    @property
    def is_permanent(self) -> bool:
        """It will not come."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """The user's own git, with their credentials and none of what a repository may ask for."""

    environ: Mapping[str, str]
    protocols: tuple[str, ...] = PROTOCOLS
    timeout_s: float = 600.0
    config: Mapping[str, str] = field(default_factory=dict)  # added to every command

    def run(self, argv: Sequence[str], *, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
        """Run a command that answers on its standard output; `GitFailed` if it does not."""
        with self._start(argv, cwd=cwd, stdin=stdin) as (process, out, err):
            self._watch(process, argv[0], err, folder=None, size_limit=OUTPUT_LIMIT)
            if out.seek(0, os.SEEK_END) > OUTPUT_LIMIT:
                raise GitFailed(what=argv[0], code=TOO_LARGE, words="its answer is too long")
            out.seek(0)
            return out.read()

    def fetch(self, argv: Sequence[str], *, repository: Path, size_limit: int) -> None:
        """Run a command that writes into a repository, which may grow to `size_limit` bytes."""
        with self._start(argv, cwd=repository, stdin=b"") as (process, _, err):
            self._watch(process, argv[0], err, folder=repository, size_limit=size_limit)

    @contextlib.contextmanager
    def serve(self, argv: Sequence[str], *, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command that is talked to through pipes, such as `cat-file --batch`."""
        process = subprocess.Popen(
            self.argv(argv),
            cwd=cwd,
            env=self.env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return the whole command line: options that no configuration can take back."""
        config = {
            "core.hooksPath": os.devnull,
            "core.fsmonitor": "false",
            "gc.auto": "0",
            "maintenance.auto": "false",
            "submodule.recurse": "false",
            "fetch.recurseSubmodules": "false",
            "advice.detachedHead": "false",
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": "60",
            "protocol.allow": "never",
        }
        config |= {f"protocol.{name}.allow": "never" for name in _NEVER}
        config |= {f"protocol.{name}.allow": "always" for name in self.protocols}
        config |= self.config
        options = [word for item in config.items() for word in ("-c", "=".join(item))]
        return ["git", "--no-pager", *options, *argv]

    def env(self) -> dict[str, str]:
        """Return git's environment: the user's, less what would change what git does here."""
        env = {
            name: value
            for name, value in self.environ.items()
            if not name.startswith("GIT_") or _KEPT.match(name)
        }
        env.pop("SSH_ASKPASS", None)
        env |= {
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GCM_INTERACTIVE": "never",
            "SSH_ASKPASS_REQUIRE": "never",
            "LC_ALL": "C",
        }
        return env

    def with_ssh(self) -> Git:
        """Return a git whose ssh never asks anything; the user's own ssh command is kept."""
        command = self.environ.get("GIT_SSH_COMMAND")
        if command is None and "GIT_SSH" in self.environ:
            return self
        if command is None:
            try:
                command = self.run(["config", "--get", "core.sshCommand"]).decode().strip()
            except GitFailed:
                command = "ssh"
        quiet = f"{command or 'ssh'} -oBatchMode=yes -oConnectTimeout=30"
        return Git(
            environ={**self.environ, "GIT_SSH_COMMAND": quiet},
            protocols=self.protocols,
            timeout_s=self.timeout_s,
            config=self.config,
        )

    @contextlib.contextmanager
    def _start(
        self, argv: Sequence[str], *, cwd: Path | None, stdin: bytes
    ) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin)
            given.seek(0)
            try:
                process = subprocess.Popen(
                    self.argv(argv),
                    cwd=cwd,
                    env=self.env(),
                    stdin=given,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,  # no terminal to ask on, and one group to end
                )
            except FileNotFoundError as error:
                raise GitFailed(what=argv[0], code=127, words="git is not installed") from error
            try:
                yield process, out, err
            finally:
                _end(process)

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        what: str,
        err: IO[bytes],
        *,
        folder: Path | None,
        size_limit: int,
    ) -> None:
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                code = process.wait(TICK_S)
                break
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > deadline:
                words = f"it took longer than {self.timeout_s:.0f} s"
                raise GitFailed(what=what, code=TOO_SLOW, words=words)
            if folder is not None and size_of(folder) > size_limit:
                words = f"it is larger than the limit of {size_limit} bytes"
                raise GitFailed(what=what, code=TOO_LARGE, words=words)
        if code != 0:
            raise GitFailed(what=what, code=code, words=_words(err))


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files, while they change."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(base, name)).st_size  # noqa: PTH118  os.walk speaks text
    return total


def _words(err: IO[bytes]) -> str:
    err.seek(0)
    lines = err.read(64 << 10).decode("utf-8", "replace").splitlines()
    told = [line.strip() for line in lines if line.strip() and not line.startswith("hint:")]
    return redact("; ".join(told))[-WORDS_LIMIT:]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:  # Windows, where only the submitter's side runs
                process.kill()
        process.wait()
