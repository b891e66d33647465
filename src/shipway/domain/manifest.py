"""The manifest of an artifact: reads what clients write, and says which blobs its files are."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest

BYTES_LIMIT = 256 << 20  # of a manifest
ENTRIES_LIMIT = 500_000
PATH_LIMIT = 4_096  # characters of an entry's name
DIGEST_LIMIT = 4_096  # characters: of a reference it is whatever its store says
CONTENTS_MAGIC = b"shipway contents 1\n"
REF_LIMIT = 16_384  # characters of where a reference leads to

_SEED = b"wandb-artifact-manifest-v1\n"
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode  # ASCII alone: no line has a break


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of an artifact, or a reference to something that is stored elsewhere."""

    path: str
    digest: str  # MD5 in base64; of a reference whatever its store says
    size: int
    ref: str | None = None  # where else it is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """An entry of a committed artifact: with the blob that it is, or where else it is stored."""

    path: str
    md5: str  # in base64; of a reference whatever its store says
    digest: Digest | None  # None: it is a reference
    size: int
    ref: str | None = None


class Manifest:
    """A manifest as a client wrote it."""

    def __init__(self, value: dict[str, Any]) -> None:
        self._value = value
        self.entries = tuple(_entry(path, one) for path, one in value["contents"].items())

    @classmethod
    def read(cls, data: bytes) -> Manifest:
        """Read a manifest's JSON; raise `Invalid` for anything else."""
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Invalid(f"the manifest is not JSON: {error}", field="manifest") from None
        if not isinstance(value, dict) or not isinstance(value.get("contents"), dict):
            raise Invalid("the manifest has no mapping of contents", field="contents")
        if value.get("version") != 1:
            raise Invalid(
                f"the manifest has version {value.get('version')!r}, known is 1", field="version"
            )
        if len(value["contents"]) > ENTRIES_LIMIT:
            raise Invalid(
                f"the manifest has {len(value['contents'])} entries, at most {ENTRIES_LIMIT} are "
                "taken",
                field="contents",
            )
        return cls(value)

    def over(self, base: Manifest) -> Manifest:
        """Return the manifest of a version before with these entries put in."""
        contents = {**base._value["contents"], **self._value["contents"]}
        return Manifest({**self._value, "contents": dict(sorted(contents.items()))})

    def encode(self) -> bytes:
        """Return the manifest's JSON."""
        return json.dumps(self._value, separators=(",", ":")).encode()

    def digest(self) -> str:
        """Return the artifact's digest, as clients count it."""
        found = hashlib.md5(_SEED, usedforsecurity=False)
        for entry in sorted(self.entries, key=lambda entry: entry.path):
            found.update(f"{entry.path}:{entry.digest}\n".encode())
        return found.hexdigest()


def encode_contents(files: Iterable[StoredFile]) -> bytes:
    """Return which blobs an artifact's files are, as the bytes of a blob."""
    ordered = sorted(files, key=lambda file: file.path)
    lines = [[file.digest, file.md5, file.size, file.path, file.ref] for file in ordered]
    return CONTENTS_MAGIC + b"".join(f"{_ENCODE(line)}\n".encode() for line in lines)


def decode_contents(data: bytes) -> list[StoredFile]:
    """Read what `encode_contents` returned, in order of path."""
    assert data.startswith(CONTENTS_MAGIC), "contents are written by this server alone"
    files = []
    for line in data[len(CONTENTS_MAGIC) :].splitlines():
        digest, md5, size, path, ref = json.loads(line)
        files.append(StoredFile(path=path, md5=md5, digest=digest, size=size, ref=ref))
    return files


def contents_digests(data: bytes) -> list[Digest]:
    """Return the blobs that contents name; none of any other bytes."""
    if not data.startswith(CONTENTS_MAGIC):
        return []
    return [file.digest for file in decode_contents(data) if file.digest is not None]


def merged(parts: Sequence[Manifest]) -> Manifest:
    """Return the manifest that parts make together; a later one stands over an earlier one."""
    whole = parts[0]
    for part in parts[1:]:
        whole = part.over(whole)
    return whole


def md5_of(data: bytes) -> str:
    """Return the MD5 of a file's bytes as manifests have it: in base64."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def check_md5(value: object, *, field: str) -> str:
    """Return an MD5 in base64; raise `Invalid` otherwise."""
    if isinstance(value, str):
        try:
            if len(base64.b64decode(value, validate=True)) == 16:
                return value
        except (binascii.Error, ValueError):
            pass
    raise Invalid(
        f"{field} {str(value)[:80]!r} is not an MD5 in base64", field=field, value=value
    ) from None


def _entry(path: str, value: object) -> Entry:
    if not 0 < len(path) <= PATH_LIMIT or "\0" in path or not _is_inside(path):
        raise Invalid(
            f"the manifest's entry {path[:80]!r} is not a relative path without '..'",
            field="contents",
            value=path[:200],
        )
    if not isinstance(value, Mapping):
        raise Invalid(f"the manifest's entry {path!r} is not a mapping", field="contents")
    digest, size = value.get("digest"), value.get("size") or 0
    ref = value.get("ref")
    if ref is not None and (not isinstance(ref, str) or len(ref) > REF_LIMIT):
        raise Invalid(f"the manifest's entry {path!r} has no valid reference", field="contents")
    if not isinstance(digest, str) or len(digest) > DIGEST_LIMIT:
        raise Invalid(f"the manifest's entry {path!r} has no digest", field="contents")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 60:
        raise Invalid(f"the manifest's entry {path!r} has no valid size", field="contents")
    if ref is None:
        check_md5(digest, field=f"digest of the manifest's entry {path!r}")
    return Entry(path=path, digest=digest, size=size, ref=ref)


def _is_inside(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return not path.startswith("/") and all(part not in {"", ".", ".."} for part in path.split("/"))
