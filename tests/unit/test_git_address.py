"""Git addresses and refs are checked before git sees them."""

from __future__ import annotations

import pytest

from shipway.domain.entry_point import candidates, missing_script, scripts_of
from shipway.domain.errors import Invalid
from shipway.domain.git_address import (
    check_ref,
    check_subdirectory,
    is_commit,
    is_remote,
    is_short_commit,
    join_address,
    parse_git_address,
    redact,
    without_credentials,
)


@pytest.mark.parametrize(
    ("text", "protocol", "host", "subdirectory"),
    [
        ("https://example.com/a/b.git", "https", "example.com", ""),
        ("HTTPS://Example.com:8443/a", "https", "example.com", ""),
        ("https://example.com/a/b#subdirectory=x/y/", "https", "example.com", "x/y"),
        ("https://me@dev.example.com/a/_git/b", "https", "dev.example.com", ""),
        ("ssh://git@example.com:22/a/b", "ssh", "example.com", ""),
        ("ssh://git@[::1]:22/a", "ssh", "::1", ""),
        ("git@example.com:a/b.git", "ssh", "example.com", ""),
        ("example.com:a/b.git#subdirectory=c", "ssh", "example.com", "c"),
        ("git@[::1]:a", "ssh", "::1", ""),
    ],
)
def test_the_usual_forms_are_read(text: str, protocol: str, host: str, subdirectory: str) -> None:
    address = parse_git_address(text)
    assert (address.protocol, address.host, address.subdirectory) == (protocol, host, subdirectory)
    assert "#" not in address.url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=id",
        "--upload-pack=id",
        "ext::sh -c id",
        "ext::id",
        "fd::17",
        "file:///etc",
        "http://example.com/a",
        "git://example.com/a",
        "ftp://example.com/a",
        "git+ssh://example.com/a",
        "ssh://-oProxyCommand=id/a",
        "ssh://-x@example.com/a",
        "ssh://example.com:0/a",
        "ssh://example.com:99999/a",
        "-oProxyCommand=id:a",
        "x@-oProxyCommand=id:a",
        "git@example.com:-a",
        "git@example.com:",
        "https://example.com",
        "https://example.com/",
        "https:///a",
        "https://exa mple.com/a",
        "https://example.com/a\nb",
        "https://example.com/a\x00b",
        "https://example.com\\@evil/a",
        "https://example.com/a?x=y",
        "https://example.com/a#subdirectory=../x",
        "https://example.com/a#subdirectory=/x",
        "https://example.com/a#main",
        "https://u:secret@example.com/a",
        "https://ghp_0123456789@example.com/a",
        "https://example.com/" + "a" * 3000,
        "just/a/path",
        "::1:a",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_git_address(text)
    assert "secret" not in str(caught.value)
    assert "ghp_" not in str(caught.value)


def test_a_policy_may_allow_another_protocol() -> None:
    assert parse_git_address("http://127.0.0.1:8/a", protocols=("http",)).protocol == "http"
    with pytest.raises(Invalid, match="'ssh' is not allowed"):
        parse_git_address("git@example.com:a", protocols=("https",))


@pytest.mark.parametrize("ref", ["main", "v1.0", "refs/heads/a/b", "feature/x-y_z", "0" * 40, "ü"])
def test_refs_that_git_has_are_taken(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-main",
        "--upload-pack=id",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a@{1}",
        "@",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a.",
        "a\n",
        "a\x7f",
        "a" * 300,
    ],
)
def test_refs_that_git_would_not_have_are_refused(ref: str) -> None:
    with pytest.raises(Invalid):
        check_ref(ref)


def test_a_directory_stays_below_the_root() -> None:
    assert check_subdirectory("./a//b/") == "a/b"
    assert check_subdirectory("") == ""
    for text in ("..", "a/../..", "/a", "-a", "a\\b", "a/.git", "a\n"):
        with pytest.raises(Invalid):
            check_subdirectory(text)


def test_no_address_that_is_shown_has_a_password() -> None:
    assert without_credentials("https://u:p@example.com/a?x#y") == "https://example.com/a"
    assert without_credentials("https://token@example.com/a") == "https://example.com/a"
    assert without_credentials("ssh://git@example.com/a") == "ssh://git@example.com/a"
    assert without_credentials("ssh://git:p@example.com/a") == "ssh://example.com/a"
    assert without_credentials("git@example.com:a") == "git@example.com:a"
    assert redact("fatal: https://u:p@example.com/a not found") == (
        "fatal: https://***@example.com/a not found"
    )


