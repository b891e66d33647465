"""What holds for any input: merged specs, capsule paths and links, macros, addresses and refs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from shipway.domain.capsule import (
    Entry,
    Mode,
    check_path,
    decode,
    decode_pack,
    digest_of,
    encode,
    encode_pack,
    leads_out,
)
from shipway.domain.draft import Draft, draft
from shipway.domain.errors import Invalid, ShipwayError, TooLarge
from shipway.domain.git_address import (
    check_ref,
    check_subdirectory,
    is_remote,
    join_address,
    parse_git_address,
    redact,
    without_credentials,
)
from shipway.domain.json_value import merge, overlay, plain
from shipway.domain.macros import MACROS, fill
from shipway.domain.template import VariableType, choose_values, fixed, read_variables, templated
from shipway.domain.template import fill as fill_template
from shipway.sources.tree_writer import TreeWriter

SECRET = "hunter2"
KEYS = st.sampled_from(("a", "b", "c", "", "lr", "é"))
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
DICTS = st.dictionaries(KEYS, VALUES, max_size=4)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)
NAMES = st.sampled_from((b"a", b"b", b"c", b"..", b".", b"", b".git", b".GIT", b"\xff", b"x" * 256))
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(b"/".join) | st.binary(max_size=20)
TARGETS = st.lists(st.sampled_from((b"a", b"b", b"c", b"..", b"..", b".")), max_size=6).map(
    b"/".join
) | st.just(b"/a")


def has_null(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(inner is None or has_null(inner) for inner in value.values())
    return False  # nulls in lists are values


def is_put_below(over: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Tell whether a dict of the last layer lies over something that is none."""
    both = [(over[key], last[key]) for key in last if key in over]
    return any(
        is_put_below(one, other) if isinstance(one, Mapping) else True
        for one, other in both
        if isinstance(other, Mapping)
    )


@given(DICTS, DICTS, DICTS)
def test_a_later_layer_can_be_put_on_before_or_after(
    base: dict[str, Any], over: dict[str, Any], last: dict[str, Any]
) -> None:
    before = json.dumps([base, over, last])
    if not is_put_below(over, last):  # a dict over a null says less than both in turn
        assert merge(base, overlay(over, last)) == merge(merge(base, over), last)
    assert not has_null(merge(merge({}, base), over))
    assert merge(merge(base, over), over) == merge(base, over)
    assert json.dumps([base, over, last]) == before  # no argument is changed


@given(VALUES)
def test_plain_json_stays_as_it_is(value: Any) -> None:
    assert plain(value, "x") == value
    assert json.loads(json.dumps(plain(value, "x"), allow_nan=False)) == value


@given(ANYTHING)
def test_what_is_no_json_is_refused_by_its_path(value: Any) -> None:
    with suppress(Invalid):
        text = json.dumps(plain(value, "x"), allow_nan=False)
        assert json.loads(text) == plain(value, "x")


@given(st.dictionaries(st.sampled_from(Draft.__slots__), ANYTHING | st.text(), max_size=6))
def test_a_draft_is_checked_or_refused_by_field(fields: dict[str, Any]) -> None:
    try:
        made = Draft.from_json(fields)
    except (Invalid, TooLarge):
        return
    assert Draft.from_json(json.loads(json.dumps(made.to_json()))) == made


@given(config=ANYTHING, uri=st.text(max_size=20), priority=ANYTHING, parameters=ANYTHING)
def test_a_launch_of_anything_is_refused_at_worst(
    config: Any, uri: str, priority: Any, parameters: Any
) -> None:
    with suppress(ShipwayError):
        draft(uri=uri, config=config, priority=priority, parameters=parameters)


@given(VALUES, st.dictionaries(st.sampled_from(sorted(MACROS)), st.text() | st.none()))
def test_macros_are_filled_once_and_from_the_facts_only(
    value: Any, facts: dict[str, str | None]
) -> None:
    texts = {"plain": value, "${run_id}": ["${run_id}", "${HOME}", "a${author}${author}b"]}
    filled = fill(texts, facts)
    assert filled["plain"] == value or "${" in json.dumps(value)
    run_id, home, author = filled["${run_id}"]
    assert home == "${HOME}"
    assert run_id == ((facts["run_id"] or "") if "run_id" in facts else "${run_id}")
    known = (facts["author"] or "") if "author" in facts else "${author}"
    assert author == f"a{known}{known}b"  # also where a fact's own text looks like a macro


