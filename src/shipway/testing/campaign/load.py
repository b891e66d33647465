"""Adds programs all the while, and says again what former leases said."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from shipway.client import Client
from shipway.domain.errors import Code, ShipwayError
from shipway.domain.ids import Token
from shipway.domain.item import TERMINAL
from shipway.service.reports import trace
from shipway.testing.campaign.evidence import Happened, Row, Task, read_rows
from shipway.testing.campaign.site import Site
from shipway.testing.campaign.verdict import RETRIES

OPEN_LIMIT = 32  # items that wait or run
ADDERS = 2
LOOK_EVERY_S = 0.3
SAID_AGAIN = 4  # reports of former leases at each look
EXIT_CODE = 3
PAGE = 200
FINISH_S = 120.0  # until the last adds are answered
PROGRAM = """\
exec 9>>"$LOCKS/$SHIPWAY_ITEM_ID"
say() {
    read -r now rest < /proc/uptime
    echo "$SHIPWAY_ITEM_ID $SHIPWAY_ATTEMPT $1 $now $$" >> "$RECORD"
}
flock -n 9 || say overlap
say start
echo "$SHIPWAY_ITEM_ID $SHIPWAY_ATTEMPT one"
if [ "$FORKED" = 1 ]; then setsid sleep 300 & fi
sleep "$NAP"
echo "$SHIPWAY_ITEM_ID $SHIPWAY_ATTEMPT two"
say end
exit "$CODE"
"""
_RETRIED = frozenset({Code.UNREACHABLE, Code.UNKNOWN_OUTCOME, Code.OVERLOADED})
_ENDED = frozenset(state.value for state in TERMINAL)
_REPORTS = ("finish", "fail", "requeue", "stop", "start")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A report with a former lease's token that was answered with ok."""

    item: str
    token: str
    event: str

    def has_taken_effect_before(self, events: list[Happened]) -> bool:
        """Tell whether this very report was right once, so that it may be repeated."""
        mark = trace(Token(self.token))
        return any(
            one.item == self.item
            and one.data.get("lease") == mark
            and self.event in (one.data.get("report"), one.event)
            for one in events
        )


