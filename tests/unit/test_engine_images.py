"""Which platform an image is here for."""

from __future__ import annotations

import pytest

from shipway.engines.images import _is_for


@pytest.mark.parametrize(
    ("found", "wanted", "is_for"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm64", "linux/arm", False),
        ("linux/amd64", "linux/arm64", False),
    ],
)
def test_a_platform_is_compared_part_by_part(found: str, wanted: str, *, is_for: bool) -> None:
    assert _is_for(found, wanted) is is_for
