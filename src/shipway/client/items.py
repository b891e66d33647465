"""The routes of items, their events and their logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.client.wire import Wire, segment

WAIT_S = 25.0  # the longest that a long poll is held open
LOG_PAGE = 1 << 20  # bytes of framed log asked for at once
TOKEN_HEADER = "Shipway-Token"  # noqa: S105 - a header's name
STREAM_SILENCE_S = 60.0  # an event stream sends a comment at least so often


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """A piece of one attempt's log."""

    attempt: int  # 0 while there is none
    data: bytes  # frames; the last one may be cut
    size: int  # bytes of the whole log so far
    next: int  # the offset to ask for next
    is_ended: bool  # no more will come after `size`


class Items:
    """`/items`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(self, draft: Mapping[str, Any], *, idempotency_key: str) -> dict[str, Any]:
        """Queue a launch; the same key and draft return the same item, for ever."""
        headers = {"Idempotency-Key": idempotency_key}
        added: dict[str, Any] = self._wire.send(
            "POST", "/items", body=draft, headers=headers
        ).json()
        return added

    def add_many(self, drafts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Queue at most 1,000 launches; each answer is an item or has an `error`.

        Each draft without an `idempotency_key` gets one, so that a lost answer doubles nothing.
        """
        keyed = [{"idempotency_key": self._wire.new_key(), **draft} for draft in drafts]
        found: list[dict[str, Any]] = self._wire.post("/items/batch", {"items": keyed})["items"]
        return found

    def find(
        self,
        *,
        queue: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        state: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return a page of items, newest first: `{items, next}`."""
        query = {
            "queue": queue,
            "entity": entity,
            "project": project,
            "state": state,
            "cursor": cursor,
            "limit": limit,
        }
        return self._wire.get("/items", query)

    def get(self, item_id: str) -> dict[str, Any]:
        """Return an item."""
        return self._wire.get(_path(item_id))

    def wait(
        self,
        item_id: str,
        *,
        until: str,
        timeout_s: float = WAIT_S,
        patience_s: float | None = None,
    ) -> dict[str, Any]:
        """Return the item once it `started` or `ended`, or as it is after `timeout_s`."""
        query = {"until": until, "timeout_s": f"{timeout_s:.3f}"}
        found: dict[str, Any] = self._wire.send(
            "GET",
            _path(item_id) + "/wait",
            query=query,
            wait_s=timeout_s,
            patience_s=patience_s,
        ).json()
        return found

    def stop(self, item_id: str, *, grace_s: float | None = None) -> dict[str, Any]:
        """Ask for an item's end; asking again changes nothing."""
        return self._wire.post(
            _path(item_id) + "/stop", {} if grace_s is None else {"grace_s": grace_s}
        )

    def retry(self, item_id: str, *, idempotency_key: str) -> dict[str, Any]:
        """Queue the same spec again as a new item."""
        headers = {"Idempotency-Key": idempotency_key}
        made: dict[str, Any] = self._wire.send(
            "POST", _path(item_id) + "/retry", body={}, headers=headers
        ).json()
        return made

    def set_priority(self, item_id: str, priority: int | str) -> dict[str, Any]:
        """Change a waiting item's priority."""
        return self._wire.post(_path(item_id) + "/priority", {"priority": priority})

    def delete(self, item_id: str) -> dict[str, Any]:
        """Stop an item and leave a tombstone."""
        gone: dict[str, Any] = self._wire.send("DELETE", _path(item_id)).json()
        return gone

    def explain(self, item_id: str) -> dict[str, Any]:
        """Return why an item waits: `{sentence, reasons, position, ahead}`."""
        return self._wire.get(_path(item_id) + "/explain")

    def events(self, item_id: str) -> list[dict[str, Any]]:
        """Return what happened to an item, oldest first."""
        found: list[dict[str, Any]] = self._wire.get(_path(item_id) + "/events")["items"]
        return found

    def follow_events(self, item_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield events as they happen, from one connection; the caller resumes with `after`."""
        from shipway.client.sse import parse  # noqa: PLC0415 - `launch_add` needs no events

        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = str(after)
        path = _path(item_id) + "/events"
        with self._wire.stream(path, headers=headers, timeout_s=STREAM_SILENCE_S) as response:
            for event in parse(response):
                yield json.loads(event.data)

    def log(
        self,
        item_id: str,
        *,
        name: str = "program",
        attempt: int | None = None,
        offset: int = 0,
        limit: int = LOG_PAGE,
        wait_s: float = 0,
        patience_s: float | None = None,
    ) -> LogPage:
        """Return framed log from an offset; `wait_s` holds the request until there is more."""
        reply = self._wire.send(
            "GET",
            _path(item_id) + "/logs",
            query={
                "name": name,
                "attempt": attempt,
                "offset": offset,
                "limit": limit,
                "wait_s": f"{wait_s:.3f}" if wait_s else None,
            },
            headers={"Accept": "application/octet-stream"},
            wait_s=wait_s,
            patience_s=patience_s,
        )
        end = offset + len(reply.data)
        return LogPage(
            attempt=int(reply.headers.get("shipway-attempt", attempt or 0)),
            data=reply.data,
            size=int(reply.headers.get("shipway-log-size", end)),
            next=int(reply.headers.get("shipway-log-next", end)),
            is_ended=reply.headers.get("shipway-log-ended") == "1",
        )

    def append_log(
        self,
        item_id: str,
        name: str,
        packed: bytes,
        *,
        token: str,
        attempt: int,
        offset: int,
        first_at: int,
        last_at: int,
    ) -> int:
        """Append a zlib-compressed piece of a log; return the log's size after it.

        Raises `WrongOffset` with the size that the server has, `LeaseLost` for an old token.
        """
        reply = self._wire.send(
            "POST",
            f"{_path(item_id)}/log/{segment(name)}",
            query={
                "attempt": attempt,
                "offset": offset,
                "first_at": first_at,
                "last_at": last_at,
            },
            data=packed,
            headers={TOKEN_HEADER: token},
        )
        return int(reply.json()["size"])

    def pin(self, item_id: str, *, token: str, lock: str) -> dict[str, Any]:
        """Pin the digest of the resolved lock on an item."""
        return self._wire.post(_path(item_id) + "/pin", {"token": token, "lock": lock})


def _path(item_id: str) -> str:
    return f"/items/{segment(item_id)}"