@pytest.mark.parametrize(
    ("base", "relative", "joined"),
    [
        ("https://example.com/a/b", "../c", "https://example.com/a/c"),
        ("https://example.com/a/b.git/", "./c", "https://example.com/a/b.git/c"),
        ("https://example.com/a", "../../../../c", "https://example.com/c"),
        ("git@example.com:a/b", "../c", "git@example.com:a/c"),
        ("https://example.com/a", "ext::id", "ext::id"),
        ("https://example.com/a", "ssh://x/y", "ssh://x/y"),
    ],
)
def test_a_submodule_s_address_may_be_relative(base: str, relative: str, joined: str) -> None:
    assert join_address(base, relative) == joined


def test_what_looks_remote_is_told_from_paths() -> None:
    for text in ("https://x/y", "s://x", "ext::id", "git@x:y", "host:y"):
        assert is_remote(text)
    for text in ("a/b", "./a:b", "/a:b", "C:\\a", "main.py"):
        assert not is_remote(text)


def test_scripts_of_an_entry_point_must_be_in_the_tree() -> None:
    modes = {b"a/b/train.py": "100644", b"run.sh": "100755", b"lib": "160000", b"l": "120000"}
    assert missing_script(["train.py"], "a/b", modes) is None
    assert missing_script(["python", "run.sh"], "a/b", modes) is None  # found above
    assert missing_script(["torchrun", "--x=y.py", "/abs/z.py"], "", modes) is None
    assert missing_script(["train.py"], "", modes) == "train.py"
    assert missing_script(["b/train.py"], "a", modes) is None
    assert missing_script(["../run.sh"], "a/b", modes) is None
    assert missing_script(["../../../run.sh"], "a", modes) == "../../../run.sh"
    assert missing_script(["lib/x.py"], "", modes) is None  # a submodule: cannot be seen
    assert missing_script(["l/x.py"], "", modes) is None
    assert missing_script(["lib/a/b/x.py"], "", modes) is None
    assert missing_script(["\udcff.py"], "", {b"\xff.py": "100644"}) is None
    assert missing_script(["run.sh/x.py"], "", modes) == "run.sh/x.py"
    assert missing_script(["a/b/train.py/x.py"], "", modes) == "a/b/train.py/x.py"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an address has 1 to 2048 characters"),
        ("https://a/" + "b" * 2039, "an address has 1 to 2048 characters"),
        ("-x", "an address cannot begin with '-'"),
        ("https://a/b c", "an address has no spaces, backslashes or control characters"),
        ("https://a/b\\c", "an address has no spaces, backslashes or control characters"),
        ("https://a/b#main", "'#main' is unknown: only '#subdirectory=DIR' may follow"),
        ("https://a/b#subdirectory=", "'#subdirectory=' is unknown: only"),
        ("ext::x", r"the protocol 'ext' is not allowed \(allowed: https, ssh\)"),
        ("FTP://a/b", "the protocol 'ftp' is not allowed"),
        ("https://-a/b", "its host is not a host's name"),
        ("https://a:0/b", "its host is not a host's name"),
        ("https://a:99999/b", "Port out of range"),
        ("ssh://a!b@c/d", "its user is not a user's name"),
        ("https://a", "it names no repository"),
        ("https://a/-b", "it names no repository"),
        ("https://a/b?c", "it names no repository"),
        ("just/a/path", "give https://HOST/PATH, ssh://HOST/PATH or USER@HOST:PATH"),
        ("a!@b:c", "its user or host is none"),
        ("a@-b:c", "its user or host is none"),
        ("a@b:/", "it names no repository"),
        ("a@b:-c", "it names no repository"),
    ],
)
def test_a_refusal_says_why(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=f"is refused: {words}") as caught:
        parse_git_address(text)
    assert caught.value.details["field"] == "uri"


