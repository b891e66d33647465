"""Brings a built image into its registry, and reads under which digest it is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from shipway.builders.container.bases import LOCAL, check_allowed
from shipway.domain.errors import Invalid
from shipway.domain.image_ref import ImageRef
from shipway.engines.engine import Engine
from shipway.engines.login import lent_login
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.image_builder import ImageRequest
from shipway.plugins.registry import registry_for

PUSH_LIMIT_S = 3600.0
_NAME = re.compile(r"[^a-z0-9]+")
_DIGEST = re.compile(r"\bdigest: (sha256:[0-9a-f]{64})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The name that an image gets."""

    ref: ImageRef
    is_pushed: bool


def target_of(request: ImageRequest, tag: str) -> Target:
    """Return the name of an image: in the repository that was asked for, else the engine's own."""
    if request.repository is None:
        name = _NAME.sub("-", request.name.lower()).strip("-")[:100] or "image"
        ref = ImageRef(registry=LOCAL, repository=f"shipway/{name}", tag=tag)
        return Target(ref=ref, is_pushed=False)
    try:
        ref = ImageRef.parse(request.repository, field="repository")
    except Invalid as error:
        raise PermanentError(str(error)) from None
    if ref.tag or ref.digest:
        raise PermanentError(
            f"repository {request.repository!r} must be without tag and digest: the tag is the "
            "image's key"
        )
    check_allowed([ref], request.policy)
    ref = ImageRef(registry=ref.registry, repository=ref.repository, tag=tag)
    return Target(ref=ref, is_pushed=True)


def pushed(target: Target, request: ImageRequest) -> str | None:
    """Return the digest under which the registry has it, or None where it has not, or is away."""
    if not target.is_pushed:
        return None
    try:
        manifest = registry_for(target.ref, request.env).manifest(target.ref)
    except TemporaryError:  # the push will say so, or go through
        return None
    return manifest.digest if manifest is not None else None


def push(target: Target, engine: Engine, request: ImageRequest) -> str:
    """Push an image and return the digest of its manifest."""
    request.print(f"pushing {target.ref}")
    said: list[str] = []

    def tell(line: str) -> None:
        said.append(line)
        request.print(line)

    with TemporaryDirectory() as folder:
        file = Path(folder) / "digest"
        words = [f"--digestfile={file}"] if engine.name == "podman" else []
        with lent_login(engine, target.ref, registry_for(target.ref, request.env)) as login:
            argv = ("push", *words, str(target.ref))
            engine.stream(*argv, print=tell, timeout_s=PUSH_LIMIT_S, env=login)
        if file.exists():
            return file.read_text().strip()
    found = [match[1] for line in said if (match := _DIGEST.search(line))]
    if not found:
        raise PermanentError(f"{engine.name} pushed {target.ref} and named no digest of it")
    return found[-1]
