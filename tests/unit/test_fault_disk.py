"""What a power cut may and may not undo, on the model of a disk that the replayer uses."""

from __future__ import annotations

from random import Random

from shipway.testing.faults.disk import SECTOR, Disk, Luck
from shipway.testing.faults.recording import read

HOME = "/home"
MADE = f'1 openat(AT_FDCWD</>, "{HOME}/a", O_RDWR|O_CREAT, 0600) = 3<{HOME}/a>'
SYNCED_FOLDER = f"1 fsync(4<{HOME}>) = 0"
SYNCED = f"1 fdatasync(3<{HOME}/a>) = 0"
CUTS = 60


def written(data: str, at: int) -> str:
    return f'1 pwrite64(3<{HOME}/a>, "{data}", {len(data)}, {at}) = {len(data)}'


def left(*lines: str, luck: Luck = Luck.SECTORS) -> set[bytes | None]:
    """Return the contents that file `a` may have after a cut; None: it is not there."""
    disk = Disk(HOME)
    for call in read(lines):
        disk.begin(call)
        disk.end(call)
    found: set[bytes | None] = set()
    for seed in range(CUTS):
        after = disk.after_a_cut(luck, Random(seed)).get(f"{HOME}/a")
        found.add(
            None if after is None else bytes(after[0].synced if after[1] is None else after[1])
        )
    return found


def test_what_was_synced_with_its_name_is_there() -> None:
    lines = (MADE, written("abc", 0), SYNCED, SYNCED_FOLDER)
    assert {content for luck in Luck for content in left(*lines, luck=luck)} == {b"abc"}


def test_a_name_whose_folder_was_not_synced_may_be_gone() -> None:
    assert left(MADE, written("abc", 0), SYNCED) == {b"abc", None}


def test_bytes_that_were_not_synced_may_be_gone() -> None:
    assert left(MADE, SYNCED_FOLDER, written("abc", 0)) == {b"", b"abc"}


def test_a_later_write_may_be_there_without_an_earlier_one() -> None:
    first, second = written("a" * SECTOR, 0), written("b" * SECTOR, SECTOR)
    assert bytes(SECTOR) + b"b" * SECTOR in left(MADE, SYNCED_FOLDER, first, second)


def test_a_write_is_torn_where_sectors_end() -> None:
    found = left(MADE, SYNCED_FOLDER, written("x" * (2 * SECTOR), 0))
    assert {b"x" * SECTOR, bytes(SECTOR) + b"x" * SECTOR} < found
    assert all(content is not None and len(content) % SECTOR == 0 for content in found)


def test_a_sync_covers_only_what_was_done_before_it_began() -> None:
    lines = (
        MADE,
        SYNCED_FOLDER,
        f"1 fdatasync(3<{HOME}/a> <unfinished ...>",
        written("abc", 0).replace("1 ", "2 ", 1),
        "1 <... fdatasync resumed>) = 0",
    )
    assert left(*lines) == {b"", b"abc"}


def test_a_rename_happens_as_a_whole_or_not_at_all() -> None:
    lines = (
        MADE.replace("/a", "/b"),
        written("abc", 0).replace("/a", "/b"),
        SYNCED.replace("/a", "/b"),
        SYNCED_FOLDER,
        f'1 rename("{HOME}/b", "{HOME}/a") = 0',
    )
    assert left(*lines) == {b"abc", None}
    assert left(*lines, SYNCED_FOLDER) == {b"abc"}


def test_what_a_sync_settled_is_not_undone_by_what_came_before_it() -> None:
    lines = (
        MADE,
        f'1 unlink("{HOME}/a") = 0',
        MADE,
        written("new", 0),
        SYNCED,
        SYNCED_FOLDER,
    )
    assert left(*lines) == {b"new"}