@pytest.mark.parametrize(
    "text",
    [
        "https://u:secret@example.com/a",
        "ssh://u:secret@example.com/a",
        "https://ghp_secret0@example.com/a",
        "https://github_pat_secret@example.com/a",
        "https://glpat-secret@example.com/a",
        "https://x-access-token@example.com/a",
        "https://oauth2@example.com/a",
        "https://" + "s" * 30 + "@example.com/a",
    ],
)
def test_a_password_or_a_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Invalid, match="given with a password or token in it: leave it") as caught:
        parse_git_address(text)
    assert caught.value.details["field"] == "uri"
    said = str(caught.value) + str(caught.value.details)
    assert "secret" not in said
    assert "s" * 30 not in said


def test_a_user_of_ssh_may_look_like_a_token_and_a_file_has_no_host() -> None:
    assert parse_git_address("ssh://oauth2@example.com/a").host == "example.com"
    assert parse_git_address("https://me@example.com/a").host == "example.com"
    made = parse_git_address("file:///a/b#subdirectory=c", protocols=("file",))
    assert (made.protocol, made.host, made.url, made.subdirectory) == (
        "file", "", "file:///a/b", "c",
    )  # fmt: skip
    longest = "https://a/" + "b" * 2038
    assert parse_git_address(longest).url == longest


def test_a_bad_ref_or_directory_is_named_by_its_field() -> None:
    assert check_ref("r" * 255) == "r" * 255
    with pytest.raises(Invalid, match=f"version '{'r' * 80}' is not the name of") as caught:
        check_ref("r" * 256)
    assert caught.value.details["field"] == "version"
    with pytest.raises(Invalid) as caught:
        check_ref("a..b", field="source.ref")
    assert caught.value.details == {"field": "source.ref", "value": "a..b"}
    for text, words in (
        ("..", "is not a directory below the source's root"),
        ("a/.Git", "cannot be used"),
        ("a" * 2049, "cannot be used"),
    ):
        with pytest.raises(Invalid, match=words) as caught:
            check_subdirectory(text)
        assert caught.value.details["field"] == "subdirectory"
    assert check_subdirectory("a" * 2048) == "a" * 2048


@pytest.mark.parametrize(
    ("text", "is_whole", "is_short"),
    [
        ("a" * 40, True, False),
        ("0" * 64, True, False),
        ("a" * 39, False, True),
        ("abcd", False, True),
        ("abc", False, False),
        ("A" * 40, False, False),
        ("g" * 40, False, False),
        ("a" * 41, False, False),
        ("a" * 40 + "\n", False, False),
    ],
)
def test_a_commit_is_told_from_its_beginning(text: str, is_whole: bool, is_short: bool) -> None:
    assert (is_commit(text), is_short_commit(text)) == (is_whole, is_short)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ext::https://u:p@example.com/a", "ext::https://example.com/a"),
        ("https://[bad/u:p@x", "https://[bad/u:p@x"),
        ("https://u:p@[bad", "https://[bad"),
        ("ssh://example.com/a", "ssh://example.com/a"),
    ],
)
def test_what_is_no_address_is_shown_without_its_password_too(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


@pytest.mark.parametrize(
    ("base", "relative", "joined"),
    [
        ("https://example.com", "../c", "https://example.com/c"),
        ("example.com:a/b", "./c", "example.com:a/b/c"),
        ("git@example.com:a", "../../c", "git@example.com:c"),
        ("file:///a/b", "../c", "file:///a/c"),
    ],
)
def test_a_relative_address_may_begin_anywhere(base: str, relative: str, joined: str) -> None:
    assert join_address(base, relative) == joined


@pytest.mark.parametrize(
    ("script", "folder", "places"),
    [
        ("x.py", "", ["x.py"]),
        ("x.py", "a/b", ["a/b/x.py", "a/x.py", "x.py"]),
        ("../x.py", "a/b", ["a/x.py", "x.py"]),
        ("../../x.py", "a", []),
    ],
)
def test_a_script_is_looked_for_from_its_folder_up(
    script: str, folder: str, places: list[str]
) -> None:
    assert list(candidates(script, folder)) == places


def test_scripts_are_words_with_their_endings() -> None:
    words = ["python", "a.py", "-x.py", "/b.py", "~/c.sh", "d.sh", "--e=f.py", "g.pyc"]
    assert scripts_of(words) == ["a.py", "d.sh"]