NICE = st.sampled_from(("a", "b"))
SCHEMAS = st.fixed_dictionaries(
    {"type": st.sampled_from([*VariableType, "boolean"])},
    optional={
        "enum": st.lists(LEAVES, max_size=3), "minimum": LEAVES, "maximum": LEAVES,
        "default": LEAVES,
    },
)  # fmt: skip


@given(
    st.dictionaries(NICE, st.fixed_dictionaries({"schema": SCHEMAS}) | VALUES, max_size=2),
    st.dictionaries(NICE, LEAVES),
)
def test_a_value_that_is_chosen_is_one_that_is_allowed(
    declared: dict[str, Any], given_values: dict[str, Any]
) -> None:
    with suppress(Invalid):
        variables = read_variables(declared)
        chosen = choose_values(variables, given_values, queue="q")
        assert chosen.keys() == declared.keys()
        assert all(variables[name].takes(value) for name, value in chosen.items())


@given(DICTS, st.text(max_size=4), st.integers())
def test_a_config_is_filled_where_it_says_so_and_nowhere_else(
    config: dict[str, Any], text: str, number: int
) -> None:
    assume("{{" not in json.dumps([config, text]))
    assert fill_template(config, {"a": text}) == fixed(config) == config
    assert templated(config, ["a"]) == {}
    layers = {**config, "z": "{{a}}", "y": [text + "-{{b}}"]}
    filled = fill_template(layers, {"a": number, "b": number})
    assert filled == {**config, "z": number, "y": [f"{text}-{number}"]}
    assert templated(layers, ["b"]) == {"y": [text + "-{{b}}"]}


@given(PATHS)
def test_a_path_that_is_taken_stays_below_its_root(path: bytes) -> None:
    try:
        check_path(path)
    except Invalid:
        return
    assert os.path.normpath(b"/tree/" + path) == b"/tree/" + path
    assert b".git" not in path.lower().split(b"/")


@given(st.dictionaries(PATHS, TARGETS, max_size=6), st.lists(PATHS, max_size=4))
@settings(deadline=None)
def test_no_link_that_is_written_leaves_the_tree(
    links: dict[bytes, bytes], files: list[bytes]
) -> None:
    """The kernel's own way of following them is the judge."""
    with TemporaryDirectory() as place:
        root = os.path.realpath(place).encode()
        try:
            with TreeWriter(Path(place), size_limit=100, file_limit=100) as writer:
                for path in files:
                    writer.file(path, Mode.FILE, [b"x"])
                for path, target in links.items():
                    writer.link(path, target)
                writer.finish()
        except (Invalid, OSError):
            pass
        for folder, folders, names in os.walk(root):
            for name in (*folders, *names):
                found = os.path.realpath(os.path.join(folder, name))  # noqa: PTH118 - bytes
                assert found == root or found.startswith(root + b"/"), (links, files)


