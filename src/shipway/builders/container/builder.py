"""Builds images, each once: finds what is there, else builds, pushes and remembers it."""

from __future__ import annotations

import json
import os
import posixpath
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shipway.builders.build_lock import lock
from shipway.builders.container import kept, making
from shipway.builders.container.cache_key import TAG
from shipway.builders.container.image_build import has_buildkit, is_of
from shipway.builders.container.making import Making
from shipway.builders.container.plan import Plan, decide
from shipway.builders.container.push import Target, push, pushed, target_of
from shipway.builders.container.recipe import APP
from shipway.engines.engine import Engine, engine_env, find_engine
from shipway.engines.images import find_image
from shipway.plugins.image_builder import Image, ImageRequest
from shipway.plugins.kept import Kept

_PLATFORM_OF = {
    "docker": ("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"),
    "podman": ("info", "--format", "{{.Host.OS}}/{{.Host.Arch}}"),
}


@dataclass(slots=True, kw_only=True)
class ContainerBuilder:
    """Builder of images; one object serves all threads of an agent."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _known: dict[object, str] = field(default_factory=dict)  # what engines are, by engine
    _engines: dict[object, Engine] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def build(self, request: ImageRequest) -> Image:
        """Return the image, built or found; two calls at once build it once."""
        deadline = time.monotonic() + request.timeout_s
        engine = self._engine(request)
        plan = decide(request, engine, self._platform(engine))
        target = target_of(request, plan.key[:TAG])
        with lock(request.cache / "locks" / plan.key, request.print, deadline):
            found = None if request.is_refreshed else _found(request, engine, plan, target)
            if found is not None:
                return found
            made = Making(
                request=request,
                engine=engine,
                buildkit=self._has_buildkit(engine),
                deadline=deadline,
            )
            began = time.monotonic()
            facts = making.make(made, plan, target.ref)
            request.print(f"image {target.ref} built in {time.monotonic() - began:.1f} s")
            kept.remember(request.cache, plan.key, engine, str(target.ref), facts)
            return _image(request, engine, plan, target, facts.id, is_cached=False)

    def kept(self, cache: Path) -> list[Kept]:
        """Return the images that were built here, by their last use, and leftovers."""
        return kept.kept(cache)

    def evict(self, cache: Path, gone: Kept) -> bool:
        """Remove an image from its engine unless it was used since, or a container needs it."""
        return kept.evict(cache, gone, self.environ)

    def _engine(self, request: ImageRequest) -> Engine:
        """Return the engine that answered before for the same policy and variables."""
        wanted = request.policy.engine
        who = (wanted, tuple(sorted(engine_env(request.env).items())))
        with self._guard:
            known = self._engines.get(who)
        if known is None:
            known = find_engine(request.env, wanted)
            with self._guard:
                self._engines[who] = known
        return known

    def _platform(self, engine: Engine) -> str:
        def ask() -> str:
            return engine.run(*_PLATFORM_OF[engine.name]).decode().strip()

        return self._once("platform", engine, ask)

    def _has_buildkit(self, engine: Engine) -> bool:
        return self._once("buildkit", engine, lambda: str(has_buildkit(engine))) == "True"

    def _once(self, question: str, engine: Engine, ask: Callable[[], str]) -> str:
        who = (question, engine.program, tuple(sorted(engine.env.items())))
        with self._guard:
            known = self._known.get(who)
        if known is None:
            known = ask()
            with self._guard:
                self._known[who] = known
        return known


def _found(request: ImageRequest, engine: Engine, plan: Plan, target: Target) -> Image | None:
    """Return an image of that key: the registry's word counts, then what the engine has."""
    digest = pushed(target, request)
    if digest is not None:
        request.print(f"image {target.ref} was there already")
        kept.stamp(request.cache, plan.key)
        return _answer(plan, target.ref.pinned(digest).exact, digest, is_cached=True)
    seen = find_image(engine, str(target.ref))
    if seen is None or not is_of(plan.key, seen, kept.built(request.cache, plan.key)):
        return None
    request.print(f"image {target.ref} was there already")
    kept.stamp(request.cache, plan.key)
    return _image(request, engine, plan, target, seen.id, is_cached=True)


def _image(
    request: ImageRequest, engine: Engine, plan: Plan, target: Target, id: str, *, is_cached: bool
) -> Image:
    """Return an image that the engine has, pushed where it has to be."""
    if not target.is_pushed:
        return _answer(plan, id, id, is_cached=is_cached)
    digest = push(target, engine, request)
    return _answer(plan, target.ref.pinned(digest).exact, digest, is_cached=is_cached)


def _answer(plan: Plan, image: str, digest: str, *, is_cached: bool) -> Image:
    facts = {
        "platform": plan.platform,
        "bases": json.dumps({str(one.ref): one.digest for one in plan.bases}),
        "dockerfile": plan.brought.name if plan.brought is not None else "generated",
    }
    return Image(
        image=image,
        digest=digest,
        is_cached=is_cached,
        key=plan.key,
        workdir=None if plan.brought is not None else posixpath.normpath(f"{APP}/{plan.start}"),
        facts=facts,
    )
