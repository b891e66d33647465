"""A uri is a directory, a run of the configured server, or a git address."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.git_address import GitAddress
from shipway.sdk.uri import DirectoryAddress, RunAddress, classify

BASE = "http://127.0.0.1:8123"
RUN = RunAddress(entity="me", project="my project", run_id="abc123")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_directory_comes_first(here: Path) -> None:
    for name in ("code", "me/p/runs/x", "host:path", "a#subdirectory=b"):
        (here / name).mkdir(parents=True)
        assert classify(name, BASE) == DirectoryAddress(path=Path(name))
    assert classify(f"file://{here}/code") == DirectoryAddress(path=here / "code")
    assert classify(f"file://localhost{here}/code#subdirectory=.") == DirectoryAddress(
        path=here / "code"
    )


def test_a_run_of_this_server_is_known(here: Path) -> None:
    for uri in (
        f"{BASE}/me/my%20project/runs/abc123",
        f"{BASE}/me/my project/runs/abc123/?x=1",
        "me/my project/runs/abc123",
        "/me/my project/runs/abc123",
    ):
        assert classify(uri, BASE + "/") == RUN
    with pytest.raises(Invalid, match="only ENTITY/PROJECT/runs/ID"):
        classify(f"{BASE}/queues/x", BASE)


def test_git_addresses_are_known(here: Path) -> None:
    found = classify("git@example.com:a/b#subdirectory=c")
    assert isinstance(found, GitAddress)
    assert found.subdirectory == "c"
    assert isinstance(classify("https://example.com/me/p/runs/x", BASE), GitAddress)
    with pytest.raises(Invalid, match="not allowed"):
        classify("http://127.0.0.1:1/a")
    assert isinstance(classify("http://127.0.0.1:1/a", protocols=("http",)), GitAddress)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "  ",
        "-x",
        "--upload-pack=x",
        "nope",
        "./nope",
        "/nope/nope",
        "~/no-such-directory",
        "file:///nope",
        "file://elsewhere/etc",
        "ext::sh -c id",
        "a\x00b",
        "x" * 5000,
    ],
)
def test_nonsense_is_refused_by_name(here: Path, uri: str) -> None:
    with pytest.raises(Invalid) as caught:
        classify(uri, BASE)
    assert caught.value.details["field"] == "uri"


def test_a_file_is_refused_with_what_to_do(here: Path) -> None:
    (here / "train.py").write_text("")
    with pytest.raises(Invalid, match=r"entry_point=\['train.py'\]"):
        classify("train.py")
