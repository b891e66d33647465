"""A backup under load is a prefix of what was acknowledged; a killed restore harms nothing."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest

from shipway.blobs.directory import DirectoryBlobs
from shipway.client import Client
from shipway.domain.capsule import Entry, Mode, digest_of, encode
from shipway.server.restore import missing_blobs
from shipway.store.open import open_store
from tests.support.embedded import SHIPWAY, Embedded, embedded, until

BACKUPS = 4
KILLS = 12


@pytest.fixture
def shipway() -> Iterator[Embedded]:
    with embedded() as made:
        yield made


class Load:
    """Adds items, each with a capsule of its own, and keeps those that were acknowledged."""

    def __init__(self, shipway: Embedded, *, first: int = 0) -> None:
        server = shipway.server()
        self._server = server
        self.acked: list[str] = []
        self._stop = threading.Event()
        self._numbers = itertools.count(first)
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        client = Client(self._server["base_url"], self._server["api_key"])
        while not self._stop.is_set():
            text = f"print({next(self._numbers)})\n".encode()
            entry = Entry(path=b"main.py", mode=Mode.FILE, size=len(text), digest=digest_of(text))
            manifest = encode([entry])
            client.blobs.put_many({digest_of(data): data for data in (text, manifest)})
            source = {"kind": "capsule", "digest": digest_of(manifest)}
            key = digest_of(text)
            self.acked.append(client.items.add({"source": source}, idempotency_key=key)["id"])


def items_in(home: Path) -> list[str]:
    """Return the items in the order of their commits; every blob that they need is there."""
    store = open_store(f"sqlite:///{home}/data/shipway.db", migrate=False, is_threaded=False)
    blobs = DirectoryBlobs(home / "data/blobs")
    with closing(store), store.read() as tx:
        assert list(missing_blobs(tx, blobs)) == []
        for digest in blobs.all():
            assert hashlib.sha256(blobs.get(digest)).hexdigest() == digest
        added = [event for event in tx.events.after(0, limit=1_000_000) if event.event == "enqueue"]
    return [event.item_id for event in added]


def restored(shipway: Embedded, file: Path, home: Path, *flags: str) -> None:
    subprocess.run(
        [*SHIPWAY, "restore", str(file), *flags],
        env={**shipway.env, "SHIPWAY_HOME": str(home)},
        check=True,
        capture_output=True,
        timeout=120,
    )


def test_a_backup_under_load_is_a_prefix_of_what_was_acknowledged(shipway: Embedded) -> None:
    """Earns its minute: the load and the backups are those of real processes."""
    shipway.run("up", "--detach", "--no-agent")
    files, known = [], []
    with Load(shipway) as load:
        for number in range(BACKUPS):
            enough = len(load.acked) + 25
            until(lambda enough=enough: len(load.acked) >= enough, within_s=60, what="items")
            before = list(load.acked)
            file = shipway.root / f"{number}.tar"
            found = json.loads(shipway.run("backup", str(file), "--json"))
            assert found["lost"] == []
            files.append(file)
            known.append(before)
        last = len(load.acked)
        until(lambda: len(load.acked) >= last + 10, within_s=60, what="items after the last")
    shipway.run("down")
    whole = items_in(shipway.home)
    assert set(load.acked) <= set(whole)
    for file, before in zip(files, known, strict=True):
        home = shipway.root / f"home-{file.stem}"
        restored(shipway, file, home)
        found_items = items_in(home)
        assert found_items == whole[: len(found_items)]  # in the order of commits
        assert set(before) <= set(found_items)  # what was acknowledged before it began
        assert len(found_items) < len(whole)


def test_a_restored_home_goes_on_where_it_was(shipway: Embedded) -> None:
    shipway.up()
    source = shipway.root / "source"
    source.mkdir()
    (source / "main.sh").write_text("echo ran\n")
    argv = ("launch", "-u", str(source), "-E", "main.sh", "--json", "--follow")
    shipway.run(*argv)
    shipway.run("backup", str(shipway.root / "b.tar"))
    key = (shipway.home / "key").read_text()
    shipway.run("down", "--purge")
    shipway.run("restore", str(shipway.root / "b.tar"))
    assert (shipway.home / "key").read_text() == key
    shipway.up()
    (item,) = json.loads(shipway.run("item", "ls", "--json"))["items"]
    assert item["state"] == "finished"
    assert shipway.run("item", "logs", item["id"]) == "ran\n"
    shipway.run(*argv)
    assert len(json.loads(shipway.run("item", "ls", "--json"))["items"]) == 2


def backed_up(shipway: Embedded) -> Path:
    """Make a backup of a few hundred blobs, and end the server."""
    shipway.run("up", "--detach", "--no-agent")
    with Load(shipway) as load:
        until(lambda: len(load.acked) >= 150, within_s=60, what="items")
    file = shipway.root / "b.tar"
    shipway.run("backup", str(file))
    with Load(shipway, first=1_000_000) as load:
        until(lambda: len(load.acked) >= 20, within_s=60, what="later items")
    shipway.run("down")
    return file


def killed(shipway: Embedded, *argv: str, home: Path, after_s: float) -> bool:
    """Kill a command at a moment; False when it had ended by then."""
    process = subprocess.Popen(
        [*SHIPWAY, *argv],
        env={**shipway.env, "SHIPWAY_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def took(shipway: Embedded, *argv: str, home: Path) -> float:
    began = time.monotonic()
    assert not killed(shipway, *argv, home=home, after_s=60)
    return time.monotonic() - began


def test_a_restore_that_is_killed_at_any_moment_harms_nothing(shipway: Embedded) -> None:
    """Earns its kills: each moment leaves the former data or the restored ones, never a mixture."""
    file = backed_up(shipway)
    former = items_in(shipway.home)
    fresh = shipway.root / "fresh"
    whole_s = took(shipway, "restore", str(file), home=fresh)
    saved = items_in(fresh)
    assert saved == former[: len(saved)]
    assert len(saved) < len(former)
    chance = random.Random(7)
    kills = 0
    for number in range(KILLS):
        home = shipway.root / f"killed-{number}"
        is_new = number % 2 == 0
        if not is_new:
            shutil.copytree(shipway.home, home)
        moment = whole_s * chance.uniform(0.3, 1.0)
        flags = () if is_new else ("--force",)
        kills += killed(shipway, "restore", str(file), *flags, home=home, after_s=moment)
        there = (home / "data/shipway.db").exists()
        assert there or is_new
        if there:
            assert items_in(home) in ([saved] if is_new else [former, saved])
        restored(shipway, file, home, "--force")
        assert items_in(home) == saved
        assert not list(home.rglob("*.restoring"))
    assert kills >= KILLS // 3


def test_a_backup_that_is_killed_leaves_no_file_of_its_name(shipway: Embedded) -> None:
    file = backed_up(shipway)
    whole_s = took(shipway, "backup", str(shipway.root / "c.tar"), home=shipway.home)
    chance = random.Random(8)
    for number in range(KILLS // 2):
        target = shipway.root / f"killed-{number}.tar"
        moment = whole_s * chance.uniform(0.3, 1.0)
        if killed(shipway, "backup", str(target), home=shipway.home, after_s=moment):
            assert not target.exists() or target.stat().st_size > file.stat().st_size
        shipway.run("backup", str(target), "--force")
        assert not list(shipway.root.glob(f".{target.name}.*"))
    restored(shipway, file, shipway.root / "again")
    process = subprocess.Popen(
        [*SHIPWAY, "backup", str(shipway.root / "ended.tar")], env=shipway.env
    )
    until(
        lambda: list(shipway.root.glob(".ended.tar.*")) or process.poll() is not None,
        within_s=30,
        what="the backup has begun",
    )
    process.terminate()
    process.wait(30)
    assert not list(shipway.root.glob(".ended.tar.*"))


def test_wrong_use_is_said_in_a_sentence(shipway: Embedded) -> None:
    def refused(*argv: str) -> Any:
        done = subprocess.run(
            [*SHIPWAY, *argv], env=shipway.env, capture_output=True, text=True, check=False
        )
        assert done.returncode in {1, 2}
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    assert "there is no database" in refused("backup", str(shipway.root / "b.tar"))
    assert not (shipway.root / "b.tar").exists()
    assert "there is no backup" in refused("restore", str(shipway.root / "b.tar"))
    assert "--blobs beside it" in refused("backup", "x", "--database", "sqlite:///x")
    shipway.run("up", "--detach", "--no-agent")
    shipway.run("backup", str(shipway.root / "b.tar"))
    assert "is up on" in refused("restore", str(shipway.root / "b.tar"), "--force")
    assert "is there already" in refused("backup", str(shipway.root / "b.tar"))
