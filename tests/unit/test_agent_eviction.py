"""What leaves a cache is what was not used for longest, and never what somebody uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.agent.bounds import WASTE_S, YOUNG_S
from shipway.agent.eviction import to_evict
from shipway.plugins.kept import Kept

NOW = 1_000_000.0


def a_kept(name: str, *, age: float = 2 * YOUNG_S, files: Any = None, **more: Any) -> Kept:
    inode = sum(name.encode()) * 1_000
    return Kept(path=Path("/cache") / name, used_at=NOW - age, files=files or {inode: 10}, **more)


def names(kept: list[Kept], **wanted: Any) -> list[str]:
    asked = {"limit": 0, "needed": 0, "busy": (), "now": NOW, **wanted}
    return [one.kept.path.name for one in to_evict(kept, **asked)]


def test_the_least_recently_used_goes_first_until_the_rest_fits() -> None:
    kept = [a_kept("b", age=3 * YOUNG_S), a_kept("a"), a_kept("c", age=4 * YOUNG_S)]
    assert names(kept, limit=30) == []
    assert names(kept, limit=29) == ["c"]
    assert names(kept, limit=10) == ["c", "b"]


def test_a_short_disk_takes_what_the_limit_would_leave() -> None:
    kept = [a_kept("a"), a_kept("b", age=3 * YOUNG_S)]
    assert names(kept, limit=1_000, needed=1) == ["b"]
    assert names(kept, limit=1_000, needed=11) == ["b", "a"]


def test_what_is_in_use_or_young_stays() -> None:
    kept = [a_kept("busy"), a_kept("young", age=YOUNG_S - 1), a_kept("old")]
    assert names(kept, busy={Path("/cache/busy")}) == ["old"]


def test_a_crash_s_leftovers_go_after_a_day_whatever_the_limit() -> None:
    kept = [a_kept("old", age=WASTE_S, is_waste=True), a_kept("new", is_waste=True), a_kept("a")]
    assert names(kept, limit=1_000) == ["old"]


def test_what_is_linked_twice_counts_once_and_frees_only_with_the_last() -> None:
    shared = {1: 100}
    kept = [a_kept("a", age=5 * YOUNG_S, files={**shared, 2: 1}), a_kept("b", files=shared)]
    assert names(kept, limit=101) == []
    first, second = to_evict(kept, limit=0, needed=0, busy=(), now=NOW)
    assert (first.bytes, second.bytes) == (1, 100)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 5 * YOUNG_S),
            st.dictionaries(st.integers(1, 8), st.just(7), min_size=1, max_size=4),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.integers(0, 60),
)
def test_the_rest_fits_or_all_that_may_go_is_gone(rows: list[Any], limit: int) -> None:
    kept = [a_kept(str(n), age=age, files=files) for n, (age, files, _) in enumerate(rows)]
    busy = {one.path for one, (_, _, is_busy) in zip(kept, rows, strict=True) if is_busy}
    gone = to_evict(kept, limit=limit, needed=0, busy=busy, now=NOW)
    left = [one for one in kept if one not in [each.kept for each in gone]]
    total = sum({inode: size for one in left for inode, size in one.files.items()}.values())
    may_go = [one for one in left if one.path not in busy and NOW - one.used_at >= YOUNG_S]
    assert total <= limit or not may_go
    assert not any(one.kept.path in busy or NOW - one.kept.used_at < YOUNG_S for one in gone)
