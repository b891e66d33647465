"""Keeps a server busy with all that it stores, and writes down each answer that it got."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from shipway.client import Client
from shipway.domain.errors import ShipwayError
from shipway.testing.faults.facts import (
    BLOBS,
    DATABASE,
    Added,
    Fact,
    Logged,
    Moved,
    Stored,
    digest_of,
    dump,
    log_of,
)

CLIENTS = 3
ROUNDS = 14  # of each client in each of the server's lives
LIVES = ("term", "kill", "term")  # how each life of the server ends
CHECKPOINT_S = 0.05  # between two moments at which the log's content goes into the database
START_S = 60.0
SOURCE = {"kind": "git", "url": "https://git.example.com/a/b.git", "commit": "a" * 40}


@dataclass(slots=True)
class Load:
    """The clients of one server, in all its lives."""

    home: Path
    seed: int
    marks: int  # the file descriptor that facts are written to
    server: Client | None = None
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Start the server, use it, end it, and so on."""
        for number, end in enumerate(LIVES):
            with started(self.home, end) as base_url:
                key = (self.home / "key").read_text().strip()
                self._live(number, base_url, key)

    def _live(self, number: int, base_url: str, key: str) -> None:
        self.is_over.clear()
        checkpoints = threading.Thread(target=self._checkpoint)
        checkpoints.start()
        clients = [
            threading.Thread(target=self._use, args=(base_url, key, f"{self.seed}.{number}.{one}"))
            for one in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.is_over.set()
        checkpoints.join()

    def _checkpoint(self) -> None:
        """Do, often, what a server does by itself once its log has grown to megabytes."""
        with closing(sqlite3.connect(self.home / DATABASE, timeout=5)) as connection:
            for mode in itertools.cycle(("PASSIVE", "RESTART", "TRUNCATE")):
                if self.is_over.wait(CHECKPOINT_S):
                    return
                with suppress(sqlite3.OperationalError):  # busy
                    connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()

    def _use(self, base_url: str, key: str, name: str) -> None:
        chance = Random(name)
        with closing(Client(base_url, key, patience_s=0, env={})) as client:
            client.agents.register(
                {
                    "id": f"agent-{name}",
                    "queues": ["default"],
                    "resources": ["local-process"],
                    "slots": 8,
                }
            )
            user = User(name=name, client=client, chance=chance, tell=self._tell)
            for _ in range(ROUNDS):
                user.act()

    def _tell(self, fact: Fact) -> None:
        os.write(self.marks, dump(fact))


@dataclass(slots=True)
class User:
    """One client, which is a submitter and an agent at once."""

    name: str
    client: Client
    chance: Random
    tell: Any
    held: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0

    def act(self) -> None:
        """Do something that is stored."""
        self.chance.choice(
            (self._add, self._add, self._add_many, self._lease, self._store, self._pack)
        )()
        for lease in list(self.held):
            self._further(lease)

    def _add(self) -> None:
        key = self._key()
        item = self.client.items.add(self._draft(), idempotency_key=key)
        self.tell(Added(item["id"], key))

    def _add_many(self) -> None:
        drafts = [
            {**self._draft(), "idempotency_key": self._key()}
            for _ in range(self.chance.randrange(2, 9))
        ]
        for draft, item in zip(drafts, self.client.items.add_many(drafts), strict=True):
            self.tell(Added(item["id"], str(draft["idempotency_key"])))

    def _lease(self) -> None:
        ask = {"agent": f"agent-{self.name}", "limit": 2}
        for lease in self.client.leases.lease(ask)["leases"]:
            lease["size"] = 0
            lease["events"] = iter(("start", "log", "log", self.chance.choice(("stop", "finish"))))
            self.held.append(lease)
            self.tell(Moved(lease["item"], lease["attempt"], "lease"))

    def _store(self) -> None:
        data = self.chance.randbytes(self.chance.randrange(1, 9_000))
        self.client.blobs.put(digest_of(data), data)
        self.tell(Stored(digest_of(data)))

    def _pack(self) -> None:
        blobs = {
            digest_of(data): data for data in (self.chance.randbytes(700 + n) for n in range(4))
        }
        self.client.blobs.put_many(blobs)
        for digest in blobs:
            self.tell(Stored(digest))

    def _further(self, lease: dict[str, Any]) -> None:
        """Bring a lease a step further on its way."""
        what = next(lease["events"])
        item, attempt = lease["item"], lease["attempt"]
        if what == "log":
            self._log(lease)
            return
        if what == "stop":
            self.client.items.stop(item)
            self.tell(Moved(item, attempt, "stop_request"))
        report = {
            "item": item,
            "token": lease["token"],
            "event": what,
            "log_sizes": {"program": lease["size"]},
        }
        if what == "finish":
            report["exit_code"] = 0
        (result,) = self.client.leases.report(f"agent-{self.name}", [report])
        assert result["ok"], result
        self.tell(Moved(item, attempt, what))
        if what != "start":
            self.held.remove(lease)

    def _log(self, lease: dict[str, Any]) -> None:
        at = lease["size"]
        piece = log_of(lease["item"])[at : at + self.chance.randrange(50, 5_000)]
        size = self.client.items.append_log(
            lease["item"], "program", zlib.compress(piece, 1), token=lease["token"],
            attempt=lease["attempt"], offset=at, first_at=0, last_at=0,
        )  # fmt: skip
        assert size == at + len(piece)
        lease["size"] = size
        self.tell(Logged(lease["item"], lease["attempt"], size))

    def _draft(self) -> dict[str, Any]:
        note = "x" * self.chance.randrange(900)
        return {"source": SOURCE, "entry_point": ["true"], "run_config": {"note": note}}

    def _key(self) -> str:
        self.count += 1
        return f"{self.name}-{self.count}"


@contextmanager
def started(home: Path, end: str) -> Iterator[str]:
    """Run a server on a home; end it with SIGTERM or SIGKILL."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "shipway.server", "--key-file", str(home / "key")),
            *("--database", f"sqlite:///{home / DATABASE}"),
            *("--blobs", str(home / BLOBS)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["base_url"]
    finally:
        process.send_signal(signal.SIGTERM if end == "term" else signal.SIGKILL)
        process.wait(START_S)
        process.stdout.close()


def main(argv: Sequence[str]) -> None:
    """Load a server on a folder: HOME MARKS SEED."""
    home, marks, seed = argv
    began = time.monotonic()
    fd = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        Load(home=Path(home), seed=int(seed), marks=fd).run()
    except ShipwayError as error:
        sys.exit(f"the load broke off after {time.monotonic() - began:.1f} s: {error.message}")
    finally:
        os.close(fd)


if __name__ == "__main__":
    main(sys.argv[1:])
