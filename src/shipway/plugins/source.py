"""What a source plugin does: fetch a submitter's code, exactly as it was pinned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shipway.plugins.container_policy import ContainerPolicy

Print = Callable[[str], None]  # one line for the attempt's build log


class BlobReader(Protocol):
    """Gives a source the server's blobs; the agent implements it."""

    def read(self, digest: str) -> bytes:
        """Return a blob's bytes, verified; the same answer each time."""

    def read_many(self, digests: list[str], take: Callable[[str, bytes], None]) -> None:
        """Call `take(digest, bytes)` for each blob, verified, in any order; safe to repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePolicy:
    """What the agent's own policy file allows of outgoing fetches."""

    git_hosts: tuple[str, ...] = ("*",)  # patterns; https and ssh only, always
    git_protocols: tuple[str, ...] = ("https", "ssh")  # tests on loopback add "http" or "file"
    timeout_s: float = 600.0
    size_limit: int = 2 << 30  # bytes of a checkout


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """What to fetch, and where trees are kept."""

    source: Mapping[str, Any]  # the launch spec's `source`
    options: Mapping[str, Any]  # of the resource's args: `submodules`, `lfs`, `pull`, `platform`
    cache: Path  # the plugin's own folder, shared by all attempts of this agent
    blobs: BlobReader
    policy: SourcePolicy = field(default_factory=SourcePolicy)
    containers: ContainerPolicy = field(default_factory=ContainerPolicy)
    env: Mapping[str, str] = field(default_factory=dict)  # the agent's variables
    print: Print


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A fetched tree in the cache: never written to again, copied for each attempt."""

    path: Path
    digest: str  # names the content: equal digest, equal bytes
    subdirectory: str = ""  # where the program starts, '' for the root
    env: Mapping[str, str] = field(default_factory=dict)  # SHIPWAY_GIT_COMMIT, _BRANCH, _REMOTE
    image: str = ""  # of a source that is an image: its id, as the engine here has it


class Source(Protocol):
    """Fetches one kind of source."""

    def fetch(self, request: FetchRequest) -> Tree:
        """Return the tree, fetched or from the cache; a second call finds the first's."""
