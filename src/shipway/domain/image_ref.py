"""Reads the names of container images: `host:port/path:tag@digest`, by the OCI grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from shipway.domain.errors import Invalid

NAME_LIMIT = 255  # characters of registry and repository together
DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_WORD}(?:/{_WORD})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """An image's name in its parts; an engine gets no other spelling than its text."""

    registry: str  # as written: "" where the engine's own default applies
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str, *, field: str = "docker_image") -> Self:
        """Read a name; raise `Invalid` that says which part of it is wrong, and what would do."""
        name, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise _wrong(text, field, "its digest is not sha256: and 64 hexadecimal digits")
        registry, name = _split_host(name)
        name, colon, tag = name.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _wrong(
                text, field, f"its tag {tag[:80]!r} must be letters, digits, '_', '.', '-'"
            )
        if registry and not _HOST.fullmatch(registry):
            raise _wrong(text, field, f"{registry[:80]!r} is no host or host:port")
        if not _REPOSITORY.fullmatch(name):
            hint = " (small letters only)" if name != name.lower() else ""
            raise _wrong(text, field, f"{name[:80]!r} is no repository's path{hint}")
        if len(registry) + len(name) > NAME_LIMIT:
            raise _wrong(text, field, f"it is longer than {NAME_LIMIT} characters")
        return cls(registry=registry, repository=name, tag=tag, digest=digest)

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    @property
    def host(self) -> str:
        """The registry that answers for it; Docker Hub where none is named."""
        return self.registry or DEFAULT_REGISTRY

    @property
    def reference(self) -> str:
        """What a registry's manifest is asked for: the digest, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def pinned(self, digest: str) -> Self:
        """Return it with a digest; the tag stays for people to read."""
        return replace(self, digest=digest)

    @property
    def exact(self) -> str:
        """What engines are told: by its digest alone where there is one; podman takes no both."""
        return f"{self.name}@{self.digest}" if self.digest else str(self)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}@{self.digest}" if self.digest else f"{self.name}{tag}"


def is_image_digest(value: object) -> bool:
    """Tell whether a value is the digest of an image's manifest."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = slash and (first == "localhost" or "." in first or ":" in first)
    return (first, rest) if is_host else ("", name)


def _wrong(text: str, field: str, why: str) -> Invalid:
    return Invalid(
        f"{field} {text[:120]!r} is not an image's name: {why}; "
        "write it as repository:tag or host:port/repository:tag",
        field=field,
        value=text,
    )
