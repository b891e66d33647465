"""A pinned source is a commit, a capsule or an image, each with its own fields."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.image_ref import NAME_LIMIT
from shipway.domain.source import TEXT_LIMIT, check_source

GIT = {"kind": "git", "url": "https://example.org/a.git", "commit": "a" * 40}
CAPSULE = {"kind": "capsule", "digest": "c" * 64}
IMAGE = {"kind": "image", "image": "ghcr.io/ada/train:1"}
DIGEST = "sha256:" + "d" * 64


@pytest.mark.parametrize(
    "source",
    [
        GIT,
        {**GIT, "commit": "b" * 64, "ref": "main", "subdirectory": "a/b"},
        {**GIT, "ref": None, "subdirectory": ""},
        {**GIT, "url": "http://10.0.0.1/a"},
        {**GIT, "url": "git@example.org:a"},
        CAPSULE,
        {**CAPSULE, "size": 0, "files": 0, "tree": "t", "subdirectory": "a"},
        {**CAPSULE, "git": {"commit": "x"}},
        {**CAPSULE, "git": None},
        IMAGE,
        {**IMAGE, "image": "i" * NAME_LIMIT},
        {**IMAGE, "digest": DIGEST, "platforms": ["linux/amd64", "linux/arm/v7"]},
        {**IMAGE, "image": f"a/b@{DIGEST}", "digest": DIGEST, "platforms": []},
        {**IMAGE, "digest": None, "platforms": None},
    ],
)
def test_a_good_source_is_copied(source: dict[str, Any]) -> None:
    checked = check_source(source)
    assert checked == source
    assert checked is not source


@pytest.mark.parametrize(
    ("source", "field", "words"),
    [
        ("git", "source", "must be a dict, not str"),
        ({}, "source.kind", "None is none of git, capsule, image"),
        ({"kind": "ftp"}, "source.kind", "'ftp' is none of git, capsule, image"),
        (
            {**IMAGE, "url": "x"},
            "source.url",
            r"no field of a image source \(known: digest, image, kind, platforms\)",
        ),
        ({"kind": "git"}, "source.url", "must be text, not NoneType"),
        ({**GIT, "url": ""}, "source.url", "must be 1 to 4096 printable characters"),
        ({**GIT, "url": "-x"}, "source.url", "must not begin with '-'"),
        ({**GIT, "url": GIT["url"] + "#subdirectory=a"}, "source.url", "has a fragment"),
        ({**GIT, "url": "git://example.org/a"}, "uri", "allowed: https, ssh, http"),
        ({**GIT, "commit": None}, "source.commit", "is not a whole commit id of 40 or 64"),
        ({**GIT, "commit": "a" * 39}, "source.commit", "is not a whole commit id"),
        ({**GIT, "ref": 3}, "source.ref", "must be text, not int"),
        ({**GIT, "ref": "a..b"}, "source.ref", "is not the name of a branch"),
        ({**GIT, "subdirectory": 3}, "source.subdirectory", "must be text, not int"),
        ({**GIT, "subdirectory": ".."}, "source.subdirectory", "is not a directory below"),
        ({"kind": "capsule"}, "source.digest", "None is not a SHA-256 of 64 hex digits"),
        ({**CAPSULE, "digest": "c" * 63}, "source.digest", "is not a SHA-256"),
        ({**CAPSULE, "files": -1}, "source.files", "must be a number of 0 or more"),
        ({**CAPSULE, "size": True}, "source.size", "must be a number of 0 or more"),
        ({**CAPSULE, "size": "1"}, "source.size", "must be a number of 0 or more"),
        ({**CAPSULE, "git": "x"}, "source.git", "must be a dict, not str"),
        ({**CAPSULE, "subdirectory": "/a"}, "source.subdirectory", "is not a directory below"),
        ({**IMAGE, "image": "a b"}, "source.image", "is not an image's name"),
        ({**IMAGE, "image": "a\tb"}, "source.image", "printable"),
        ({**IMAGE, "image": "i" * (TEXT_LIMIT + 1)}, "source.image", "must be 1 to 4096"),
        ({**IMAGE, "image": "i" * (NAME_LIMIT + 1)}, "source.image", "longer than 255"),
        ({**IMAGE, "image": "Team/Train"}, "source.image", "small letters only"),
        ({**IMAGE, "image": "a:b:c"}, "source.image", "its tag"),
        ({**IMAGE, "digest": "d" * 64}, "source.digest", "must be sha256: and 64 hex digits"),
        ({**IMAGE, "digest": 3}, "source.digest", "must be sha256: and 64 hex digits"),
        (
            {**IMAGE, "image": f"a@{DIGEST}", "digest": "sha256:" + "e" * 64},
            "source.digest",
            f"must be the {DIGEST} of source.image",
        ),
        ({**IMAGE, "platforms": "linux/amd64"}, "source.platforms", "must be a list of at most"),
        ({**IMAGE, "platforms": ["linux/amd64"] * 101}, "source.platforms", "at most 100"),
        ({**IMAGE, "platforms": ["linux/amd64", "x"]}, "source.platforms[1]", "is no platform"),
        ({**IMAGE, "platforms": ["linux/x86_64"]}, "source.platforms[0]", "written 'linux/amd64'"),
    ],
)
def test_a_bad_source_is_refused_by_its_field(source: object, field: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        check_source(source)
    assert refused.value.details["field"] == field
    assert "value" in refused.value.details
