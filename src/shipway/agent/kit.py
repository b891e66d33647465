"""Makes once what attempts at equal launches have in common."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shipway.agent.environment import Surroundings, common_env
from shipway.agent.lease import Lease
from shipway.plugins.source import Tree

KITS = 64  # that are remembered
FRESH_MS = 30_000  # a program that was found may have moved after so long


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides an environment: equal recipes have the same one."""

    tree: str
    start: str
    entry: tuple[str, ...]
    python: str | None
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    lock: str | None  # pinned on the item
    is_refreshed: str = ""  # an attempt that wants its input resolved anew


@dataclass(slots=True, kw_only=True)
class Kit:
    """What is the same for all attempts at one spec and tree."""

    spec: Mapping[str, Any]
    tree: Tree
    at: int
    recipe: Recipe
    config: bytes  # what the program's config.json holds
    env: Mapping[str, str]  # the variables that name no attempt
    argv: tuple[str, ...] | None = None  # once it is known to name no attempt's folder


class Kits:
    """Kits by spec: the link gives equal specs as one object."""

    def __init__(self, around: Surroundings, *, boot_ms: Callable[[], int]) -> None:
        self._around = around
        self._boot_ms = boot_ms
        self._kits: OrderedDict[tuple[int, int, str, str | None], Kit] = OrderedDict()

    def of(self, lease: Lease, tree: Tree) -> Kit:
        """Return a lease's kit."""
        now = self._boot_ms()
        key = (id(lease.spec), id(tree), lease.resource, lease.facts.get("lock"))
        kit = self._kits.get(key)
        # A kit keeps its spec and tree alive; that they are the same is looked at all the same.
        is_it = kit is not None and kit.spec is lease.spec and kit.tree is tree
        if kit is not None and is_it and now - kit.at < FRESH_MS:
            return kit
        made = Kit(
            spec=lease.spec,
            tree=tree,
            at=now,
            recipe=recipe_of(lease, tree),
            config=config_of(lease),
            env=common_env(lease, self._around),
        )
        if not made.recipe.is_refreshed:
            self._kits[key] = made
            self._kits.move_to_end(key)
            while len(self._kits) > KITS:
                self._kits.popitem(last=False)
        return made


def recipe_of(lease: Lease, tree: Tree) -> Recipe:
    """Return what an attempt's environment hangs on."""
    spec, args = lease.spec, lease.args
    lock = lease.facts.get("lock")
    return Recipe(
        tree=tree.digest,
        start=tree.subdirectory,
        entry=tuple(str(word) for word in spec.get("entry_point") or ()),
        python=args.get("python") or spec.get("python"),
        extras=tuple(args.get("extras") or ()),
        groups=tuple(args.get("groups") or ()),
        lock=lock,
        is_refreshed=lease.key if spec.get("refresh") and lock is None else "",
    )


def config_of(lease: Lease) -> bytes:
    """Return what an attempt's config.json holds."""
    config = lease.spec.get("run_config")
    return json.dumps(config).encode() if config else b"{}"
