"""The file of a backup: a tar of the database, the key and all blobs, with their digests last."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest, is_digest

FORMAT = 1
HEAD = "shipway-backup.json"  # the first member
MANIFEST = "manifest.json"  # the last one: without it the file was cut off
BLOBS = "blobs/"
HEAD_LIMIT = 1 << 20  # bytes of a member that is read whole
BLOB_LIMIT = 1 << 30
CHUNK = 1 << 20


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


class ArchiveWriter:
    """Writes a backup, member by member."""

    def __init__(self, file: IO[bytes], head: Mapping[str, Any]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - `close` ends it
        self._files: dict[str, dict[str, Any]] = {}
        self._blobs = hashlib.sha256()
        self.count = 0
        self.bytes = 0
        self.add_bytes(HEAD, json.dumps({"format": FORMAT, **head}, indent=2).encode())

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add a small file."""
        self._tar.addfile(_member(name, len(data)), BytesIO(data))
        self._files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    def add_file(self, name: str, path: Path) -> None:
        """Add a file of any size."""
        size = path.stat().st_size
        with path.open("rb") as file:
            hashing = _Hashing(file)
            self._tar.addfile(_member(name, size), hashing)
        self._files[name] = {"sha256": hashing.hash.hexdigest(), "size": size}

    def add_blob(self, digest: Digest, data: bytes) -> None:
        """Add a blob, whose bytes are known to be its digest's."""
        self._tar.addfile(_member(BLOBS + digest, len(data)), BytesIO(data))
        _forget(self._tar)
        self._blobs.update(f"{digest}\n".encode())
        self.count += 1
        self.bytes += len(data)

    def close(self, lost: Sequence[Digest]) -> None:
        """Write the manifest, with blobs that could not be added, and end the file."""
        blobs = {"count": self.count, "bytes": self.bytes, "sha256": self._blobs.hexdigest()}
        manifest = json.dumps(
            {"files": self._files, "blobs": blobs, "lost": list(lost)}, indent=2
        ).encode()
        self._tar.addfile(_member(MANIFEST, len(manifest)), BytesIO(manifest))
        self._tar.close()


@dataclass(slots=True, kw_only=True)
class ArchiveReader:
    """Reads a backup once, from its begin to its end, and checks every byte."""

    path: Path
    head: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    def open(self) -> None:
        """Read what the backup is of."""
        try:
            with self._opened() as tar:
                first = tar.next()
                if first is None or first.name != HEAD or first.size > HEAD_LIMIT:
                    raise self._not_one()
                self.head = self._json(_bytes(tar, first))
        except (tarfile.TarError, EOFError) as error:
            raise self._not_one() from error
        if self.head.get("format") != FORMAT:
            raise Invalid(
                f"{self.path} is a backup of format {self.head.get('format')!r}, this shipway "
                f"reads {FORMAT}: restore it with the shipway that made it or a newer one",
                field="file",
                value=str(self.path),
            )

    def extract(self, folder: Path, take: Callable[[Digest, bytes], None]) -> None:
        """Write the files into a folder and give each blob away; then the manifest must agree.

        Nothing of it may be used before this returns.
        """
        files: dict[str, dict[str, Any]] = {}
        blobs, count, total = hashlib.sha256(), 0, 0
        try:
            for tar, member in self._members():
                if member.name.startswith(BLOBS):
                    digest, data = self._blob(tar, member)
                    take(digest, data)
                    blobs.update(f"{digest}\n".encode())
                    count, total = count + 1, total + len(data)
                elif member.name == MANIFEST:
                    self.manifest = self._json(_bytes(tar, member))
                else:
                    files[member.name] = _write(tar, member, folder / _plain(member.name))
        except (tarfile.TarError, EOFError) as error:
            raise self._cut() from error
        if not self.manifest:
            raise self._cut()
        said = {"count": count, "bytes": total, "sha256": blobs.hexdigest()}
        lost = self.manifest.get("lost")
        if self.manifest != {"files": files, "blobs": said, "lost": lost}:
            raise Invalid(
                f"{self.path} is damaged: what it holds is not what its manifest says; nothing "
                "was restored",
                field="file",
                value=str(self.path),
            )

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        with self._opened() as tar:
            while (member := tar.next()) is not None:
                if not member.isreg():
                    raise self._not_one()
                yield tar, member
                _forget(tar)

    def _blob(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[Digest, bytes]:
        name = member.name.removeprefix(BLOBS)
        if not is_digest(name) or member.size > BLOB_LIMIT:
            raise self._not_one()
        data = _bytes(tar, member)
        if hashlib.sha256(data).hexdigest() != name:
            raise Invalid(
                f"{self.path} is damaged: the bytes of blob {name} are not its own; nothing was "
                "restored",
                field="file",
                value=str(self.path),
            )
        return Digest(name), data

    def _opened(self) -> tarfile.TarFile:
        try:
            return tarfile.open(self.path, mode="r:")
        except FileNotFoundError:
            raise Invalid(
                f"there is no backup at {self.path}", field="file", value=str(self.path)
            ) from None
        except tarfile.TarError:
            raise self._not_one() from None

    def _json(self, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except ValueError:
            raise self._not_one() from None
        if not isinstance(found, dict):
            raise self._not_one()
        return found

    def _not_one(self) -> Invalid:
        return Invalid(f"{self.path} is no backup of shipway's", field="file", value=str(self.path))

    def _cut(self) -> Invalid:
        return Invalid(
            f"{self.path} is cut off: a backup ends with its manifest; nothing was restored",
            field="file",
            value=str(self.path),
        )


def _forget(tar: tarfile.TarFile) -> None:
    """Let go of what it remembers of members so far: a million of them would fill the memory."""
    vars(tar)["members"].clear()


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o600
    return member


def _plain(name: str) -> str:
    """Return a member's name as that of a file in one folder; nothing leads out of it."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise Invalid(f"a backup has no member {name!r}", field="file", value=name)
    return name


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None, "a plain file has bytes"
    data = file.read()
    if len(data) != member.size:
        raise EOFError
    return data


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> dict[str, Any]:
    file = tar.extractfile(member)
    assert file is not None, "a plain file has bytes"
    hashing = _Hashing(file)
    with target.open("xb") as out:
        shutil.copyfileobj(hashing, out, CHUNK)
        if out.tell() != member.size:
            raise EOFError
    return {"sha256": hashing.hash.hexdigest(), "size": member.size}
