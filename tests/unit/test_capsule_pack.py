"""What packing a plain directory carries, and what it refuses."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from shipway.domain.capsule import Limits, Mode, decode, digest_of
from shipway.domain.errors import Conflict, Invalid
from shipway.sdk.capsule import Capsule, pack, upload
from shipway.sdk.secret_files import looks_secret


class Blobs:
    """A server's blobs."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.calls: list[list[str]] = []

    def missing(self, digests: Sequence[str]) -> list[str]:
        return [digest for digest in digests if digest not in self.stored]

    def put_many(self, blobs: Mapping[str, bytes]) -> None:
        for digest, data in blobs.items():
            assert digest_of(data) == digest
        self.calls.append(list(blobs))
        self.stored |= blobs


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "main.py").write_text("print('hi')\n")
    return folder


def packed(folder: Path, *include: str, limits: Limits | None = None) -> Capsule:
    environ = {"PATH": os.environ["PATH"], "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    return pack(folder, include=include, environ=environ, limits=limits or Limits())


def paths(capsule: Capsule) -> set[str]:
    return {os.fsdecode(entry.path) for entry in capsule.entries}


def test_a_directory_is_carried_as_it_is_on_disk(code: Path) -> None:
    (code / "run.sh").write_bytes(b"\r\n\xff")
    (code / "run.sh").chmod(0o755)
    (code / "link").symlink_to("main.py")
    (code / "sub").mkdir()
    Path(os.fsdecode(os.fsencode(code / "sub") + b"/\xff\xc3")).write_bytes(b"")
    capsule = packed(code)
    modes = {entry.path: entry.mode for entry in decode(capsule.manifest)}
    assert modes == {
        b"link": Mode.LINK,
        b"main.py": Mode.FILE,
        b"run.sh": Mode.EXECUTABLE,
        b"sub/\xff\xc3": Mode.FILE,
    }
    assert capsule.digest == digest_of(capsule.manifest)
    assert capsule.source()["files"] == 4
    assert capsule.git is None


def test_ignored_files_stay_at_home(code: Path) -> None:
    (code / ".gitignore").write_text("*.log\n")
    (code / ".shipwayignore").write_text("data/\n!keep.log\n")
    for name in ("a.log", "keep.log", "data/x", ".git/config", "__pycache__/m.pyc", "v/pyvenv.cfg"):
        (code / name).parent.mkdir(exist_ok=True)
        (code / name).write_text("x")
    assert paths(packed(code)) == {".gitignore", ".shipwayignore", "main.py", "keep.log"}
    assert paths(packed(code, "data", "a.log")) >= {"data/x", "a.log"}


def test_a_40_gb_file_is_refused_at_once_without_reading_it(code: Path) -> None:
    (code / "data").mkdir()
    with (code / "data" / "big.bin").open("wb") as file:
        file.truncate(40 << 30)
    started = time.process_time()
    with pytest.raises(Invalid) as caught:
        packed(code)
    assert time.process_time() - started < 0.2
    assert "42.9 GB" in str(caught.value)
    assert "data/big.bin" in str(caught.value)
    assert caught.value.details["add"] == "/data/"
    (code / ".shipwayignore").write_text(caught.value.details["add"])
    assert paths(packed(code)) == {".shipwayignore", "main.py"}


def test_too_many_files_name_the_folder_to_leave_out(code: Path) -> None:
    (code / "many").mkdir()
    for at in range(30):
        (code / "many" / str(at)).write_text("")
    with pytest.raises(Invalid, match="31 files, over the limit of 20") as caught:
        packed(code, limits=Limits(files=20))
    assert caught.value.details["add"] == "/many/"
    assert len(caught.value.details["largest"]) == 10


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", ""),
        ("config/.env.production", ""),
        ("id_rsa", ""),
        ("server.key", ""),
        ("tls.pem", "-----BEGIN RSA PRIVATE KEY-----"),
        ("credentials.json", "{}"),
        (".netrc", "machine x"),
        (".npmrc", "//r/:_authToken=x"),
        (".pypirc", "[x]\npassword = y"),
        ("sa.json", '{"type": "service_account", "private_key": "-"}'),
        ("notes.txt", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ("settings.ini", "aws_secret_access_key = " + "A" * 40),
        (".aws/credentials", ""),
        ("kubeconfig", ""),
        (".kube/config", ""),
    ],
)
def test_what_looks_like_a_secret_stops_the_call(code: Path, name: str, text: str) -> None:
    (code / name).parent.mkdir(exist_ok=True)
    (code / name).write_text(text)
    with pytest.raises(Invalid) as caught:
        packed(code)
    assert name in str(caught.value)
    assert f"/{name}" in str(caught.value)
    assert f'include=["{name}"]' in str(caught.value)
    assert name in paths(packed(code, name))
    (code / ".shipwayignore").write_text(caught.value.details["add"][0] + "\n")
    assert name not in paths(packed(code))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b".env.example", b""),
        (b"id_rsa.pub", b""),
        (b"ca.pem", b"-----BEGIN CERTIFICATE-----"),
        (b".npmrc", b"save-exact=true"),
        (b".pypirc", b"[distutils]"),
        (b"environment.py", b""),
        (b"config.json", b"{}"),
        (b"keys.py", b"x"),
        (b"monkey", b""),
    ],
)
def test_what_only_sounds_like_a_secret_passes(name: bytes, text: bytes) -> None:
    assert not looks_secret(name, text)


