"""Bad input gets a clear error that names the field, before anything is stored."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shipway import Api, LaunchError, launch_add
from shipway.testing.git_server import GitServer
from tests.support.embedded import Embedded, embedded, git
from tests.support.shell import shell_of

WAIT_S = 120.0
AWAY_LIMIT_S = 45.0  # until a server that is away has been given up
DISK = 400 << 20  # bytes of the small disk; 256 MiB of it are kept for the database

# What each bad launch is, by name: arguments, and the error's code, field and words. SOURCE is a
# directory, GIT a repository's address, SERVER a git server's.
Case = tuple[Mapping[str, Any], str, str, tuple[str, ...]]
SOURCES: Mapping[str, Case] = {
    "no source": ({}, "invalid", "uri", ("exactly one of uri, job and docker_image", "none")),
    "two sources": (
        {"uri": "SOURCE", "job": "ann/demo/train:latest"},
        "invalid", "uri", ("exactly one of", "uri and job"),
    ),
    "a second source in config": (
        {"job": "ann/demo/train:latest", "config": {"docker": {"docker_image": "alpine"}}},
        "invalid", "uri", ("exactly one of", "job and docker_image"),
    ),
    "no such job": ({"job": "ann/demo/none:v3"}, "not_found", "job", ("ann/demo/none:v3",)),
    "no job's address": ({"job": "train"}, "invalid", "job", ("'train'", "entity/project/name:")),
    "no such branch": ({"uri": "GIT", "version": "nope"}, "invalid", "version", ("'nope'", "GIT")),
    "no such commit": (
        {"uri": "GIT", "version": "f" * 40}, "invalid", "version", ("f" * 40, "GIT")
    ),
    "no such commit here": (
        {"uri": "SOURCE", "version": "nope"}, "invalid", "version", ("'nope'", "SOURCE")
    ),
    "no such repository": (
        {"uri": "SERVER/none/.git"}, "invalid", "uri", ("SERVER/none/.git", "not found")
    ),
    "no such directory": (
        {"uri": "/no/such/place"}, "invalid", "uri", ("'/no/such/place'", "no such directory")
    ),
    "no such directory in git": (
        {"uri": "GIT#subdirectory=none"}, "invalid", "uri", ("no directory 'none'", "GIT")
    ),
    "a file": ({"uri": "SOURCE/main.py"}, "invalid", "uri", ("not a directory", "entry_point=[")),
    "a ref like an option": (
        {"uri": "GIT", "version": "--upload-pack=touch pwned"},
        "invalid", "version", ("'--upload-pack=touch pwned'", "begin with '-'"),
    ),
    "a local ref like an option": (
        {"uri": "SOURCE", "version": "-x"}, "invalid", "version", ("'-x'", "begin with '-'")
    ),
    "an address like an option": (
        {"uri": "--upload-pack=touch pwned"}, "invalid", "uri", ("begin with '-'",)
    ),
    "a host like an option": ({"uri": "ssh://-oProxyCommand=pwned/x"}, "invalid", "uri", ()),
    "an scp host like an option": ({"uri": "git@-oProxyCommand=pwned:x"}, "invalid", "uri", ()),
}  # fmt: skip
VALUES: Mapping[str, Case] = {
    "no such entry point": (
        {"entry_point": ["nope.py"]}, "invalid", "entry_point", ("'nope.py'", "not in the source")
    ),
    "no such entry point in git": (
        {"uri": "GIT", "entry_point": ["nope.py"]}, "invalid", "entry_point", ("'nope.py'", "GIT")
    ),
    "an entry point that is text": (
        {"entry_point": "main.py"}, "invalid", "entry_point", ("a list of strings, not str",)
    ),
    "an entry point with a number": (
        {"entry_point": ["main.py", 3]}, "invalid", "entry_point[1]", ("[1] is 3", "int")
    ),
    "args with a number": (
        {"config": {"overrides": {"args": ["--n", 1]}}},
        "invalid", "overrides.args[1]", ("a list of strings", "[1] is 1"),
    ),
    "args that are text": (
        {"config": {"overrides": {"args": "--n 1"}}},
        "invalid", "overrides.args", ("a list of strings, not str",),
    ),
    "priority 4": ({"priority": 4}, "invalid", "priority", ("4", "0 critical", "3 low")),
    "priority -1": ({"priority": -1}, "invalid", "priority", ("-1", "0 critical")),
    "priority urgent": ({"priority": "urgent"}, "invalid", "priority", ("'urgent'", "2 medium")),
    "priority True": ({"priority": True}, "invalid", "priority", ("True", "1 high")),
    "no such queue": (
        {"queue_name": "nope"}, "not_found", "queue_name", ("'nope'", "there are: default")
    ),
    "no such resource": (
        {"resource": "mainframe"}, "invalid", "resource", ("'mainframe'", "local-process")
    ),
    "an unknown resource argument": (
        {"resource_args": {"local-process": {"grace": 3}}},
        "invalid", "resource_args.local-process.grace", ("'grace'", "grace_s"),
    ),
    "a resource argument of a wrong type": (
        {"resource_args": {"local-process": {"env": {"A": ["x"]}}}},
        "invalid", "resource_args.local-process.env.A", ("['x']", "string"),
    ),
    "arguments of no resource": (
        {"resource_args": {"localprocess": {}}},
        "invalid", "resource_args.localprocess", ("'localprocess'", "local-process"),
    ),
    "a 10 MB config": (
        {"config": {"weights": "x" * (10 << 20)}},
        "too_large", "run_config", ("10,48", "1,048,576", "files of the source"),
    ),
    "a mistyped key of config": (
        {"config": {"resource_arg": {}}}, "invalid", "config.resource_arg", ("'resource_args'?",)
    ),
    "a template variable that the queue does not have": (
        {"template_variables": {"gpus": 1}}, "invalid", "template_variables.gpus",
        ("queue 'default' has no template variable 'gpus'",)
    ),
    "a spec key of a wrong type": (
        {"config": {"resource": 3}}, "invalid", "config.resource", ("overrides.run_config",)
    ),
}  # fmt: skip
NOT_YET: Mapping[str, Mapping[str, Any]] = {
    "dry_run": {"dry_run": True},
    "queue_name": {"queue_name": ["a", "b"]},
}


@dataclass(frozen=True)
class Bench:
    """A running shipway, and something to launch."""

    shipway: Embedded
    source: Path
    server: str

    def filled(self, value: Any) -> Any:
        """Return a value with its SOURCE, GIT and SERVER filled in."""
        if not isinstance(value, str):
            return value
        git = f"{self.server}/work/.git"
        for word, text in (("SOURCE", self.source), ("GIT", git), ("SERVER", self.server)):
            value = value.replace(word, str(text))
        return value

    def stored(self) -> tuple[int, int, set[str]]:
        """Return how many items and runs there are, and the blobs."""
        blobs = (self.shipway.home / "data" / "blobs").rglob("*")
        return (
            sum(1 for _ in Api().items()),
            sum(1 for _ in Api().runs()),
            {path.name for path in blobs if path.is_file()},
        )


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with embedded(SHIPWAY_GIT_PROTOCOLS="https,ssh,http") as made, shell_of(made.env):
        made.configure_agent(git_protocols=["https", "ssh", "http"], resources=["local-process"])
        made.up()
        source = made.root / "served" / "work"
        source.mkdir(parents=True)
        (source / "main.py").write_text("print('hello')\n")
        git(source, "init", "-q", "-b", "main")
        git(source, "add", ".")
        git(source, "commit", "-q", "-m", "First")
        with GitServer(source.parent).running() as server:
            yield Bench(made, source, server.url)


def refused(arguments: Mapping[str, Any]) -> LaunchError:
    """Return the error that a launch ends with."""
    with pytest.raises(LaunchError) as caught:
        launch_add(**arguments)
    return caught.value


@pytest.mark.parametrize("name", [*SOURCES, *VALUES])
def test_bad_input_is_refused_by_field_and_nothing_is_stored(bench: Bench, name: str) -> None:
    arguments, code, field, words = {**SOURCES, **VALUES}[name]
    if name in VALUES:
        arguments = {"uri": "SOURCE", **arguments}
    before = bench.stored()
    error = refused({key: bench.filled(value) for key, value in arguments.items()})
    assert (error.code, error.details["field"]) == (code, field)
    assert [word for word in words if bench.filled(word) not in str(error)] == [], str(error)
    assert len(str(error)) < 600, "one sentence"
    assert bench.stored() == before


@pytest.mark.parametrize("name", NOT_YET)
def test_what_this_release_lacks_is_refused_by_name(bench: Bench, name: str) -> None:
    before = bench.stored()
    error = refused({"uri": bench.source, **NOT_YET[name]})
    assert (error.code, error.details["field"]) == ("not_available", name)
    assert "not available in this release" in str(error)
    assert bench.stored() == before


@pytest.mark.slow
def test_a_lock_that_does_not_resolve_fails_at_build_in_the_resolver_s_words(
    bench: Bench, tmp_path: Path
) -> None:
    """Earns: a person reads why, where they wait, and needs no agent's log."""
    (tmp_path / "main.py").write_text("print('never')\n")
    (tmp_path / "requirements.txt").write_text("six==1.16.0\nsix==1.17.0\n")
    item = launch_add(uri=tmp_path)
    with pytest.raises(LaunchError) as failed:
        item.wait_until_finished(timeout=WAIT_S)
    assert (failed.value.code, failed.value.stage) == ("failed", "build")
    words = "you require six==1.16.0 and six==1.17.0"
    assert words in " ".join(str(failed.value).split())
    assert item.error is not None
    assert (item.error.stage, item.state) == ("build", "failed")
    log = " ".join(" ".join(str(line).split()) for line in item.logs(name="build"))
    assert words in log
    assert list(item.logs()) == [], "no program ran"


