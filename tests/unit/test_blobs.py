"""Bytes by digest in a folder."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
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


@pytest.mark.parametrize("data", [b"", b"a", bytes(3_000_000)])
def test_bytes_that_come_in_pieces_are_one_blob(
    blobs: DirectoryBlobs, tmp_path: Path, data: bytes
) -> None:
    for _ in range(2):
        incoming = blobs.begin(len(data))
        for at in range(0, len(data), 1_000_000):
            incoming.write(data[at : at + 1_000_000])
        assert not list((tmp_path / "blobs").glob("??/*/*")) or blobs.has(a_digest_of(data))
        assert incoming.keep() == a_digest_of(data)
        incoming.drop()
    assert b"".join(blobs.parts(a_digest_of(data))) == data
    assert len(files(tmp_path)) == 1


def test_a_blob_that_did_not_come_whole_leaves_nothing(
    blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    incoming = blobs.begin(10)
    incoming.write(b"half")
    for _ in range(2):
        incoming.drop()
    assert files(tmp_path) == []


def test_a_damaged_blob_gives_no_piece(blobs: DirectoryBlobs, tmp_path: Path) -> None:
    digest = a_digest_of(b"data")
    blobs.put(digest, b"data")
    (path,) = files(tmp_path)
    path.write_bytes(b"dat4")
    with pytest.raises(NotFound, match="damaged"):
        blobs.parts(digest)
    with pytest.raises(NotFound, match="no blob"):
        blobs.parts(digest)


def test_unknown_blobs_are_not_found(blobs: DirectoryBlobs) -> None:
    with pytest.raises(NotFound):
        blobs.get(a_digest_of(b"unknown"))
    with pytest.raises(NotFound):
        blobs.get(Digest("../../etc/passwd"))
    assert not blobs.has(Digest("../../etc/passwd"))
    with pytest.raises(NotFound):
        blobs.parts(Digest("../../etc/passwd"))
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


def test_a_failed_sync_of_a_blob_ends_the_server(tmp_path: Path) -> None:
    program = (
        "import errno, hashlib, os, sys; from pathlib import Path\n"
        "def sync(handle):\n"
        "    if bad: raise OSError(errno.EIO, 'lost')\n"
        "bad = []; os.fsync = sync\n"
        "from shipway.server.main import open_blobs\n"
        "blobs = open_blobs(Path(sys.argv[1])); bad.append(1)\n"
        "blobs.put(hashlib.sha256(b'x').hexdigest(), b'x')\n"
        "print('went on')\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "blobs")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (70, ""), done.stderr


def test_old_blobs_are_listed_in_order_and_in_pages(blobs: DirectoryBlobs) -> None:
    digests = sorted(a_digest_of(bytes([number])) for number in range(20))
    for number in range(20):
        blobs.put(a_digest_of(bytes([number])), bytes([number]))
    os.utime(blobs._path(digests[3]))
    later = int(time.time() * 1_000) + 10_000
    assert blobs.old(before=0, after="", limit=50) == []
    assert [name for name, _ in blobs.old(before=later, after="", limit=50)] == digests
    pages, after = [], ""
    while page := blobs.old(before=later, after=after, limit=7):
        pages += [name for name, _ in page]
        after = page[-1][0]
    assert pages == digests


def aged(blobs: DirectoryBlobs, data: bytes) -> Digest:
    digest = a_digest_of(data)
    blobs.put(digest, data)
    os.utime(blobs._path(digest), (1, 1))
    return digest


def test_what_was_put_again_is_not_dropped(blobs: DirectoryBlobs) -> None:
    old, young = aged(blobs, b"old"), aged(blobs, b"young")
    blobs.put(young, b"young")
    assert blobs.drop([old, young, a_digest_of(b"never")], before=2_000) == 3
    assert not blobs.has(old)
    assert blobs.get(young) == b"young"


def test_nothing_is_dropped_while_somebody_keeps_all(blobs: DirectoryBlobs) -> None:
    old = aged(blobs, b"old")
    with blobs.keep(), blobs.keep():
        assert blobs.drop([old], before=2_000) == 0
    assert blobs.has(old)
    assert blobs.drop([old], before=2_000) == 3


def test_a_crash_between_aside_and_away_loses_nothing(
    blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    old, stored = aged(blobs, b"old"), aged(blobs, b"stored anew")
    leaving = tmp_path / "blobs/leaving"
    leaving.mkdir()
    blobs._path(old).rename(leaving / old)
    (leaving / stored).write_bytes(b"")
    opened(tmp_path)
    assert blobs.get(old) == b"old"
    assert blobs.get(stored) == b"stored anew"
