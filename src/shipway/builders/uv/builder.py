"""Makes and finds the environments of programs, by the one lock that each needs."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from shipway.builders.build_lock import lock, stamp_used
from shipway.builders.needs import locks
from shipway.builders.needs.files import files_of
from shipway.builders.needs.inputs import REQUIRES, Input, Kind, choose
from shipway.builders.needs.layout import NotThin, read_layout
from shipway.builders.needs.locks import Form, Lock
from shipway.builders.needs.overlay import Layer
from shipway.builders.needs.versions import Wanted, parse
from shipway.builders.uv import compiled, install, kept, pythons, resolve
from shipway.builders.uv.environments import Order, Shelf
from shipway.builders.uv.pythons import Python
from shipway.builders.uv.tool import Uv
from shipway.builders.uv_settings import find_uv, index_settings, uv_environment
from shipway.plugins.builder import BuildRequest, Environment, Overlay
from shipway.plugins.errors import PermanentError
from shipway.plugins.kept import Kept

T = TypeVar("T")

VERSION = 1  # raised when environments of before must not be used again
PLANS = 256  # decisions that are remembered, by what they were made from
PYTHONS_S = 30.0  # how soon a newly installed interpreter is seen

Watched = tuple[tuple[str, int, int], ...]
Projects = tuple[list[str], list[Path]]  # to lay over, relative to the tree; built, by folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that was decided for a request, before anything is built."""

    chosen: Input
    python: Python
    lock: Lock
    is_new: bool  # the lock was resolved from the source, so the item has to pin it
    digest: str
    watched: Watched  # the files that this hangs on