def test_a_link_out_of_the_tree_is_refused_by_name(code: Path) -> None:
    (code / "data").symlink_to("/mnt/data")
    with pytest.raises(Invalid, match="data -> /mnt/data") as caught:
        packed(code)
    assert caught.value.details["add"] == ["/data"]


def test_pipes_and_sockets_are_no_files(code: Path) -> None:
    os.mkfifo(code / "pipe")
    assert paths(packed(code)) == {"main.py"}


def test_a_missing_include_or_directory_is_refused(code: Path) -> None:
    with pytest.raises(Invalid, match="include 'nope'"):
        packed(code, "nope")
    with pytest.raises(Invalid, match="include"):
        packed(code, "/etc/passwd")
    with pytest.raises(Invalid, match="no directory"):
        packed(code / "nope")
    with pytest.raises(Invalid, match="needs a git repository"):
        pack(code, version="v1", environ={"PATH": os.environ["PATH"]})


def test_nothing_to_send_is_an_error(code: Path) -> None:
    (code / "main.py").unlink()
    with pytest.raises(Invalid, match="nothing to send"):
        packed(code)


class Restless(Limits):
    """Limits during whose check a file changes: between listing and reading."""

    touched: Path

    def __getattribute__(self, name: str) -> object:
        if name == "files":
            Restless.touched.write_text(str(time.monotonic_ns()))
        return super().__getattribute__(name)


def test_a_file_that_keeps_changing_is_told(code: Path) -> None:
    Restless.touched = code / "main.py"
    with pytest.raises(Conflict, match=r"main\.py"):
        packed(code, limits=Restless())


def test_an_entry_point_that_is_not_there_is_refused(code: Path) -> None:
    capsule = packed(code)
    capsule.check_entry_point(["python", "main.py", "--x=other.py"])
    with pytest.raises(Invalid, match=r"train\.py"):
        capsule.check_entry_point(["train.py"])


def test_only_what_the_server_lacks_is_uploaded_and_the_manifest_last(code: Path) -> None:
    (code / "copy.py").write_text("print('hi')\n")
    (code / "big").write_bytes(os.urandom(2 << 20))
    blobs, capsule = Blobs(), packed(code)
    assert upload(capsule, blobs) == capsule.size - 12 + len(capsule.manifest)
    assert blobs.calls[-1] == [capsule.digest]
    assert upload(capsule, blobs) == 0
    (code / "main.py").write_text("2")
    after = packed(code)
    assert upload(after, blobs) == 1 + len(after.manifest)


def test_a_file_that_changed_after_packing_is_not_uploaded(code: Path) -> None:
    (code / "big").write_bytes(os.urandom(2 << 20))
    capsule = packed(code)
    (code / "big").write_bytes(os.urandom(2 << 20))
    with pytest.raises(Conflict, match="changed after it was packed"):
        upload(capsule, Blobs())
