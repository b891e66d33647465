"""An agent's real loop with a server and a runner that are scripts: no network, no processes."""

from __future__ import annotations

import itertools
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from shipway.agent.building import Preparer
from shipway.agent.courier import Reply
from shipway.agent.environment import surroundings
from shipway.agent.events import Event
from shipway.agent.fetching import Fetcher
from shipway.agent.home import boot_ms, now_ms
from shipway.agent.journal import Journal
from shipway.agent.link import Link
from shipway.agent.loop import Loop, Reason
from shipway.agent.pool import Pool
from shipway.agent.settle import settle
from shipway.agent.shipping import Shipper
from shipway.agent.transport import ServerBlobs
from shipway.agent.work import Work
from shipway.agent.workdir import Folders
from shipway.domain.errors import Code, LeaseLost, ShipwayError, WrongOffset
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.runner import RunnerContext
from shipway.plugins.source import FetchRequest, SourcePolicy, Tree
from shipway.testing.scripted_runner import Machine, ScriptedRunner

WAIT_S = 5.0  # the longest that a test waits for what has to happen


class FakeServer:
    """One queue in memory that answers as the server does, and can be away."""

    def __init__(self) -> None:
        self.pending: list[dict[str, Any]] = []
        self.items: dict[str, dict[str, Any]] = {}
        self.logs: dict[tuple[str, int, str], bytes] = {}
        self.blob_store: dict[str, bytes] = {}
        self.asks: list[Mapping[str, Any]] = []
        self.is_away = False
        self.registrations = 0
        self.agents_gone = 0  # a poll of an agent that is gone gets nothing
        self.changed = threading.Condition()
        self.names = (f"item{number:04}" for number in itertools.count())

    # What a test does.

    def add(self, **spec: Any) -> str:
        with self.changed:
            name = next(self.names)
            self.items[name] = {"state": "pending", "attempt": 0, "spec": spec, "events": []}
            self.pending.append({"item": name})
            self.changed.notify_all()
            return name

    def stop(self, name: str) -> None:
        with self.changed:
            self.items[name]["stop"] = True
            self.changed.notify_all()

    def take_away(self, name: str) -> None:
        """Give the item's lease to somebody else."""
        with self.changed:
            self.items[name]["token"] = "another"
            self.changed.notify_all()

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so that may also change without the server."""
        end = time.monotonic() + WAIT_S
        with self.changed:
            while not is_so():
                assert time.monotonic() < end, self.items
                self.changed.wait(0.01)

    def state(self, name: str) -> str:
        return str(self.items[name]["state"])

    # What the agent calls.

    @property
    def leases(self) -> FakeServer:
        return self

    @property
    def agents(self) -> FakeServer:
        return self

    @property
    def blobs(self) -> FakeServer:
        return self

    def register(self, agent: Mapping[str, Any]) -> Mapping[str, Any]:
        self._answer()
        self.registrations += 1
        return agent

    def lease(
        self, ask: Mapping[str, Any], *, wait_s: float = 0, patience_s: float = 0
    ) -> Mapping[str, Any]:
        self._answer()
        with self.changed:
            self.asks.append(ask)
            lost = [
                one["item"]
                for one in ask.get("held") or ()
                if self.items[one["item"]].get("token") != one["token"]
            ]
            results = [self._take(report) for report in ask["reports"]]
            gone = self.agents_gone
            if not results and wait_s:
                self.changed.wait_for(
                    lambda: self._stops() or (ask["limit"] and self.pending) or self.is_away, wait_s
                )
            leases = []
            while self.pending and len(leases) < ask["limit"] and gone == self.agents_gone:
                leases.append(self._grant(self.pending.pop(0)["item"]))
            self._start(leases, **ask.get("starts") or {"limit": 0, "sources": []})
            self.changed.notify_all()
            return {
                "leases": leases,
                "results": results,
                "stops": self._stops(),
                "lost": lost,
                "drain": False,
                "stop": False,
                "term_ms": 30_000,
            }

    def renew(
        self, agent: str, held: Sequence[Mapping[str, str]], *, patience_s: float = 0
    ) -> Mapping[str, Any]:
        self._answer()
        with self.changed:
            kept = [one for one in held if self.items[one["item"]].get("token") == one["token"]]
            lost = [one["item"] for one in held if one not in kept]
            renewed = [{"item": one["item"], "term_ms": 900_000} for one in kept]
            return {"renewed": renewed, "lost": lost, "stops": []}

    def report(
        self, agent: str, reports: Sequence[Mapping[str, Any]], *, patience_s: float = 0
    ) -> Sequence[Mapping[str, Any]]:
        self._answer()
        with self.changed:
            return [self._take(report) for report in reports]

    def append_log(
        self, item_id: str, name: str, packed: bytes, *, token: str, attempt: int, offset: int,
        first_at: int, last_at: int,
    ) -> int:  # fmt: skip
        self._answer()
        with self.changed:
            if self.items[item_id].get("token") != token:
                raise LeaseLost("not yours")
            have = self.logs.get((item_id, attempt, name), b"")
            if offset != len(have):
                raise WrongOffset(offset=offset, size=len(have))
            self.logs[item_id, attempt, name] = have + zlib.decompress(packed)
            self.changed.notify_all()
            return len(self.logs[item_id, attempt, name])

    def pin(self, item_id: str, *, token: str, lock: str) -> Mapping[str, Any]:
        return {}

    def missing(self, digests: Sequence[str]) -> Sequence[str]:
        return [digest for digest in digests if digest not in self.blob_store]

    def put(self, digest: str, data: bytes) -> None:
        self.blob_store[digest] = data

    def get(self, digest: str) -> bytes:
        return self.blob_store[digest]

    def get_many(self, digests: Sequence[str], take: Callable[[str, bytes], None]) -> None:
        for digest in digests:
            take(digest, self.blob_store[digest])

    def _answer(self) -> None:
        if self.is_away:
            raise ShipwayError("no answer", code=Code.UNREACHABLE)

    def _stops(self) -> list[dict[str, Any]]:
        return [
            {"item": name, "token": item["token"], "grace_s": 1.0}
            for name, item in self.items.items()
            if item.get("stop") and item["state"] in ("leased", "running")
        ]

    def _grant(self, name: str) -> dict[str, Any]:
        item = self.items[name]
        item["attempt"] += 1
        item["state"], item["token"] = "leased", f"token-{name}-{item['attempt']}"
        return {
            "item": name,
            "token": item["token"],
            "attempt": item["attempt"],
            "term_ms": 30_000,
            "job_key": "sw_job",
            "item_json": {
                "id": name,
                "resource": "local-process",
                "spec": {"entry_point": ["true"], "source": {"kind": "fake"}, **item["spec"]},
            },
        }

    def _start(
        self, leases: Sequence[dict[str, Any]], *, limit: int, sources: Sequence[Mapping[str, Any]]
    ) -> None:
        """Let the first leases of these sources pass the start gate too."""
        warm = [lease for lease in leases if lease["item_json"]["spec"]["source"] in sources]
        for lease in warm[:limit]:
            self.items[lease["item"]]["state"] = "running"
            lease |= {"started": True, "term_ms": 900_000}

    def _take(self, report: Mapping[str, Any]) -> dict[str, Any]:
        item, event = self.items[report["item"]], report["event"]
        result = {"item": report["item"], "event": event, "ok": True, "term_ms": 900_000}
        if item.get("token") != report["token"]:
            return {**result, "ok": False, "code": "lease_lost"}
        item["events"].append(dict(report))
        if event == "start":
            if item.get("stop"):
                return {**result, "ok": False, "stop_requested": True, "grace_s": 1.0}
            item["state"] = "running"
        elif event == "requeue":
            item["state"], item["token"] = "pending", None
            self.pending.append({"item": report["item"]})
        else:
            ends = {"finish": "finished", "fail": "failed", "stop": "stopped"}
            item["state"] = "stopped" if item.get("stop") else ends[event]
            item["token"] = None
            item["last"] = dict(report)
        self.changed.notify_all()
        return result


class FakeSource:
    """Fetches a folder that is there already, unless it was told to fail."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.fetches = 0
        self.refusals: list[Exception] = []

    def fetch(self, request: FetchRequest) -> Tree:
        self.fetches += 1
        request.print("fetching")
        if self.refusals:
            raise self.refusals.pop(0)
        return Tree(path=self.tree, digest="d" * 64)