@given(st.dictionaries(PATHS, TARGETS, min_size=1, max_size=6))
@settings(deadline=None)
def test_links_lead_out_where_the_kernel_says_so(links: dict[bytes, bytes]) -> None:
    for path in links:
        with suppress(Invalid):
            check_path(path)
            continue
        reject()
    assume(not any(b"/".join(p.split(b"/")[:n]) in links for p in links for n in range(1, 5)
                   if n < len(p.split(b"/"))))  # fmt: skip
    with TemporaryDirectory() as place:
        root = os.path.realpath(place).encode() + b"/1/2/3/4/5/6/7"
        for path, target in links.items():
            at = os.path.join(root, path)  # noqa: PTH118 - bytes
            os.makedirs(os.path.dirname(at), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
            with suppress(OSError):
                os.symlink(target, at)  # noqa: PTH211 - bytes
        for path, target in links.items():
            found = os.path.realpath(os.path.join(root, path))  # noqa: PTH118 - bytes
            is_out = not (found + b"/").startswith(root + b"/")
            assert not is_out or leads_out(path, links) or not target


ENTRIES = st.builds(
    lambda path, mode, data: Entry(path=path, mode=mode, size=len(data), digest=digest_of(data)),
    PATHS, st.sampled_from(Mode), st.binary(min_size=1, max_size=9),
)  # fmt: skip


@given(st.lists(ENTRIES, max_size=5), st.binary(max_size=6), st.integers(0, 400))
def test_a_manifest_has_one_form_only(entries: list[Entry], junk: bytes, at: int) -> None:
    try:
        text = encode(entries)
    except Invalid:
        return
    assert decode(text) == tuple(sorted(entries, key=lambda entry: entry.path))
    changed = text[:at] + junk + text[at + len(junk) :]
    with suppress(Invalid):
        assert encode(decode(changed)) == changed


@given(st.lists(st.binary(max_size=50), max_size=5), st.binary(max_size=60), st.integers(0, 200))
def test_a_pack_comes_back_or_is_refused(blobs: list[bytes], junk: bytes, at: int) -> None:
    named = [(digest_of(blob), blob) for blob in blobs]
    text = encode_pack(named)
    assert list(decode_pack(text)) == named
    with suppress(Invalid):
        assert sum(36 + len(blob) for _, blob in decode_pack(text[:at] + junk)) == len(
            text[:at] + junk
        )


MARKS = st.sampled_from((
    "a", "B", "é", "-", ".", "..", "/", "@", "@{", "~", "^", ":", "?", "*", "[", "\\", " ",
    "\x7f", "\t", ".lock", "refs/heads/", "main", "\u202e",
))  # fmt: skip
REFS = st.lists(MARKS, max_size=6).map("".join) | st.text(max_size=10)


@given(REFS)
@settings(deadline=None)
def test_a_ref_that_is_taken_is_one_of_git_s(ref: str) -> None:
    try:
        check_ref(ref)
    except Invalid:
        return
    assert not ref.startswith("-")
    argv = ["git", "check-ref-format", f"refs/heads/{ref}"]
    assert subprocess.run(argv, check=False).returncode == 0


@given(REFS | PATHS.map(os.fsdecode))
def test_a_directory_that_is_taken_stays_below_its_root(text: str) -> None:
    try:
        found = check_subdirectory(text)
    except Invalid:
        return
    assert not found.startswith(("/", "-"))
    assert os.path.normpath(f"/tree/{found}").startswith("/tree")
    assert check_subdirectory(found) == found


SCHEMES = st.sampled_from(("https://", "ssh://", "http://", "git://", "file://", "ext::", "//", "",
                           "HTTPS://", "ssh+git://", "https:", "https:/"))  # fmt: skip
USERS = st.sampled_from(("", "git@", f"ann:{SECRET}@", f"{SECRET}@", f":{SECRET}@", "a@b@",
                         f"ann:{SECRET}@b@", f"ann%3A{SECRET}@", "-oProxyCommand=x@"))  # fmt: skip
HOSTS = st.sampled_from(("host", "host.example.org", "[::1]", "[::1", "-host", "host:22", "host:",
                         "host:0", "host:99999", "h ost", "", "\uff48ost", "host:x"))  # fmt: skip
ENDS = st.sampled_from((
    "/a/b.git", ":a/b.git", "", "/", "/-x", ":-x", "/a?x=1", "/a#subdirectory=d", "/a#x",
    "/a#subdirectory=../..", "/%2e%2e", "/a\\b", "/a b",
))  # fmt: skip
ADDRESSES = st.tuples(SCHEMES, USERS, HOSTS, ENDS).map("".join)


@given(ADDRESSES | st.text(max_size=30))
@settings(max_examples=400)
def test_an_address_is_taken_whole_or_refused(text: str) -> None:
    is_remote(text)
    without_credentials(text)
    try:
        found = parse_git_address(text)
    except Invalid:
        return
    assert found.protocol in {"https", "ssh"}
    assert not found.host.startswith("-")
    assert not found.url.startswith("-")
    assert parse_git_address(found.url).url == found.url
    if found.protocol != "ssh":
        assert f":{SECRET}@" not in found.url


FORMS = st.sampled_from(("https://", "ssh://", "http://", "HTTPS://", "ssh+git://", "ext::", "a::"))


@given(FORMS, st.sampled_from((f"ann:{SECRET}@", f":{SECRET}@")), HOSTS, ENDS)
@settings(max_examples=400)
def test_no_refusal_shows_a_password(scheme: str, user: str, host: str, end: str) -> None:
    text = scheme + user + host + end
    assert SECRET not in redact(text)
    assert SECRET not in without_credentials(text)
    refusal = ""
    try:
        parse_git_address(text)
    except Invalid as error:
        refusal = f"{error.message} {error.details}"
    assert SECRET not in refusal


@given(ADDRESSES, st.lists(st.sampled_from(("..", ".", "a", "")), max_size=4).map("/".join))
def test_a_submodule_s_address_is_taken_whole_or_refused(base: str, relative: str) -> None:
    with suppress(Invalid):
        parse_git_address(join_address(base, f"./{relative}"))
