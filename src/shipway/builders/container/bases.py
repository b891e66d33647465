"""Finds out what the images that others begin with are at this moment: their digests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shipway.domain.image_ref import DEFAULT_REGISTRY, DEFAULT_TAG, ImageRef
from shipway.engines.engine import Engine
from shipway.engines.images import ImageFacts, find_image, get_image
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.container_refusal import image_refusal
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.registry import Registry
from shipway.plugins.source import Print

LOCAL = "localhost"  # a host that no registry has: only this machine's engine knows such images


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image that another begins with."""

    ref: ImageRef
    digest: str  # of its manifest; of the image itself where only the engine knows it
    is_local: bool  # no registry knows it: the engine is told its name
    is_here: bool  # the engine has it already


def check_allowed(refs: Iterable[ImageRef], policy: ContainerPolicy) -> None:
    """Raise `PermanentError` for an image that the agent's policy does not let containers be."""
    for ref in refs:
        if why := image_refusal(policy, ref):
            raise PermanentError(why)


def full_name(ref: ImageRef) -> str:
    """Return host and repository, Docker Hub's written out, as policies match it."""
    if ref.registry and ref.registry != "index.docker.io":
        return ref.name
    short = ref.repository
    return f"{DEFAULT_REGISTRY}/{short if '/' in short else f'library/{short}'}"


def resolve(
    ref: ImageRef,
    engine: Engine,
    *,
    registry: Registry,
    platform: str,
    print: Print,
    is_refreshed: bool,
) -> Base:
    """Return what a name stands for: as its registry says, else as the engine knows it.

    Without an answer of the registry the engine's copy counts, which the build log says; where
    there is none it is pulled.
    """
    here = find_image(engine, ref.exact)
    if ref.digest:
        return Base(ref=ref, digest=ref.digest, is_local=False, is_here=here is not None)
    told = _told(ref, registry, print) if ref.registry != LOCAL else None
    if told is not None:
        is_here = here is not None and told in digests(here)
        return Base(ref=ref, digest=told, is_local=False, is_here=is_here)
    if here is None or (is_refreshed and ref.registry != LOCAL):
        here = _pulled(ref, engine, print)
    known = digests(here, ref) if ref.registry != LOCAL else []
    if known:
        return Base(ref=ref, digest=known[0], is_local=False, is_here=True)
    if not platform.startswith(here.platform):
        raise PermanentError(f"{ref} is for {here.platform}, and the image is to be for {platform}")
    return Base(ref=ref, digest=here.id, is_local=True, is_here=True)


def ensure(base: Base, engine: Engine, print: Print) -> None:
    """Pull an image whose name the engine has otherwise, or not at all."""
    if not base.is_here:
        _pulled(base.ref, engine, print)


def pinned(base: Base, engine: Engine, print: Print) -> str:
    """Return what a Dockerfile calls an image of a registry by its digest; it is pulled first."""
    ref = ImageRef.parse(full_name(base.ref)).pinned(base.digest)
    if not base.is_here:
        get_image(engine, ref, print=print)
    return ref.exact


def digests(seen: ImageFacts, ref: ImageRef | None = None) -> list[str]:
    """Return the manifests that an image of the engine is known by, of one repository or any."""
    found = []
    for text in seen.digests:
        name, _, digest = text.rpartition("@")
        if ref is None or (name != "<none>" and full_name(ImageRef.parse(name)) == full_name(ref)):
            found.append(digest)
    return sorted(found)


def _told(ref: ImageRef, registry: Registry, print: Print) -> str | None:
    try:
        manifest = registry.manifest(ref)
    except TemporaryError as error:
        print(f"{ref}: {error}; taking what the engine has")
        return None
    if manifest is None:
        raise PermanentError(f"{ref.host} has no image {str(ref)!r}")
    return manifest.digest


def _pulled(ref: ImageRef, engine: Engine, print: Print) -> ImageFacts:
    if ref.registry == LOCAL:
        raise PermanentError(
            f"{engine.name} has no image {str(ref)!r}, and a name of localhost is in no registry"
        )
    whole = ref if ref.registry else ImageRef.parse(f"{full_name(ref)}:{ref.tag or DEFAULT_TAG}")
    return get_image(engine, whole, print=print, pull="always")
