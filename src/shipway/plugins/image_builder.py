"""What a builder of images does: make, of a source tree, the image that a container runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.source import Print

_NOT_A_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What to build an image from, and where it goes."""

    tree: Path  # the sealed source tree; never written to
    start: Path  # inside it: where the program starts, the search for Dockerfile and lock begins
    entry_point: tuple[str, ...]
    name: str  # a word of small letters for the image's name, where no repository is given
    cache: Path  # the builder's own folder
    dockerfile: str | None = None  # path in the tree, from the override or the job
    base_image: str | None = None  # what a generated Dockerfile begins with
    python: str | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None  # linux/amd64; None: the engine's own
    repository: str | None = None  # where it is pushed to; None: it stays with the engine
    is_refreshed: bool = False  # look the base image up anew, take no layer from before
    env: Mapping[str, str] = field(default_factory=dict)  # the agent's variables
    policy: ContainerPolicy = field(default_factory=ContainerPolicy)
    timeout_s: float = 3600.0
    print: Print


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that is there: built, or found."""

    image: str  # what the engine is told: by digest where it was pushed, else by id
    digest: str  # names the content: the manifest's, or the image's id
    is_cached: bool  # found, not built
    key: str = ""  # what it was made from: equal keys, the same image
    workdir: str | None = None  # where its program starts; None: the image's own
    facts: Mapping[str, str] = field(default_factory=dict)


def image_word(text: str) -> str:
    """Return a word that an image's name may have, of a project's or a folder's name."""
    return _NOT_A_NAME.sub("-", text.lower()).strip("-")[:64].strip("-") or "image"


def image_options(spec: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a launch (a spec, or a draft) and its resource's args ask of a build."""
    builder: Mapping[str, Any] = args.get("builder") or {}
    accelerator = builder.get("accelerator") or builder.get("cuda") or {}
    return {
        "dockerfile": spec.get("dockerfile"),
        "base_image": accelerator.get("base_image"),
        "python": args.get("python") or spec.get("python"),
        "extras": tuple(args.get("extras") or ()),
        "groups": tuple(args.get("groups") or ()),
        "build_args": args.get("build_args") or {},
        "platform": args.get("platform"),
        "is_refreshed": bool(spec.get("refresh")),
    }


class ImageBuilder(Protocol):
    """Makes images."""

    def build(self, request: ImageRequest) -> Image:
        """Return the image, built or found; two calls at once build it once."""