@dataclass(slots=True, kw_only=True)
class UvBuilder:
    """Builder of uv environments; one object serves all threads of an agent."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _shelves: dict[Path, Shelf] = field(default_factory=dict)
    _plans: OrderedDict[object, Plan] = field(default_factory=OrderedDict)
    _laid: OrderedDict[object, Projects] = field(default_factory=OrderedDict)
    _pythons: dict[Path, tuple[float, list[Python]]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def build(self, request: BuildRequest) -> Environment:
        """Return the environment, built or found; two calls at once build it once."""
        uv = _LazyUv(request, self.environ)
        plan = self._plan(request, uv)
        with self._guard:
            folder = request.cache / "envs"
            shelf = self._shelves.setdefault(folder, Shelf(folder=folder))
        recipe = install.Recipe(
            chosen=plan.chosen, lock=plan.lock, python=plan.python, request=request, uv=uv.get
        )
        found = shelf.obtain(
            Order(
                digest=plan.digest,
                make=recipe.make,
                reinstall=recipe.reinstall,
                print=request.print,
                deadline=uv.deadline,
            )
        )
        if found.is_cached:
            request.print(f"environment {plan.digest[:12]} was there already")
        python = found.path / "bin" / "python"
        laid, built = self._projects(plan, request, python, uv)
        name = plan.chosen.file.relative_to(request.tree) if plan.chosen.file else ""
        is_laid = plan.chosen.project is not None and laid[:1] == [_place(plan, request)]
        return Environment(
            digest=plan.digest,
            path=found.path,
            python=python,
            is_cached=found.is_cached,
            lock=plan.lock.to_bytes() if plan.is_new else None,
            project=Path(laid[0]) if is_laid else None,
            facts={
                "python": str(plan.python),
                "input": str(name),
                "kind": plan.chosen.kind.value,
                "laid": json.dumps(laid),
                "built": json.dumps([str(folder) for folder in built]),
            },
        )

    def overlay(
        self, environment: Environment, *, work: Path, start: Path, folder: Path, runside: Path
    ) -> Overlay:
        """Lay the project in `work` thinly over the environment, writing only in `folder`."""
        del start  # what is laid over was decided when the environment was built
        python = environment.path / "bin" / "python"
        built = [Path(text) for text in json.loads(environment.facts.get("built", "[]"))]
        laid = json.loads(environment.facts.get("laid", "[]"))
        sites = [str(one) for one in built]
        path = [one / "bin" for one in built]
        if laid:
            layer = Layer(site=folder / "site", scripts=folder / "bin", python=python)
            for place in laid:
                project = work / place
                layer.lay(read_layout(project), project)
            layer.close()
            sites.insert(0, str(layer.site))
            path.insert(0, layer.scripts)
        env = {"SHIPWAY_RUNSIDE": str(runside), "VIRTUAL_ENV": str(environment.path)}
        if sites:
            env["SHIPWAY_OVERLAY"] = os.pathsep.join(sites)
        uses = (environment.path.parent, *built)
        return Overlay(path=(*path, environment.path / "bin"), env=env, uses=uses)

    def kept(self, cache: Path) -> list[Kept]:
        """Return environments, projects that were built, packages, and leftovers."""
        return kept.kept(cache)

    def evict(self, cache: Path, gone: Kept) -> bool:
        """Remove one of these unless it was used since or is being built."""
        return kept.evict(cache, gone)

    def _plan(self, request: BuildRequest, uv: _LazyUv) -> Plan:
        """Return what to build; remembered until a file that it hangs on changes."""
        key = (
            *(request.tree, request.start, request.entry_point, request.cache, request.python),
            *(request.extras, request.groups, request.lock),
            tuple(sorted(request.env.items())),
        )
        with self._guard:
            known = self._plans.get(key)
        if known is not None and not request.refresh and _stamps(known.watched) == known.watched:
            _say(known.chosen, known.python, request)
            return known
        plan = self._decide(request, uv)
        with self._guard:
            _keep(self._plans, key, plan)
        return plan

    def _decide(self, request: BuildRequest, uv: _LazyUv) -> Plan:
        chosen = choose(request.tree, request.start, request.entry_point, request.python)
        watched = _watch(chosen, request)
        is_new = False
        lock_there = resolve.lock_of(chosen, request)
        wanted = _wanted(chosen, lock_there)
        python = pythons.choose(self._installed(request.cache), wanted)
        _say(chosen, python, request)
        if lock_there is None:
            is_new = True
            lock_there = _resolved(chosen, request, python, uv)
        elif chosen.kind is Kind.UV_LOCK and lock_there.form is Form.UV:
            missing = resolve.not_in_lock(chosen, lock_there)
            if missing:
                request.print(
                    f"uv.lock is older than pyproject.toml and lacks {', '.join(missing)};"
                    " what is locked is installed; `uv lock` brings it up to date"
                )
        return Plan(
            chosen=chosen,
            python=python,
            lock=lock_there,
            is_new=is_new,
            digest=_digest(chosen, request, python, lock_there),
            watched=watched,
        )

    def _installed(self, cache: Path) -> list[Python]:
        now = time.monotonic()
        with self._guard:
            known = self._pythons.get(cache)
        if known is not None and now < known[0] + PYTHONS_S:
            return known[1]
        found = pythons.installed(self.environ, cache / "pythons.json")
        with self._guard:
            self._pythons[cache] = (now, found)
        return found

    def _projects(self, plan: Plan, request: BuildRequest, python: Path, uv: _LazyUv) -> Projects:
        """Tell what to lay over thinly; build what cannot be."""
        key = (request.tree, plan.digest, plan.chosen.project, plan.lock.local, python)
        with self._guard:
            known = self._laid.get(key)
        if known is not None and all((folder / compiled.DONE).exists() for folder in known[1]):
            for folder in known[1]:
                stamp_used(folder / compiled.DONE)
            return known
        places = list(plan.lock.local)
        if plan.chosen.project is not None:
            places.insert(0, _place(plan, request))
        laid: list[str] = []
        built: list[Path] = []
        for place in dict.fromkeys(places):
            project = request.tree / place
            if not project.exists():
                raise PermanentError(
                    f"the lock names {place!r}, which is not in the source: if git ignores it, "
                    "launch with include=[its path]"
                )
            try:
                read_layout(project)
                laid.append(place)
            except NotThin as why:
                request.print(f"{place} is built and installed, not laid over thinly: {why}")
                shelf = request.cache / "projects"
                built.append(compiled.obtain(project, python=python, shelf=shelf, uv=uv.get()))
        if laid:
            request.print(f"laid over it for this attempt: {', '.join(laid)}")
        with self._guard:
            _keep(self._laid, key, (laid, built))
        return laid, built


class _LazyUv:
    """uv, looked for when something has to be built: a warm call never needs it."""

    def __init__(self, request: BuildRequest, machine: Mapping[str, str]) -> None:
        self._request = request
        self._machine = machine
        self.deadline = time.monotonic() + request.timeout_s

    def get(self) -> Uv:
        env = uv_environment(self._request.env, self._machine)
        return Uv(
            binary=find_uv(env["PATH"]),
            cache=self._request.cache / "uv",
            env=env,
            deadline=self.deadline,
            print=self._request.print,
        )


def _wanted(chosen: Input, pinned: Lock | None) -> tuple[Wanted, ...]:
    """Return the Pythons that will do; a lock that was resolved for one keeps to it."""
    is_asked = any(wish.origin != REQUIRES for wish in chosen.wanted)
    if pinned is None or not pinned.python or is_asked:
        return chosen.wanted
    of_lock = parse(pinned.python, "the lock was resolved for it")
    return ((of_lock,) if of_lock else ()) + chosen.wanted


def _place(plan: Plan, request: BuildRequest) -> str:
    assert plan.chosen.project is not None
    return plan.chosen.project.relative_to(request.tree).as_posix()


def _say(chosen: Input, python: Python, request: BuildRequest) -> None:
    name = chosen.file.relative_to(request.tree) if chosen.file else "nothing"
    request.print(f"environment from {name}: {chosen.why}; {python}")


def _keep(kept: OrderedDict[object, T], key: object, value: T) -> None:
    kept[key] = value
    while len(kept) > PLANS:
        kept.popitem(last=False)


def _resolved(chosen: Input, request: BuildRequest, python: Python, uv: _LazyUv) -> Lock:
    """Return the lock of an unlocked input: resolved once a machine, unless asked for anew."""
    memory = request.cache / "resolved"
    file = memory / resolve.memory_key(chosen, request, python)
    with lock(file.with_suffix(".lock"), request.print, uv.deadline):
        if file.exists() and not request.refresh:
            request.print("resolved before; --refresh resolves it anew")
            return locks.from_bytes(file.read_bytes())
        lock_made = resolve.resolve(chosen, request, python, uv.get())
        fresh = file.with_suffix(".new")
        fresh.write_bytes(lock_made.to_bytes())
        fresh.replace(file)
    return lock_made


def _digest(chosen: Input, request: BuildRequest, python: Python, lock_there: Lock) -> str:
    facts: list[object] = [VERSION, locks.key(lock_there), pythons.describe(python)]
    if lock_there.form is not Form.NONE:
        facts += [index_settings(uv_environment(request.env, {}))]
    if lock_there.form is Form.UV:
        facts += [sorted(request.extras), sorted(request.groups), *install.uv_choices(chosen)]
    elif lock_there.form is Form.PYLOCK:
        facts += [sorted(request.extras), sorted(request.groups)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


def _watch(chosen: Input, request: BuildRequest) -> Watched:
    """Return the stamps of all files whose change, or appearance, would change the plan."""
    names = [*(kind.value for kind in Kind), "setup.py", "setup.cfg", ".python-version"]
    folders = {chosen.folder, chosen.member}
    for folder in (request.start, *request.start.parents):
        folders.add(folder)
        if folder == request.tree:
            break
    paths = [str(folder / name) for folder in sorted(folders) for name in names]
    paths += [str(request.start / word) for word in request.entry_point[:2]]
    paths += [str(path) for path in files_of(chosen, request.tree)]
    return _stamps(tuple((path, 0, 0) for path in dict.fromkeys(paths)))


def _stamps(watched: Watched) -> Watched:
    return tuple(_stamp(path) for path, _, _ in watched)


def _stamp(path: str) -> tuple[str, int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116 - hot path, plain text
    except OSError:
        return path, -1, -1
    return path, stat.st_size, stat.st_mtime_ns
