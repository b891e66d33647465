"""Checks a pinned source: a commit, a capsule or an image."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.git_address import check_ref, check_subdirectory, is_commit, parse_git_address
from shipway.domain.ids import is_digest
from shipway.domain.image_ref import ImageRef, is_image_digest
from shipway.domain.json_value import plain_mapping
from shipway.domain.platform import PLATFORMS_LIMIT, check_platform

TEXT_LIMIT = 4096  # characters of an address, a ref, a path, an image


class SourceKind(StrEnum):
    """Where a launch's code comes from."""

    GIT = "git"  # a commit of a remote repository
    CAPSULE = "capsule"  # a tree that the submitter packed
    IMAGE = "image"  # a container image, run as it is


_PROTOCOLS = ("https", "ssh", "http")  # the agent's own policy narrows it
_FIELDS = {
    SourceKind.GIT: frozenset({"kind", "url", "commit", "ref", "subdirectory", "patch"}),
    SourceKind.CAPSULE: frozenset(
        {"kind", "digest", "tree", "size", "files", "subdirectory", "git"}
    ),
    SourceKind.IMAGE: frozenset({"kind", "image", "digest", "platforms"}),
}


def check_source(value: object) -> dict[str, Any]:
    """Return a plain copy of a pinned source; raise `Invalid` with the bad field's path."""
    source = plain_mapping(value, "source")
    known = ", ".join(SourceKind)
    try:
        kind = SourceKind(str(source.get("kind")))
    except ValueError:
        raise Invalid(
            f"source.kind {source.get('kind')!r} is none of {known}",
            field="source.kind",
            value=source.get("kind"),
        ) from None
    for field in source:
        if field not in _FIELDS[kind]:
            raise Invalid(
                f"source.{field} is no field of a {kind} source "
                f"(known: {', '.join(sorted(_FIELDS[kind]))})",
                field=f"source.{field}",
                value=source[field],
            )
    if kind is SourceKind.GIT:
        _check_git(source)
    elif kind is SourceKind.CAPSULE:
        _check_capsule(source)
    else:
        _check_pinned_image(source)
    return source


def check_image(value: object, *, field: str) -> str:
    """Return an image's name as it is written; raise `Invalid` for what no engine would take."""
    image = _check_text(value, field)
    ImageRef.parse(image, field=field)
    return image


@lru_cache(maxsize=256)  # a batch names one repository a thousand times
def _plain_url(url: str) -> str:
    return parse_git_address(url, protocols=_PROTOCOLS).url


def _check_git(source: Mapping[str, Any]) -> None:
    url = _check_text(source.get("url"), "source.url")
    if _plain_url(url) != url:
        raise Invalid(
            f"source.url {url!r} has a fragment: name the directory as source.subdirectory",
            field="source.url",
            value=url,
        )
    commit = source.get("commit")
    if not isinstance(commit, str) or not is_commit(commit):
        raise Invalid(
            f"source.commit {commit!r} is not a whole commit id of 40 or 64 hex digits",
            field="source.commit",
            value=commit,
        )
    if source.get("ref") is not None:
        check_ref(_check_text(source["ref"], "source.ref"), field="source.ref")
    patch = source.get("patch")
    if patch is not None and not (isinstance(patch, str) and is_digest(patch)):
        raise Invalid(
            f"source.patch {patch!r} is not a SHA-256 of 64 hex digits",
            field="source.patch",
            value=patch,
        )
    _check_folder(source)


def _check_capsule(source: Mapping[str, Any]) -> None:
    digest = source.get("digest")
    if not isinstance(digest, str) or not is_digest(digest):
        raise Invalid(
            f"source.digest {digest!r} is not a SHA-256 of 64 hex digits",
            field="source.digest",
            value=digest,
        )
    for field in ("size", "files"):
        count = source.get(field, 0)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise Invalid(
                f"source.{field} must be a number of 0 or more",
                field=f"source.{field}",
                value=count,
            )
    if source.get("git") is not None:
        plain_mapping(source["git"], "source.git")
    _check_folder(source)


def _check_pinned_image(source: Mapping[str, Any]) -> None:
    image = check_image(source.get("image"), field="source.image")
    digest = source.get("digest")
    if digest is not None:
        named = ImageRef.parse(image).digest
        if not is_image_digest(digest) or (named and digest != named):
            wanted = f"the {named} of source.image" if named else "sha256: and 64 hex digits"
            raise Invalid(
                f"source.digest {digest!r} must be {wanted}", field="source.digest", value=digest
            )
    platforms = source.get("platforms")
    if platforms is None:
        return
    if not isinstance(platforms, list) or len(platforms) > PLATFORMS_LIMIT:
        raise Invalid(
            f"source.platforms must be a list of at most {PLATFORMS_LIMIT}",
            field="source.platforms",
            value=platforms,
        )
    for index, one in enumerate(platforms):
        field = f"source.platforms[{index}]"
        if (right := check_platform(one, field=field)) != one:
            raise Invalid(f"{field} {one!r} must be written {right!r}", field=field, value=one)


def _check_folder(source: Mapping[str, Any]) -> None:
    folder = source.get("subdirectory")
    if folder:
        check_subdirectory(_check_text(folder, "source.subdirectory"), field="source.subdirectory")


def _check_text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"{field} must be text, not {type(value).__name__}", field=field, value=value)
    if not value or value.startswith("-") or not value.isprintable() or len(value) > TEXT_LIMIT:
        raise Invalid(
            f"{field} {value[:80]!r} must be 1 to {TEXT_LIMIT} printable characters and must not "
            "begin with '-'",
            field=field,
            value=value,
        )
    return value
