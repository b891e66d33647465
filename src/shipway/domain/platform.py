"""Reads and compares the platforms of container images: `os/architecture[/variant]`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shipway.domain.errors import Invalid

PLATFORMS_LIMIT = 100  # of one image
_PLATFORM = re.compile(r"[a-z0-9_.-]{1,32}/[a-z0-9_.-]{1,32}(?:/[a-z0-9_.-]{1,32})?")
_OTHER_NAMES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_UNKNOWN = "unknown"  # what BuildKit says of notes that it puts beside images
_ASKED_IN = "local-container"  # the resource whose arguments may ask for a platform


def check_platform(value: object, *, field: str) -> str:
    """Return a platform in its one spelling; raise `Invalid` for what is none."""
    text = value.lower() if isinstance(value, str) else ""
    if not _PLATFORM.fullmatch(text):
        raise Invalid(
            f"{field} {value!r} is no platform: write os/architecture, such as linux/amd64",
            field=field,
            value=value,
        )
    system, architecture, *variant = text.split("/")
    architecture = _OTHER_NAMES.get(architecture, architecture)
    if variant == ["v8"] and architecture == "arm64":
        variant = []  # there is no other
    return "/".join((system, architecture, *variant))


def platform_of(values: Mapping[str, Any]) -> str | None:
    """Return the platform that a manifest or an image's configuration names, or None."""
    parts = (values.get("os"), values.get("architecture"), values.get("variant"))
    words = [part for part in parts if isinstance(part, str) and part]
    try:
        found = check_platform("/".join(words), field="platform")
    except Invalid:
        return None
    return None if _UNKNOWN in found.split("/") else found


def has_platform(platforms: Sequence[str], wanted: str) -> bool:
    """Tell whether a platform is there; a variant that is not asked for may be any."""
    return any(one == wanted or one.startswith(f"{wanted}/") for one in platforms)


def check_asked_platform(source: Mapping[str, Any], resource_args: Mapping[str, Any]) -> None:
    """Raise `Invalid` where a platform is asked for that a source's image does not have."""
    args = resource_args.get(_ASKED_IN)
    asked = args.get("platform") if isinstance(args, Mapping) else None
    known = source.get("platforms")
    if not isinstance(asked, str) or not known:
        return
    field = f"resource_args.{_ASKED_IN}.platform"
    if not has_platform(known, check_platform(asked, field=field)):
        raise Invalid(
            f"{field} is {asked!r}, but {source['image']} has: {', '.join(known)}",
            field=field,
            value=asked,
        )
