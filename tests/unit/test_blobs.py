"""Bytes by digest in a folder."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.errors import Invalid, NotFound, ShipwayError, StorageFull
from shipway.domain.ids import Digest


def a_digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return opened(tmp_path)


def opened(root: Path, **arguments: object) -> DirectoryBlobs:
    made = DirectoryBlobs(root / "blobs", free_floor=0, **arguments)  # type: ignore[arg-type] # any of them
    made.open()
    return made


def files(root: Path) -> list[Path]:
    return [path for path in (root / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("data", [b"", b"a", bytes(3_000_000)])
def test_stored_bytes_come_back(blobs: DirectoryBlobs, data: bytes) -> None:
    digest = a_digest_of(data)
    assert not blobs.has(digest)
    blobs.put(digest, data)
    blobs.put(digest, data)
    assert blobs.has(digest)
    assert blobs.get(digest) == data
    assert list(blobs.all()) == [digest]


def test_unknown_blobs_are_not_found(blobs: DirectoryBlobs) -> None:
    with pytest.raises(NotFound):
        blobs.get(a_digest_of(b"unknown"))
    with pytest.raises(NotFound):
        blobs.get(Digest("../../etc/passwd"))
    assert not blobs.has(Digest("../../etc/passwd"))
    with pytest.raises(Invalid):
        blobs.put(Digest("../x"), b"")


def test_bytes_that_are_not_their_digest_are_refused_whole(
    blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    good = b"good"
    with pytest.raises(Invalid, match="send them again"):
        blobs.put_many({a_digest_of(good): good, a_digest_of(b"other"): b"bad"})
    assert list(blobs.all()) == []
    assert files(tmp_path) == []


@pytest.mark.parametrize("bit", [0, 3, 8 * 500, 8 * 999 + 7])
def test_a_flipped_bit_is_found_and_put_aside(
    blobs: DirectoryBlobs, tmp_path: Path, bit: int
) -> None:
    data = os.urandom(1_000)
    digest = a_digest_of(data)
    blobs.put(digest, data)
    (path,) = files(tmp_path)
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(flipped)
    with pytest.raises(NotFound, match="damaged"):
        blobs.get(digest)
    assert not blobs.has(digest)
    assert list(blobs.all()) == []
    (aside,) = files(tmp_path)
    assert aside.read_bytes() == flipped
    blobs.put(digest, data)
    assert blobs.get(digest) == data


def test_a_cut_blob_is_replaced_by_the_next_put(blobs: DirectoryBlobs, tmp_path: Path) -> None:
    digest = a_digest_of(b"whole")
    blobs.put(digest, b"whole")
    (path,) = files(tmp_path)
    path.write_bytes(b"who")
    blobs.put(digest, b"whole")
    assert blobs.get(digest) == b"whole"


def test_what_a_crash_left_half_written_is_cleared(blobs: DirectoryBlobs, tmp_path: Path) -> None:
    blobs.put(a_digest_of(b"a"), b"a")
    (tmp_path / "blobs" / "new" / "1.1").write_bytes(b"hal")
    again = opened(tmp_path)
    assert len(files(tmp_path)) == 1
    assert list(again.all()) == [a_digest_of(b"a")]


def test_deleting_twice_is_fine(blobs: DirectoryBlobs) -> None:
    digest = a_digest_of(b"a")
    blobs.put(digest, b"a")
    blobs.delete(digest)
    blobs.delete(digest)
    blobs.delete(Digest("../x"))
    assert not blobs.has(digest)


def test_files_are_synced_before_they_get_their_name_and_folders_after(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def sync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        named = [file for file in files(tmp_path) if file.parent.name != "new"]
        seen.append((path.relative_to(tmp_path / "blobs").as_posix(), len(named)))

    blobs = opened(tmp_path)
    blobs = DirectoryBlobs(tmp_path / "blobs", free_floor=0, sync=sync)
    data = [b"a", b"b", b"c"]
    blobs.put_many({a_digest_of(one): one for one in data})
    new = [count for path, count in seen if path.startswith("new/")]
    assert new == [0, 0, 0]
    folders = [path for path, count in seen if count == 3]
    for digest in map(a_digest_of, data):
        assert f"{digest[:2]}/{digest[2:4]}" in folders
        assert digest[:2] in folders
    assert folders[-1] == "."
    assert len(seen) == 3 + len(folders)


def test_a_known_blob_is_not_acked_before_its_folder_is_synced(tmp_path: Path) -> None:
    opened(tmp_path).put(a_digest_of(b"a"), b"a")
    synced: list[int] = []
    DirectoryBlobs(tmp_path / "blobs", free_floor=0, sync=synced.append).put(
        a_digest_of(b"a"), b"a"
    )
    assert len(synced) == 3


def test_nothing_is_stored_below_the_floor(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs", free_floor=100, free_bytes=lambda _: 104)
    blobs.open()
    with pytest.raises(StorageFull):
        blobs.put(a_digest_of(b"12345"), b"12345")
    assert files(tmp_path) == []
    blobs.put(a_digest_of(b"1234"), b"1234")


@pytest.mark.parametrize(
    ("number", "expected", "is_fatal"),
    [(errno.ENOSPC, StorageFull, False), (errno.EIO, ShipwayError, True)],
)
def test_a_failed_sync_is_no_ack(
    tmp_path: Path, number: int, expected: type[ShipwayError], *, is_fatal: bool
) -> None:
    fatal: list[BaseException] = []

    def fail(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    opened(tmp_path)
    blobs = DirectoryBlobs(tmp_path / "blobs", free_floor=0, sync=fail, fatal=fatal.append)
    with pytest.raises(expected):
        blobs.put(a_digest_of(b"a"), b"a")
    assert bool(fatal) is is_fatal
    assert files(tmp_path) == []