@dataclass(slots=True)
class Load:
    """What was added to a site, and what the clients saw."""

    site: Site
    name: str  # of the round: its idempotency keys begin with it
    chance: Random
    tasks: dict[str, Task] = field(default_factory=dict)
    acks: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    seen_ended: dict[str, str] = field(default_factory=dict)
    stale: Counter[str] = field(default_factory=Counter)  # answers to former leases' reports
    believed: list[Said] = field(default_factory=list)
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)  # to item and agent
    faults: list[str] = field(default_factory=list)  # of our own threads
    _open: int = 0
    _source: Any = None
    _current: frozenset[str] = frozenset()
    _is_over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Store the programs' source, and begin to add."""
        folder = self.site.root / "source"
        folder.mkdir()
        (folder / "work.sh").write_text(PROGRAM)
        (self.site.root / "locks").mkdir()
        (self.site.root / "record").touch()
        task = self._task("first")
        launched = self.site.run(
            next(iter(self.site.commands)), "launch", "-u", str(folder), "-E", "work.sh", "--json",
            "-q", task.queue, "-R", json.dumps(self._resource(task)), **self._way(),
        )  # fmt: skip
        item = json.loads(launched)
        self._source = item["spec"]["source"]
        key = next(row.key for row in read_rows(self.site.database) if row.id == item["id"])
        self.tasks[key] = task
        self.acks.append((key, item["id"]))
        for work in (*[self._add_all] * ADDERS, self._look_all):
            thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def finish(self) -> None:
        """Add no more; every add that was begun is acknowledged first."""
        self._is_over.set()
        end = time.monotonic() + FINISH_S
        for thread in self._threads:
            while thread.is_alive() and time.monotonic() < end:
                self.site.revive()
                thread.join(LOOK_EVERY_S)
            if thread.is_alive():
                self.faults.append("an add is not answered")

    def say_all_again(self) -> None:
        """Report with every token that was seen, but for those of items that never ended."""
        self._take(read_rows(self.site.database))
        client = self.site.client(patience_s=20)
        for token, (item, agent) in self.tokens.items():
            if token in self._current:
                continue
            for event in _REPORTS[:2]:
                self._say(client, token, item, agent, event)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a thread's end would pass for a quiet round
            self.faults.append(repr(error))
            raise

    def _add_all(self) -> None:
        while not self._is_over.is_set():
            if self._open >= OPEN_LIMIT:
                time.sleep(0.02)
                continue
            with self._lock:
                key = f"{self.name}-{len(self.tasks)}"
                task = self.tasks[key] = self._task(key)
                self._open += 1
                is_repeated = self.chance.random() < 0.1
            item = self._add(task)
            if item and is_repeated:
                self._add(task)
            if item and task.is_stopped:
                with suppress(ShipwayError):
                    self.site.client().items.stop(item, grace_s=1)

    def _add(self, task: Task) -> str:
        draft = {
            "source": self._source,
            "entry_point": ["work.sh"],
            "queue": task.queue,
            "resource_args": self._resource(task),
        }
        while True:
            try:
                item = str(self.site.client().items.add(draft, idempotency_key=task.key)["id"])
            except ShipwayError as error:
                if error.code in _RETRIED:
                    continue
                self.refused.append(f"{task.key}: {error.code}: {error}")
                return ""
            self.acks.append((task.key, item))
            return item

    def _look_all(self) -> None:
        while not self._is_over.is_set():
            time.sleep(LOOK_EVERY_S)
            try:
                rows = read_rows(self.site.database)
            except Exception:  # noqa: BLE001, S112 - the database itself is being killed
                continue
            self._take(rows)
            client = self.site.client(patience_s=1)
            with suppress(ShipwayError):
                for item in client.items.find(limit=PAGE)["items"]:
                    if item["state"] in _ENDED:
                        self.seen_ended.setdefault(item["id"], item["state"])
                self._say_some(client)

    def _take(self, rows: list[Row]) -> None:
        self._open = sum(row.state not in _ENDED for row in rows)
        self._current = frozenset(row.token for row in rows if row.token is not None)
        for row in rows:
            if row.token is not None and row.agent is not None:
                self.tokens[row.token] = (row.id, row.agent)

    def _say_some(self, client: Client) -> None:
        former = [token for token in self.tokens if token not in self._current]
        for token in self.chance.sample(former, min(SAID_AGAIN, len(former))):
            item, agent = self.tokens[token]
            self._say(client, token, item, agent, self.chance.choice(_REPORTS))

    def _say(self, client: Client, token: str, item: str, agent: str, event: str) -> None:
        report: dict[str, Any] = {"item": item, "token": token, "event": event}
        if event == "fail":
            report["failure"] = {"stage": "run", "failure_class": "exit", "reason": "said again"}
        try:
            (answer,) = client.leases.report(agent, [report])
        except ShipwayError as error:
            self.stale[error.code] += 1
            return
        self.stale["ok" if answer["ok"] else str(answer.get("code"))] += 1
        if answer["ok"]:
            self.believed.append(Said(item=item, token=token, event=event))

    def _task(self, key: str) -> Task:
        return Task(
            key=key,
            queue=self.chance.choice(list(RETRIES)),
            exit_code=EXIT_CODE if self.chance.random() < 0.1 else 0,
            nap_s=round(self.chance.uniform(0.05, 1.2), 2),
            is_forked=self.chance.random() < 0.2,
            is_stopped=self.chance.random() < 0.04,
        )

    def _resource(self, task: Task) -> dict[str, Any]:
        env = {
            "RECORD": str(self.site.root / "record"),
            "LOCKS": str(self.site.root / "locks"),
            "NAP": str(task.nap_s),
            "CODE": str(task.exit_code),
            "FORKED": str(int(task.is_forked)),
        }
        return {"local-process": {"env": env}}

    def _way(self) -> dict[str, str]:
        return {"SHIPWAY_BASE_URL": self.site.base_url, "SHIPWAY_API_KEY": self.site.key}
