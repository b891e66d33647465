"""Takes and shows the logs of attempts: bytes by offset, each chunk on behalf of a lease."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.domain.actor import Actor
from shipway.domain.attempt import LogName
from shipway.domain.errors import Invalid, LeaseLost, NotFound, WrongOffset
from shipway.domain.ids import ItemId, Token
from shipway.domain.item import TERMINAL, Event, Item
from shipway.domain.run import RunFile
from shipway.service.access import AGENTS, missing, require
from shipway.service.items import Items
from shipway.service.ports import LogChunk, Tx
from shipway.service.runs import check_file, merge

CHUNK_LIMIT = 1 << 20  # bytes of one chunk before compression
CHUNKS_LIMIT = 64  # chunks in one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """Where a piece of a log lies, and whether more will come."""

    attempt: int
    size: int  # bytes so far
    is_ended: bool  # nothing will be added
    is_complete: bool  # ended, with everything that the attempt wrote
    chunks: Sequence[LogChunk]


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What a program reported through `shipway.init()`, read from its JSON lines."""

    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    files: Sequence[RunFile]


class Logs:
    """Use cases of logs."""

    def __init__(self, *, items: Items) -> None:
        self._items = items

    def check(
        self, tx: Tx, actor: Actor, item_id: str, token: str, *, attempt: int, name: str,
        offset: int,
    ) -> Item:  # fmt: skip
        """Refuse a chunk before its bytes are stored: lease, attempt, offset."""
        require(actor, AGENTS, "send logs")
        if name not in list(LogName):
            raise Invalid(f"there is no log {name!r}", field="name", value=name)
        item = tx.leases.held(ItemId(item_id), Token(token))
        if item is None or item.attempt != attempt:
            raise LeaseLost(f"the lease of item {item_id} is not this agent's any more")
        size = tx.logs.size(item.id, attempt, name)
        if offset != size:
            raise WrongOffset(offset=offset, size=size)
        return item

    def append(self, tx: Tx, actor: Actor, chunk: LogChunk, token: str) -> int:
        """Add a chunk whose blob is stored; return the log's new size."""
        self.check(
            tx, actor, chunk.item_id, token,
            attempt=chunk.attempt, name=chunk.name, offset=chunk.offset,
        )  # fmt: skip
        if not tx.logs.append(chunk):
            size = tx.logs.size(chunk.item_id, chunk.attempt, chunk.name)
            raise WrongOffset(offset=chunk.offset, size=size)
        return chunk.offset + chunk.length

    def records(self, tx: Tx, actor: Actor, chunk: LogChunk, token: str, records: Records) -> int:
        """Add a chunk of records and do what they say, both or neither."""
        assert chunk.name == LogName.RECORDS
        item = self.check(
            tx, actor, chunk.item_id, token,
            attempt=chunk.attempt, name=chunk.name, offset=chunk.offset,
        )  # fmt: skip
        size = self.append(tx, actor, chunk, token)
        run = tx.runs.get(item.entity, item.project, item.run_id)
        assert run is not None
        if records.config or records.summary:
            merge(tx, run, config=records.config, summary=records.summary)
        if records.history:
            tx.runs.add_history(run.seq, records.history)
        for file in records.files:
            if tx.blobs.size(actor.entity, file.digest) is None:
                raise NotFound(missing(f"blob {file.digest} of file {file.path!r}"))
            tx.runs.add_file(run.seq, file)
        return size

    def view(
        self, tx: Tx, actor: Actor, item_id: str, *, name: str, attempt: int | None, offset: int
    ) -> LogView:
        """Return the chunks of a log from an offset on; the last attempt's unless one is named."""
        item = self._items.get(tx, actor, item_id)
        if name not in {LogName.PROGRAM, LogName.BUILD}:
            raise Invalid(f"there is no log {name!r} to read", field="name", value=name)
        wanted = item.attempt if attempt is None else attempt
        size = tx.logs.size(item.id, wanted, name)
        is_ended = item.state in TERMINAL or wanted < item.attempt
        chunks = tx.logs.chunks(item.id, wanted, name, after=offset, limit=CHUNKS_LIMIT)
        return LogView(
            attempt=wanted,
            size=size,
            is_ended=is_ended,
            is_complete=is_ended and self._is_complete(tx, item, wanted, name, size=size),
            chunks=chunks,
        )

    def _is_complete(self, tx: Tx, item: Item, attempt: int, name: str, *, size: int) -> bool:
        """Tell whether the attempt's last report gave this log its size; a lost one made none."""
        for event in reversed(tx.events.of_item(item.id)):
            if event.attempt == attempt and event.event != Event.START and "lease" in event.data:
                sizes = event.data.get("log_sizes") or {}
                return "report" in event.data and sizes.get(name, size) == size
        return True


def parse_records(data: bytes, *, at: int) -> Records:
    """Read whole JSON lines; a line that is none, or of an unknown kind, is `Invalid`."""
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: list[Mapping[str, Any]] = []
    files: list[RunFile] = []
    for line in data.splitlines():
        if not line.strip():
            continue
        record = _parse_line(line)
        kind, values = record.get("kind"), record.get("values")
        if kind == "dropped":  # the agent's note in place of a line that it could not send
            continue
        if kind == "file":
            size, digest = record.get("size"), record.get("digest")
            files.append(check_file(record.get("path"), digest, size, at=at))
        elif not isinstance(values, dict):
            raise Invalid("a record has no values", field="records", value=_shown(line))
        elif kind == "config":
            config |= values
        elif kind == "summary":
            summary |= values
        elif kind == "history":
            row = {**values, "_step": record.get("step"), "_timestamp": record.get("at")}
            history.append(row)
            summary |= values  # the last value of each, until the program says otherwise
        else:
            raise Invalid(f"a record of kind {kind!r} is not known", field="kind", value=kind)
    return Records(config=config, summary=summary, history=history, files=files)


def _parse_line(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise Invalid("a record is no JSON object on one line", field="records", value=_shown(line))
    return record


def _shown(line: bytes) -> str:
    return line[:200].decode("utf-8", "replace")  # the cut may go through a character
