"""What an engine knows of an image: is it there, what it begins with, where it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shipway.domain.image_ref import ImageRef
from shipway.engines.engine import CALL_LIMIT_S, Engine, EngineRefused
from shipway.engines.login import lent_login
from shipway.plugins.registry import registry_for

PULL_LIMIT_S = 3600.0
_ABSENT = ("no such image", "image not known", "no such object", "failed to find image")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """An image that an engine has."""

    id: str  # sha256:…, the engine's own name for its content
    platform: str  # linux/amd64
    env: tuple[str, ...] = ()  # NAME=value
    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""  # empty: root
    workdir: str = ""
    stop_signal: str = ""
    digests: tuple[str, ...] = ()  # name@sha256:… of each registry that it came from
    labels: tuple[tuple[str, str], ...] = ()
    size: int = 0  # bytes, as its engine counts them

    def variable(self, name: str) -> str:
        """Return a variable's value in the image, or nothing."""
        prefix = f"{name}="
        return next((one[len(prefix) :] for one in self.env if one.startswith(prefix)), "")


def find_image(engine: Engine, image: str, *, timeout_s: float = CALL_LIMIT_S) -> ImageFacts | None:
    """Return an image's facts, or None where the engine does not have it."""
    try:
        said = engine.run("image", "inspect", image, timeout_s=timeout_s)
    except EngineRefused as error:
        if any(sign in str(error).lower() for sign in _ABSENT):
            return None
        raise
    return _read(json.loads(said)[0])  # both engines answer with a list


def get_image(
    engine: Engine,
    ref: ImageRef,
    *,
    print: Callable[[str], None],
    pull: str = "missing",
    platform: str | None = None,
) -> ImageFacts:
    """Return an image's facts, after pulling it where it is missing or `pull` is `always`."""
    is_local = ref.registry == "localhost"  # a name that engines alone give
    found = None if pull == "always" and not is_local else find_image(engine, ref.exact)
    if found is None and is_local:
        raise EngineRefused(
            f"{engine.name} has no image {ref}, and a name of localhost is in no registry: build "
            "or import it there, or name a registry"
        )
    if found is None and pull == "never":
        raise EngineRefused(
            f"{engine.name} has no image {ref}, and pull is 'never': pull it before"
        )
    if found is None and ref.repository == "sha256":
        raise EngineRefused(
            f"{engine.name} has no image of the id {ref}: it was built on another machine; push it "
            "to a registry (repository=) to run it elsewhere"
        )
    if found is None:
        print(f"pulling {ref}")
        words = ["pull", *([f"--platform={platform}"] if platform else []), "--", ref.exact]
        with lent_login(engine, ref, registry_for(ref, engine.env)) as login:
            engine.stream(*words, print=print, timeout_s=PULL_LIMIT_S, env=login)
        found = find_image(engine, ref.exact)
    if found is None:
        raise EngineRefused(f"{engine.name} pulled {ref}, and does not have it")
    if platform and not _is_for(found.platform, platform):
        raise EngineRefused(
            f"{ref} is here for {found.platform}, not for {platform}: pull 'always'"
        )
    return found


def _is_for(found: str, wanted: str) -> bool:
    """Compare platforms by the parts that both name: engines keep an image's variant apart."""
    return all(
        one == other for one, other in zip(found.split("/"), wanted.split("/"), strict=False)
    )


def _read(value: dict[str, Any]) -> ImageFacts:
    config = value.get("Config") or {}
    id_ = str(value["Id"])
    return ImageFacts(
        id=id_ if id_.startswith("sha256:") else f"sha256:{id_}",
        platform=f"{value.get('Os') or 'linux'}/{value.get('Architecture') or ''}",
        env=tuple(config.get("Env") or ()),
        entry_point=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        user=str(config.get("User") or ""),
        workdir=str(config.get("WorkingDir") or ""),
        stop_signal=str(config.get("StopSignal") or ""),
        digests=tuple(value.get("RepoDigests") or ()),
        labels=tuple(sorted((config.get("Labels") or {}).items())),
        size=int(value.get("Size") or 0),
    )