def test_an_image_waits_and_explain_says_what_it_waits_for(bench: Bench) -> None:
    item = launch_add(docker_image="registry.example.com/team/train:1")
    said = str(item.explain())
    assert "local-container" in said
    assert "no agent" in said.lower()
    assert item.state == "pending"
    with pytest.raises(TimeoutError, match="pending"):
        item.wait_until_started(timeout=0.2)
    item.cancel()
    with pytest.raises(LaunchError) as stopped:
        item.wait_until_finished(timeout=WAIT_S)
    assert stopped.value.code == "stopped"


@pytest.mark.slow
def test_a_server_that_is_away_is_tried_again_and_then_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earns: a restart goes unseen, and no call hangs on a server that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("SHIPWAY_BASE_URL", address)
    monkeypatch.setenv("SHIPWAY_API_KEY", "sw_ann-" + "0" * 40)
    began = time.monotonic()
    error = refused({"uri": bench.source})
    took = time.monotonic() - began
    assert (error.code, error.details["address"]) == ("unreachable", address)
    assert address in str(error)
    assert error.details["tries"] > 1
    assert took < AWAY_LIMIT_S


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a disk of a few megabytes, until the block ends."""
    place.mkdir(mode=0o700)
    options = f"size={DISK},mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "shipway-test", str(place)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        assert os.environ.get("CI") != "true", done.stderr
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(file: Path) -> None:
    """Take what is left of a disk, to the last byte."""
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    out.write(b"\0" * size)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_takes_nothing_says_so_and_recovers() -> None:
    """Earns: I19's plain half, on a real full disk: no false ack, no corruption, no restart."""
    with embedded() as shipway, small_disk(shipway.home), shell_of(shipway.env):
        source = shipway.root / "source"
        source.mkdir()
        (source / "main.py").write_text("print('hello')\n")
        try:
            shipway.run("up", "--detach", "--no-agent")
            first = launch_add(uri=source)
            fill(shipway.home / "ballast")
            (source / "main.py").write_text("print('hello again')\n")
            errors = [refused({"uri": source}), refused({"docker_image": "alpine"})]
            assert [error.code for error in errors] == ["storage_full"] * 2
            places = ["the disk of the blobs is full", "the disk of the database is full"]
            for place, error in zip(places, errors, strict=True):
                assert place in str(error)
            assert [item.id for item in Api().items()] == [first.id]
            (shipway.home / "ballast").unlink()
            second = launch_add(uri=source)
            assert [item.id for item in Api().items()] == [second.id, first.id]
        finally:
            shipway.down()
