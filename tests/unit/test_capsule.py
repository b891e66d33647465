"""The manifest of a capsule is canonical, and a hostile one is refused."""

from __future__ import annotations

import re
import struct

import pytest

from shipway.domain.capsule import (
    DEPTH_LIMIT,
    FRAME,
    HOP_LIMIT,
    LINK_LIMIT,
    MAGIC,
    NAME_LIMIT,
    PATH_LIMIT,
    Entry,
    Limits,
    Mode,
    decode,
    decode_pack,
    digest_of,
    digests_in,
    encode,
    encode_pack,
    git_blob_id,
    git_tree_id,
    leads_out,
)
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest

EMPTY = digest_of(b"")


def an_entry(path: bytes = b"main.py", *, mode: Mode = Mode.FILE, size: int = 0) -> Entry:
    return Entry(path=path, mode=mode, size=size, digest=EMPTY)


def a_line(path: bytes, *, mode: bytes = b"100644", size: bytes = b"0") -> bytes:
    return b"%s %s %s %s\0" % (mode, size, EMPTY.encode(), path)


def test_a_manifest_comes_back_as_it_was() -> None:
    entries = (
        an_entry(b"Main.py"),
        an_entry(b"\xff\xfe not text\n", mode=Mode.EXECUTABLE, size=7),
        an_entry(b"a/b/c", mode=Mode.LINK, size=3),
        an_entry(b"main.py"),
    )
    assert decode(encode(entries)) == tuple(sorted(entries, key=lambda entry: entry.path))


def test_the_order_of_entries_changes_nothing() -> None:
    entries = [an_entry(b"%d/%d" % (at % 7, at)) for at in range(50)]
    before = encode(entries)
    assert encode(entries[::-1]) == before


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/etc/passwd",
        b"../up",
        b"a/../../b",
        b"a//b",
        b"a/./b",
        b"a/",
        b".git/hooks/post-checkout",
        b"sub/.GIT/config",
        b"x" * 256,
        b"/".join([b"d"] * 65),
        b"d/" * 1100 + b"x",
    ],
)
def test_a_path_that_is_not_below_the_root_is_refused(path: bytes) -> None:
    with pytest.raises(Invalid):
        decode(MAGIC + a_line(path))


@pytest.mark.parametrize("mode", [b"060000", b"020666", b"010644", b"160000", b"040000", b"104755"])
def test_devices_pipes_and_set_user_bits_are_refused(mode: bytes) -> None:
    with pytest.raises(Invalid, match="mode"):
        decode(MAGIC + a_line(b"x", mode=mode))


@pytest.mark.parametrize(
    "lines",
    [
        [a_line(b"a"), a_line(b"a")],
        [a_line(b"b"), a_line(b"a")],
        [a_line(b"a"), a_line(b"a/b")],
        [a_line(b"a"), a_line(b"a-b"), a_line(b"a/b")],
        [a_line(b"a", size=b"00")],
        [a_line(b"a", size=b"-1")],
        [a_line(b"a", size=b"9" * 30)],
        [a_line(b"a")[:-1]],
        [b"nonsense\0"],
        [a_line(b"a").replace(EMPTY.encode(), EMPTY.upper().encode())],
        [a_line(b"l", mode=b"120000", size=b"5000")],
        [a_line(b"l", mode=b"120000", size=b"0")],
    ],
)
def test_a_manifest_that_is_not_canonical_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(Invalid):
        decode(MAGIC + b"".join(lines))


def test_names_that_differ_by_case_or_form_are_kept_apart() -> None:
    paths = [b"README", b"readme", "é".encode(), "e\u0301".encode()]
    assert {entry.path for entry in decode(encode(map(an_entry, paths)))} == set(paths)


def test_limits_hold_for_count_size_and_file() -> None:
    limits = Limits(files=2, size=10, file_size=8)
    with pytest.raises(Invalid, match="3 files"):
        decode(encode(an_entry(b"%d" % at) for at in range(3)), limits=limits)
    with pytest.raises(Invalid, match="12 bytes"):
        decode(encode([an_entry(b"a", size=6), an_entry(b"b", size=6)]), limits=limits)
    with pytest.raises(Invalid, match="9 bytes"):
        decode(encode([an_entry(b"a", size=9)]), limits=limits)


