"""Holds what a round left behind: rows, events, what programs wrote down, who was killed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ITEMS = """
SELECT id, idempotency_key, queue, state, attempt, exit_code, failure, lease_token, lease_agent
FROM items ORDER BY seq
"""
_EVENTS = "SELECT item_id, event, state, attempt, actor, at, data FROM item_events ORDER BY seq"
_READ_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one item's program was asked to do."""

    key: str
    queue: str
    exit_code: int
    nap_s: float
    is_forked: bool  # it leaves a process behind that nobody but shipway ends
    is_stopped: bool  # somebody asks for its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An item as it stands in the store."""

    id: str
    key: str
    queue: str
    state: str
    attempt: int
    exit_code: int | None
    failure: Mapping[str, Any]
    token: str | None
    agent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """A row of `item_events`."""

    item: str
    event: str
    state: str
    attempt: int
    actor: str
    at: int
    data: Mapping[str, Any]

    def __str__(self) -> str:
        said = f"{self.event} -> {self.state} attempt {self.attempt} by {self.actor}"
        return f"{self.at} {said} {dict(self.data)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a program wrote down: `start`, `end` or `overlap`, in seconds since the boot."""

    item: str
    attempt: int
    word: str
    at: float
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a verdict is made from."""

    tasks: Mapping[str, Task]  # by idempotency key
    acks: Sequence[tuple[str, str]]  # idempotency key, item: each answer that a client saw
    rows: Sequence[Row]
    events: Sequence[Happened]
    lines: Sequence[Line]
    logs: Mapping[str, bytes] = field(default_factory=dict)  # of finished items' last attempts
    seen_ended: Mapping[str, str] = field(default_factory=dict)  # item to the end a client saw
    killed: Mapping[str, int] = field(default_factory=dict)  # mark to how often its slot was killed
    stale_accepted: Sequence[str] = ()
    refused: Sequence[str] = ()
    survivors: Sequence[str] = ()  # processes of ended attempts, long after the last start


def read_rows(database: str) -> list[Row]:
    """Return all items."""
    return [
        Row(
            id=id,
            key=key or "",
            queue=queue,
            state=state,
            attempt=attempt,
            exit_code=exit_code,
            failure=json.loads(failure) if failure else {},
            token=token,
            agent=agent,
        )
        for id, key, queue, state, attempt, exit_code, failure, token, agent in _read(
            database, _ITEMS
        )
    ]


def read_events(database: str) -> list[Happened]:
    """Return all that happened, in order."""
    return [
        Happened(
            item=item, event=event, state=state, attempt=attempt, actor=actor, at=at,
            data=json.loads(data),
        )
        for item, event, state, attempt, actor, at, data in _read(database, _EVENTS)
    ]  # fmt: skip


def read_lines(record: Path) -> list[Line]:
    """Return what the programs wrote down."""
    found = []
    for text in record.read_text().splitlines():
        item, attempt, word, at, pid = text.split()
        found.append(Line(item=item, attempt=int(attempt), word=word, at=float(at), pid=int(pid)))
    return found


def _read(database: str, query: str) -> list[Any]:
    if database.startswith("sqlite:///"):
        path = Path(database.removeprefix("sqlite:///"))
        uri = f"{path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_READ_LIMIT_S)) as connection:
            return connection.execute(query).fetchall()
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(database, connect_timeout=int(_READ_LIMIT_S)) as link:
        return link.execute(query.encode()).fetchall()
