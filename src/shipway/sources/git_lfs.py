"""Fetches the contents behind Git LFS pointers, when a launch asks for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from shipway.domain.errors import Invalid
from shipway.domain.git_address import parse_git_address
from shipway.sources.git_command import Git
from shipway.sources.git_repository import read_config

CHUNK = 1 << 20
_HEAD = b"version https://git-lfs.github.com/spec/v1\n"
_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)


class LfsObjects:
    """The LFS objects of one commit, fetched when the first is asked for."""

    def __init__(
        self, git: Git, repository: Path, *, url: str, commit: str, size_limit: int
    ) -> None:
        self._git = git
        self._repository = repository
        self._url = url
        self._commit = commit
        self._size_limit = size_limit
        self._is_fetched = False

    def content(self, pointer: bytes) -> Iterator[bytes]:
        """Yield the bytes that a pointer stands for."""
        found = _OID.search(pointer)
        if found is None:
            raise Invalid("a Git LFS pointer names no SHA-256")
        if not self._is_fetched:
            self._fetch()
            self._is_fetched = True
        oid = found.group(1).decode("ascii")
        path = self._repository / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def _fetch(self) -> None:
        self._git.run(["lfs", "version"])
        for name, value in read_config(
            self._git, self._repository, f"{self._commit}:.lfsconfig"
        ).items():
            if name.endswith("url"):
                parse_git_address(value, protocols=self._git.protocols)
        for name, value in (("url", self._url), ("fetch", f"+{self._commit}:refs/heads/pinned")):
            self._git.run(["config", f"remote.origin.{name}", value], cwd=self._repository)
        self._git.fetch(
            ["lfs", "fetch", "origin", self._commit],
            repository=self._repository,
            size_limit=self._size_limit,
        )


def is_pointer(data: bytes) -> bool:
    """Tell whether a small file is a Git LFS pointer."""
    return data.startswith(_HEAD)
