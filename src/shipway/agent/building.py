"""Makes an attempt ready to start: its environment, its folder, its argv and variables."""

from __future__ import annotations

import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.agent.environment import (
    NoProgram,
    Place,
    Surroundings,
    build_argv,
    build_env,
    check_scripts,
    needs_python,
)
from shipway.agent.events import Built, Event
from shipway.agent.faults import fault
from shipway.agent.flights import Flights
from shipway.agent.kit import FRESH_MS, Kit, Kits, Recipe
from shipway.agent.lease import Key, Lease
from shipway.agent.pool import Pool
from shipway.agent.shipping import Shipper
from shipway.agent.transport import Transport
from shipway.agent.workdir import USES, Folders
from shipway.domain.item import Stage
from shipway.plugins.builder import Builder, BuildRequest, Environment
from shipway.plugins.runner import Container
from shipway.plugins.source import Tree

RECIPES = 256  # environments that are remembered
BUILD_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that a program is started with."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    folder: Path
    container: Container | None = None  # of an attempt that runs in one


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What a recipe led to; no environment where the program needs none."""

    environment: Environment | None
    at: int


class Preparer:
    """Environments, folders and command lines of the attempts that are held."""

    def __init__(
        self,
        *,
        builder: Callable[[], Builder],
        cache: Path,
        around: Surroundings,
        build_env: Mapping[str, str],
        transport: Transport,
        folders: Folders,
        shipper: Shipper,
        pool: Pool,
        emit: Callable[[Event], None],
        boot_ms: Callable[[], int],
    ) -> None:
        self._builder = builder
        self._cache = cache
        self._around = around
        self._kits = Kits(around, boot_ms=boot_ms)
        self._build_env = build_env
        self._transport = transport
        self._folders = folders
        self._shipper = shipper
        self._pool = pool
        self._emit = emit
        self._boot_ms = boot_ms
        self._made: OrderedDict[Recipe, _Made] = OrderedDict()
        self._prepared: dict[Key, Prepared] = {}
        self._programs: dict[tuple[str, str], tuple[str, int]] = {}
        self._flights: Flights[tuple[Lease, Kit]] = Flights()

    def take(self, lease: Lease, tree: Tree) -> Event | None:
        """Make an attempt ready of what is there; None where something has to be made."""
        kit = self._kits.of(lease, tree)
        made = self._look_up(kit.recipe)
        if made is None or made.environment is not None:
            return None
        if not self._folders.take(lease.key, tree.digest, kit.config):
            return None
        try:
            self._finish(lease, kit, Place(**self._place(lease, tree)))
        except NoProgram as error:
            return fault(error, Stage.SOURCE, lease.key, at=self._boot_ms())
        return Built(at=self._boot_ms(), key=lease.key)

    def build(self, lease: Lease, tree: Tree) -> Event | None:
        """Make an attempt ready: at once where nothing has to be made, else with an event."""
        ready = self.take(lease, tree)
        if ready is None:
            self._pool.submit(self._build, lease, self._kits.of(lease, tree))
        return ready

    def is_made(self, lease: Lease, tree: Tree) -> bool:
        """Tell whether a lease's environment was made of late."""
        return self._look_up(self._kits.of(lease, tree).recipe) is not None

    def prepared(self, key: Key) -> Prepared:
        """Return what an attempt's program is started with."""
        return self._prepared[key]

    def forget(self, key: Key) -> None:
        """Let go of what was prepared."""
        self._prepared.pop(key, None)

    def _look_up(self, recipe: Recipe) -> _Made | None:
        made = self._made.get(recipe)
        if made is None or self._boot_ms() - made.at > FRESH_MS:
            return None
        return made

    def _build(self, lease: Lease, kit: Kit) -> None:
        """Make what is missing; others with the same recipe come after the first."""
        tree, recipe = kit.tree, kit.recipe
        made = self._look_up(recipe)
        if made is None:
            if self._flights.board(recipe, (lease, kit)) is not None:
                return
            try:
                environment = self._environment(lease, tree, recipe)
            except Exception as error:  # noqa: BLE001 - a pool's outermost frame; `fault` sorts them
                for waiting, _ in self._flights.land(recipe):
                    self._emit(fault(error, Stage.BUILD, waiting.key, at=self._boot_ms()))
                return
            made = _Made(environment=environment, at=self._boot_ms())
            self._remember(recipe, made)
            for waiting, its_kit in self._flights.land(recipe):
                if waiting is not lease:
                    self._pool.submit(self._build, waiting, its_kit)
        try:
            self._pin(lease, made.environment)
            self._furnish(lease, kit, made.environment)
        except Exception as error:  # noqa: BLE001 - a pool's outermost frame; `fault` sorts them
            self._emit(fault(error, Stage.BUILD, lease.key, at=self._boot_ms()))
            return
        self._emit(Built(at=self._boot_ms(), key=lease.key))

    def _which(self, program: str, /, *, path: str) -> str | None:
        """Look a program up in PATH, where it seldom moves."""
        now = self._boot_ms()
        known = self._programs.get((program, path))
        if known is not None and now - known[1] < FRESH_MS:
            return known[0]
        found = shutil.which(program, path=path)
        if len(self._programs) >= RECIPES:
            self._programs.clear()
        if found is not None:
            self._programs[program, path] = (found, now)
        return found

    def _remember(self, recipe: Recipe, made: _Made) -> None:
        if recipe.is_refreshed:
            return
        self._made[recipe] = made
        while len(self._made) > RECIPES:
            self._made.popitem(last=False)

    def _environment(self, lease: Lease, tree: Tree, recipe: Recipe) -> Environment | None:
        start = tree.path / recipe.start
        if not start.is_dir():
            raise NoProgram(f"the directory {recipe.start!r} does not exist in the source")
        check_scripts(recipe.entry, start)
        folders = [start]
        while folders[-1] != tree.path:
            folders.append(folders[-1].parent)
        if not needs_python(recipe.entry, lease.spec, lease.args, folders):
            return None
        printing = self._shipper.build_log(lease, self._folders.open(lease.key))
        lock = None if recipe.lock is None else self._transport.blobs.get(recipe.lock)
        request = BuildRequest(
            tree=tree.path,
            start=start,
            entry_point=recipe.entry,
            cache=self._cache,
            python=recipe.python,
            extras=recipe.extras,
            groups=recipe.groups,
            lock=lock,
            refresh=bool(recipe.is_refreshed),
            env=self._build_env,
            timeout_s=BUILD_LIMIT_S,
            print=printing.print,
        )
        try:
            return self._builder().build(request)
        except Exception as error:
            printing.print(str(error))
            raise

    def _pin(self, lease: Lease, environment: Environment | None) -> None:
        """Store a lock that was resolved here, so that every later attempt uses it too."""
        if environment is None or environment.lock is None or lease.facts.get("lock"):
            return
        digest = hashlib.sha256(environment.lock).hexdigest()
        if self._transport.blobs.missing([digest]):
            self._transport.blobs.put(digest, environment.lock)
        self._transport.items.pin(lease.item, token=lease.token, lock=digest)

    def _furnish(self, lease: Lease, kit: Kit, environment: Environment | None) -> None:
        """Give the attempt its folder and its command line."""
        tree = kit.tree
        if not self._folders.take(lease.key, tree.digest, kit.config):
            self._folders.fill(lease.key, tree.digest, tree.path, kit.config)
        place = self._place(lease, tree)
        if environment is not None:
            folder = self._folders.path(lease.key)
            overlay = self._builder().overlay(
                environment,
                work=folder / "work",
                start=place["start"],
                folder=_made_folder(folder / "overlay"),
                runside=self._around.runside,
            )
            (folder / USES).write_text("\n".join(map(str, overlay.uses)))
            place |= {
                "python": environment.python,
                "path": overlay.path,
                "env": {**place["env"], **overlay.env},
            }
        self._finish(lease, kit, Place(**place))

    def _place(self, lease: Lease, tree: Tree) -> dict[str, Any]:
        folder = self._folders.path(lease.key)
        start = folder / "work" / tree.subdirectory if tree.subdirectory else folder / "work"
        return {"folder": folder, "start": start, "python": None, "env": dict(tree.env)}

    def _finish(self, lease: Lease, kit: Kit, place: Place) -> None:
        env = build_env(lease, kit.env, place)
        argv = kit.argv
        if argv is None:
            argv = build_argv(lease, place, env, self._which)
            is_ours = place.python is not None or argv[0].startswith(str(place.folder))
            if not is_ours and env["PATH"] == kit.env["PATH"]:
                kit.argv = argv
        self._prepared[lease.key] = Prepared(
            argv=argv, env=env, cwd=place.start, folder=place.folder
        )


def _made_folder(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    return path