def test_a_huge_count_is_refused_before_it_is_read() -> None:
    with pytest.raises(Invalid, match="3000000 files"):
        decode(MAGIC + b"\0" * 3_000_000)


@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({b"l": b"/etc/passwd"}, b"l"),
        ({b"l": b"../x"}, b"l"),
        ({b"a/l": b"../../x"}, b"a/l"),
        ({b"l": b"a/../../x"}, b"l"),
        ({b"x/y/up": b"../..", b"q": b"x/y/up/../etc"}, b"q"),
        ({b"one": b"two/..", b"two": b"."}, b"one"),
        ({b"a": b"b", b"b": b"/"}, b"a"),
        ({b"d/e": b"..", b"f": b"d/e/d/e/../x"}, b"f"),
    ],
)
def test_a_link_that_leaves_the_tree_is_seen_through_others(
    links: dict[bytes, bytes], path: bytes
) -> None:
    assert leads_out(path, links)


@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({b"l": b"main.py"}, b"l"),
        ({b"a/l": b"../main.py"}, b"a/l"),
        ({b"a/b/up": b"../.."}, b"a/b/up"),
        ({b"l": b"missing/x"}, b"l"),
        ({b"l": b"l"}, b"l"),
        ({b"a": b"b", b"b": b"a"}, b"a"),
        ({b"l": b"..."}, b"l"),
    ],
)
def test_a_link_inside_the_tree_may_stay(links: dict[bytes, bytes], path: bytes) -> None:
    assert not leads_out(path, links)


def test_the_tree_id_is_git_s() -> None:
    """The id was made by git: `a.txt` (x), `a/b` (executable, y), `l` -> a.txt."""
    files = [
        (b"a/b", Mode.EXECUTABLE, git_blob_id(b"y")),
        (b"l", Mode.LINK, git_blob_id(b"a.txt")),
        (b"a.txt", Mode.FILE, git_blob_id(b"x")),
    ]
    assert git_tree_id(files) == "b3d346ded4f3dd78b98baee435e3cf6e014d0501"
    beside = [(b"a/b", Mode.FILE, git_blob_id(b"y")), (b"a0", Mode.FILE, git_blob_id(b"x"))]
    beside.append((b"a-c", Mode.FILE, git_blob_id(b"z")))
    assert git_tree_id(beside) == "b31b431c18cd3c775eebb1c50f197a415cd454e3"
    assert git_tree_id([]) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_a_pack_comes_back_and_a_cut_one_is_refused() -> None:
    blobs = [(digest_of(data), data) for data in (b"", b"one", b"two" * 1000)]
    pack = encode_pack(blobs)
    assert list(decode_pack(pack)) == blobs
    for cut in (len(pack) - 1, 40, 20):
        with pytest.raises(Invalid):
            list(decode_pack(pack[:cut]))
    with pytest.raises(Invalid):
        list(decode_pack(struct.pack(">32sI", b"x" * 32, 1 << 31)))


