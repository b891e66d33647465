"""Pins what an image's name means now: its registry is asked once, and not for long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.image_ref import ImageRef
from shipway.plugins.errors import PluginError
from shipway.plugins.registry import registry_for

LIMIT_S = 5.0  # for a registry to answer; without it a launch goes on unpinned


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedImage:
    """An image as a launch's source, with its digest and platforms where they could be had."""

    source: Mapping[str, Any]
    note: str = ""  # why there is no digest, as one sentence


def pin_image(
    image: str, env: Mapping[str, str], *, field: str = "docker_image", timeout_s: float = LIMIT_S
) -> PinnedImage:
    """Ask an image's registry what its name stands for.

    Raises `Invalid` where the registry says that there is no such image. One that does not answer,
    or not to us, changes nothing: the agent may have a login, or the image.
    """
    ref = ImageRef.parse(image, field=field)
    source: dict[str, Any] = {"kind": "image", "image": image}
    if ref.digest:
        source["digest"] = ref.digest
    why = _why_nobody_is_asked(ref)
    if not why:
        try:
            found = registry_for(ref, env).manifest(ref, timeout_s=timeout_s)
        except PluginError as error:
            why = str(error)
        else:
            if found is None:
                raise Invalid(
                    f"{field} {image!r} is not there: the registry {ref.host} has no such image; "
                    f"push it, or look at its name and {'digest' if ref.digest else 'tag'}",
                    field=field,
                    value=image,
                )
            source |= {"digest": found.digest, "platforms": list(found.platforms)}
    is_open = "digest" not in source
    return PinnedImage(source=source, note=f"digest not resolved: {why}" if is_open else "")


def _why_nobody_is_asked(ref: ImageRef) -> str:
    """Return why only an engine may know an image, or nothing."""
    if ref.registry == "localhost":
        return f"{ref} is an engine's own image, no registry's"
    if not ref.registry:
        path = ref.repository if "/" in ref.repository else f"library/{ref.repository}"
        return (
            f"{ref} names no registry: an engine may have an image of that name; write "
            f"docker.io/{path}:{ref.reference} where Docker Hub's is meant"
        )
    return ""
