"""A disk is too full for new work below the smaller of 5 % and 2 GB."""

from __future__ import annotations

import pytest

from shipway.domain.disk import FREE_BYTES, Room, in_words

TB = 10**12


@pytest.mark.parametrize(
    ("total", "floor"), [(10 * 10**9, 5 * 10**8), (40 * 10**9, FREE_BYTES), (TB, FREE_BYTES)]
)
def test_the_floor_is_the_smaller_of_a_share_and_a_size(total: int, floor: int) -> None:
    assert Room(free=0, total=total).floor == floor
    assert Room(free=floor - 1, total=total).is_low
    assert not Room(free=floor, total=total).is_low


def test_sizes_are_said_in_words() -> None:
    sizes = [999, 1_500, 2_000_000_000]
    assert [in_words(size) for size in sizes] == ["999 B", "1.5 kB", "2.0 GB"]
    assert str(Room(free=10**9, total=TB)) == "1.0 GB free, where 2.0 GB stay free"
