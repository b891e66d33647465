"""What a builder plugin does: make the environment that a program runs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shipway.plugins.source import Print


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build from, and where environments are kept."""

    tree: Path  # the sealed source tree; never written to
    start: Path  # inside it: where the program starts, the search for a lock begins here
    entry_point: tuple[str, ...]  # a PEP 723 header is looked for in its script
    cache: Path  # the builder's own folder, shared by all attempts of this agent
    python: str | None = None  # asked for by the job or the submitter, "3.11" or "pypy3"
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    lock: bytes | None = None  # resolved before and pinned on the item
    refresh: bool = False  # resolve an unlocked input anew
    env: Mapping[str, str] = field(default_factory=dict)  # proxies, CA, index settings
    timeout_s: float = 3600.0
    print: Print


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A built environment, shared by every attempt of the same digest."""

    digest: str
    path: Path
    python: Path | None  # None where the program needs none
    is_cached: bool  # found, not built
    lock: bytes | None = None  # newly resolved: the agent stores it and pins it on the item
    project: Path | None = None  # inside the tree: the project to lay over it, if it is one
    facts: Mapping[str, str] = field(default_factory=dict)  # python version, input file


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What one attempt adds: its own project and scripts, and the variables that do it."""

    path: tuple[Path, ...]  # folders for the front of PATH, own scripts first
    env: Mapping[str, str]
    uses: tuple[Path, ...] = ()  # of the cache: what must stay while the attempt lives


class Builder(Protocol):
    """Makes one kind of environment."""

    def build(self, request: BuildRequest) -> Environment:
        """Return the environment, built or found; two calls at once build it once."""

    def overlay(
        self, environment: Environment, *, work: Path, start: Path, folder: Path, runside: Path
    ) -> Overlay:
        """Lay the project in `work` thinly over the environment, writing only in `folder`."""
