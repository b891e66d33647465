"""Platforms of images: how they are spelled, and whether one that is asked for is there."""

from __future__ import annotations

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.platform import (
    check_asked_platform,
    check_platform,
    has_platform,
    platform_of,
)


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/X86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
    ],
)
def test_a_platform_has_one_spelling(text: str, platform: str) -> None:
    assert check_platform(text, field="platform") == platform


@pytest.mark.parametrize("value", ["", "amd64", "linux/", "linux/amd64/v1/x", "li nux/a", 3, None])
def test_what_is_no_platform_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="write os/architecture, such as linux/amd64") as caught:
        check_platform(value, field="platform")
    assert caught.value.details["field"] == "platform"


def test_a_manifest_s_words_make_a_platform() -> None:
    arm = {"os": "linux", "architecture": "arm", "variant": "v7"}
    assert platform_of(arm) == "linux/arm/v7"
    assert platform_of({"os": "unknown", "architecture": "unknown"}) is None
    assert platform_of({"os": "linux"}) is None
    assert platform_of({"os": "linux", "architecture": 3}) is None


def test_a_variant_that_is_not_asked_for_may_be_any() -> None:
    assert has_platform(["linux/arm/v7"], "linux/arm")
    assert not has_platform(["linux/arm/v7"], "linux/arm/v6")
    assert not has_platform(["linux/arm64"], "linux/arm")


def test_a_platform_that_the_image_has_not_is_refused_with_those_it_has() -> None:
    source = {"image": "x", "platforms": ["linux/amd64", "linux/arm64"]}
    field = "resource_args.local-container.platform"
    for asked in ("linux/arm64/v8", "linux/x86_64", None):
        check_asked_platform(source, {"local-container": {"platform": asked}})
    check_asked_platform({}, {"local-container": {"platform": "linux/s390x"}})
    check_asked_platform(source, {"local-process": {"platform": "linux/s390x"}})
    check_asked_platform(source, {"local-container": None})
    with pytest.raises(Invalid, match="'linux/s390x', but x has: linux/amd64, linux/a"):
        check_asked_platform(source, {"local-container": {"platform": "linux/s390x"}})
    with pytest.raises(Invalid, match="is no platform") as caught:
        check_asked_platform(source, {"local-container": {"platform": "arm64"}})
    assert caught.value.details["field"] == field