class World:
    """An agent in a thread, with its home, its server and its machine."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.server = FakeServer()
        self.machine = Machine()
        (home / "tree").mkdir()
        (home / "tree" / "data.txt").write_text("data")
        self.source = FakeSource(home / "tree")
        self.script: Callable[[ScriptedRunner, str], None] | None = ScriptedRunner.end
        self.runner = ScriptedRunner()
        self.inbox: SimpleQueue[Event | Reply | None] = SimpleQueue()
        self.ended: Future[Reason] = Future()

    def begin(self, *, slots: int = 2, is_once: bool = False, obeys_stops: bool = True) -> None:
        self.inbox = inbox = SimpleQueue()
        self.ended = ended = Future()
        self.runner = ScriptedRunner(self.machine, script=self.script, obeys_stops=obeys_stops)
        work = self._work(inbox)
        journal = Journal(self.home / "journal", boot_id="boot")
        kept = journal.open()
        context = RunnerContext(
            home=self.home,
            attempts=self.home / "attempts",
            agent="agent",
            slots=slots,
            base_url="",
            key_file=self.home,
            notify=work.notice,
        )
        found = work.open({"local-process": context}, [one.lease for one in kept])
        state, missed = settle(kept, found, slots=slots, now=boot_ms())
        for attempt in state.attempts.values():
            if attempt.handle is not None:
                work.adopt(attempt.lease, attempt.handle)
        link = Link(
            transport=self.server,
            registration={"id": "agent"},
            emit=inbox.put,
            boot_ms=boot_ms,
            now=now_ms,
            poll_s=0 if is_once else 0.5,
        )
        loop = Loop(
            state=state,
            link=link,
            work=work,
            journal=journal,
            inbox=inbox,
            boot_ms=boot_ms,
            is_once=is_once,
        )

        def run() -> None:
            try:
                ended.set_result(loop.run([*missed]))
            except BaseException as error:  # noqa: BLE001 - told by `ended`
                ended.set_exception(error)
            finally:
                work.close()
                journal.close()

        threading.Thread(target=run, daemon=True).start()

    def finish(self) -> Reason:
        """Let the agent end as a signal would."""
        self.inbox.put(None)
        self.server.agents_gone += 1
        return self.ended.result(WAIT_S)

    def _work(self, inbox: SimpleQueue[Event | Reply | None]) -> Work:
        pool = Pool("work", 4)
        folders = Folders(self.home / "attempts", later=pool.submit)
        shipper = Shipper(
            items=self.server,
            blobs=self.server,
            pool=Pool("shipping", 2),
            emit=inbox.put,
            boot_ms=boot_ms,
            now=now_ms,
            look_s=0.01,
        )
        self.fetcher = fetcher = Fetcher(
            find=lambda _: self.source,
            cache=self.home / "sources",
            policy=SourcePolicy(),
            containers=ContainerPolicy(),
            env={},
            blobs=ServerBlobs(self.server),
            folders=folders,
            shipper=shipper,
            pool=pool,
            emit=inbox.put,
            boot_ms=boot_ms,
        )
        around = surroundings(
            {"PATH": "/usr/bin:/bin"},
            base_url="http://server",
            runside=self.home / "runside",
            pass_env=(),
            own_bin=None,
        )
        preparer = Preparer(
            builder=lambda: pytest.fail("nothing needs an environment"),
            cache=self.home / "envs",
            around=around,
            build_env={},
            transport=self.server,
            folders=folders,
            shipper=shipper,
            pool=pool,
            emit=inbox.put,
            boot_ms=boot_ms,
        )
        return Work(
            runners={"local-process": self.runner},
            fetcher=fetcher,
            preparer=preparer,
            folders=folders,
            shipper=shipper,
            emit=inbox.put,
            boot_ms=boot_ms,
        )
