"""What a manifest says, and what is no manifest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipway.domain.artifact import check_alias, check_artifact_name, split_name, version_of
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest
from shipway.domain.manifest import (
    CONTENTS_MAGIC,
    Manifest,
    StoredFile,
    check_md5,
    contents_digests,
    decode_contents,
    encode_contents,
    merged,
)

MD5 = "XUFAKrxLKna5cZ2REBfFkg=="  # of `hello`


def read(contents: dict[str, Any], **more: Any) -> Manifest:
    return Manifest.read(json.dumps({"version": 1, "contents": contents, **more}).encode())


def test_the_digest_is_the_one_that_clients_count() -> None:
    """Earns: wandb 0.20.1 counted this one."""
    one = read({"b.txt": {"digest": MD5, "size": 5}, "a.txt": {"digest": MD5, "size": 5}})
    assert one.digest() == "40c83f37f65716894d7aceb69a99a7d2"
    assert read({}).digest() == "64e7c61456b10382e2f3b571ac24b659"


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("/etc/passwd", {"digest": MD5}),
        ("../up", {"digest": MD5}),
        ("a//b", {"digest": MD5}),
        ("a\0", {"digest": MD5}),
        ("\ud800", {"digest": MD5}),
        ("", {"digest": MD5}),
        ("a", "text"),
        ("a", {}),
        ("a", {"digest": "no md5"}),
        ("a", {"digest": MD5, "size": -1}),
        ("a", {"digest": MD5, "size": "5"}),
        ("a", {"digest": MD5, "ref": 5}),
    ],
)
def test_an_entry_that_is_none_is_refused(path: str, entry: object) -> None:
    with pytest.raises(Invalid):
        read({path: entry})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"version": 1}', b'{"version": 2, "contents": {}}', b"[" * 99_999]
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        Manifest.read(data)


def test_parts_make_a_whole_and_the_later_one_stands() -> None:
    first = read({"a": {"digest": MD5}, "b": {"digest": MD5}}, storagePolicy="kept")
    second = read({"b": {"digest": "x", "ref": "s3://b"}, "c": {"digest": MD5}})
    whole = merged([first, second])
    assert [entry.path for entry in whole.entries] == ["a", "b", "c"]
    assert whole.entries[1].ref == "s3://b"
    assert Manifest.read(whole.encode()).digest() == whole.digest()


def test_contents_read_back_as_they_were() -> None:
    digest = Digest("a" * 64)
    files = [
        StoredFile(path="z\n \N{ROCKET}", md5=MD5, digest=digest, size=5),
        StoredFile(path="a", md5="etag", digest=None, size=0, ref="s3://a"),
    ]
    data = encode_contents(files)
    assert decode_contents(data) == sorted(files, key=lambda file: file.path)
    assert contents_digests(data) == [digest]
    assert contents_digests(b"other") == []
    assert data.startswith(CONTENTS_MAGIC)


def test_names_versions_and_aliases_are_told_apart() -> None:
    assert [version_of(text) for text in ("v0", "v12", "v01", "v", "latest", "V1")] == [
        0, 12, None, None, None, None,
    ]  # fmt: skip
    assert split_name("data") == ("data", "latest")
    assert split_name("data:v3") == ("data", "v3")
    assert check_alias("best of all") == "best of all"
    for bad in ("", "a/b", "a:b", " a", "x" * 129, "a\n", None, "v3"):
        with pytest.raises(Invalid):
            check_alias(bad)
    assert check_artifact_name("v3", field="name") == "v3"


@pytest.mark.parametrize("text", ["", "x", "XUFAKrxLKna5cZ2REBfFkg", None, "aGVsbG8="])
def test_what_is_no_md5_is_refused(text: object) -> None:
    with pytest.raises(Invalid):
        check_md5(text, field="md5")