def test_digests_are_sha256() -> None:
    assert digest_of(b"") == Digest(
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b"nonsense", "the capsule's manifest does not begin as one does"),
        (MAGIC + b"nonsense\0", "the capsule's manifest has a line that is none of its own"),
        (MAGIC + a_line(b"x", mode=b"010644"), "entry x has mode 010644: only files, executables"),
        (MAGIC + a_line(b"x", size=b"1" * 16), "entry x has no valid size and digest"),
        (MAGIC + a_line(b"x", size=b"+1"), "entry x has no valid size and digest"),
        (MAGIC + a_line(b"x", size=b"01"), "manifest is not in its one canonical form"),
        (MAGIC + a_line(b"b") + a_line(b"a"), "manifest is not in its one canonical form"),
        (MAGIC + a_line(b"x") + b"rest", "manifest is not in its one canonical form"),
        (MAGIC + a_line(b"a") + a_line(b"a"), "the path a is there twice"),
        (MAGIC + a_line(b"a") + a_line(b"a/b"), "a is a file, yet a/b is below it"),
        (MAGIC + a_line(b"a") + a_line(b"a/b/c"), "a is a file, yet a/b/c is below it"),
        (MAGIC + a_line(b"a/b") + a_line(b"a/b/c"), "a/b is a file, yet a/b/c is below it"),
        (MAGIC + a_line(b"../x"), "the path ../x has a part that cannot be a file's name"),
        (MAGIC + a_line(b"a/.Git/x"), "git's own: a capsule carries no '.git'"),
        (MAGIC + a_line(b"x" * 256), "has a part that cannot be a file's name"),
        (MAGIC + a_line(b""), "is not one of 1 to 2048 bytes, at most 64 names deep"),
        (MAGIC + a_line(b"l", mode=b"120000"), "the capsule's link l has a target of 0 B"),
        (
            MAGIC + a_line(b"l", mode=b"120000", size=b"4096"),
            "the capsule's link l has a target of 4096 B",
        ),
        (MAGIC + a_line(b"\xff", mode=b"1"), r"entry \\xff has mode 1"),
        (MAGIC + a_line(b"a\n", mode=b"1"), r"entry a\\n has mode 1"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said(manifest: bytes, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode(manifest)
    assert re.search(rf"\b{words}", refused.value.message) is not None


def test_the_ends_of_every_limit_are_taken() -> None:
    deep = b"/".join([b"d"] * DEPTH_LIMIT)
    long = b"/".join([b"x" * NAME_LIMIT] * 8)
    assert len(long) == PATH_LIMIT - 1
    entries = [an_entry(deep), an_entry(long), an_entry(b"l", mode=Mode.LINK, size=LINK_LIMIT)]
    entries.append(an_entry(b"m", mode=Mode.LINK, size=1))
    assert len(decode(encode(entries))) == 4
    limits = Limits(files=2, size=10, file_size=8)
    exact = [an_entry(b"a", size=8), an_entry(b"b", size=2)]
    assert len(decode(encode(exact), limits=limits)) == 2


def test_the_digests_of_a_trusted_manifest_are_read_and_of_nothing_else() -> None:
    entries = [an_entry(b"a b"), an_entry(b"c")]
    assert list(digests_in(encode(entries))) == [EMPTY, EMPTY]
    assert list(digests_in(encode([]))) == []
    assert list(digests_in(b"nonsense " + encode(entries))) == []


def test_a_loop_of_links_is_followed_only_so_far() -> None:
    chain = {b"l%d" % at: b"l%d" % (at + 1) for at in range(HOP_LIMIT)}
    assert leads_out(b"l0", {**chain, b"l%d" % HOP_LIMIT: b"../x"})
    longer = {b"l%d" % at: b"l%d" % (at + 1) for at in range(HOP_LIMIT + 1)}
    assert not leads_out(b"l0", {**longer, b"l%d" % (HOP_LIMIT + 1): b"../x"})


@pytest.mark.parametrize("target", [b"", b"a\0b", b"/"])
def test_a_target_that_is_no_path_below_leads_out(target: bytes) -> None:
    assert leads_out(b"l", {b"l": target})
    assert leads_out(b"k", {b"k": b"l", b"l": target})


def test_a_cut_pack_says_where() -> None:
    pack = encode_pack([(digest_of(b"one"), b"one")])
    assert list(decode_pack(b"")) == []
    assert len(pack) == FRAME.size + 3
    for cut in range(1, len(pack)):
        with pytest.raises(Invalid, match=r"^the pack "):
            list(decode_pack(pack[:cut]))


def test_a_path_with_a_nul_is_not_written() -> None:
    with pytest.raises(Invalid, match="not one of 1 to 2048 bytes"):
        encode([an_entry(b"a\0b")])
