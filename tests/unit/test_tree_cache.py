"""Fetched trees are listed with their last use, and removed unless somebody uses them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from shipway.domain.capsule import Entry, Mode, digest_of
from shipway.sources.tree_cache import TreeCache

OLD = 1_000_000.0


def make(folder: Path) -> Iterable[Entry]:
    (folder / "main.py").write_bytes(b"1\n")
    (folder / "main.py").chmod(0o644)
    return [Entry(path=b"main.py", mode=Mode.FILE, size=2, digest=digest_of(b"1\n"))]


def a_tree(home: Path, key: str = "k") -> TreeCache:
    cache = TreeCache(home)
    cache.get(key, make, wait_s=1)
    os.utime(home / "trees" / key, (OLD, OLD))
    return cache


def test_an_unused_tree_is_removed_and_made_again(tmp_path: Path) -> None:
    cache = a_tree(tmp_path)
    (gone,) = cache.kept()
    assert (gone.used_at, gone.is_waste) == (OLD, False)
    assert sum(gone.files.values()) > 0
    assert cache.evict(gone)
    assert cache.kept() == []
    assert (cache.get("k", make, wait_s=1).path / "main.py").exists()


def test_a_tree_that_was_used_since_stays(tmp_path: Path) -> None:
    cache = a_tree(tmp_path)
    (gone,) = cache.kept()
    cache.get("k", make, wait_s=1)
    assert not cache.evict(gone)
    assert (tmp_path / "trees/k/tree/main.py").exists()


def test_a_half_made_one_is_waste_and_takes_no_whole_one_with_it(tmp_path: Path) -> None:
    cache = a_tree(tmp_path)
    (tmp_path / "making/k/tree").mkdir(parents=True)
    (waste,) = [one for one in cache.kept() if one.is_waste]
    assert cache.evict(waste)
    assert [one.path.name for one in cache.kept()] == ["k"]
