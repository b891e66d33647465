"""Remembers the answers to creates that carried an idempotency key."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shipway.domain.actor import Actor
from shipway.domain.errors import KeyReused
from shipway.service.ports import Clock

KEPT_MS = 600_000  # long enough for a client that repeats a request whose answer was lost
KEPT = 10_000  # answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a create was answered with."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    body_hash: bytes
    answer: asyncio.Future[Answer]
    until: int


class Replays:
    """Answers of the last minutes by actor, route and key.

    Items keep their keys in their rows, for ever. The other creates are rare and small: this
    memory covers the lost answer, and their unique names cover a server that was restarted
    between the request and its repeat. Secrets shown once (a new key) stay here for ten minutes
    at most and never reach a disk.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str, str], _Entry] = OrderedDict()

    async def once(
        self,
        actor: Actor,
        route: str,
        key: str | None,
        body: bytes,
        work: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        """Do the work, or return what it was answered with; another body is `KeyReused`."""
        if key is None:
            return await work()
        self._forget()
        name = (actor.user, route, key)
        body_hash = hashlib.sha256(body).digest()
        known = self._entries.get(name)
        if known is not None:
            if known.body_hash != body_hash:
                raise KeyReused(
                    f"the idempotency key {key[:64]!r} was used for another request before: "
                    "use a new one"
                )
            return await asyncio.shield(known.answer)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        until = self._clock.monotonic() + KEPT_MS
        self._entries[name] = _Entry(body_hash=body_hash, answer=answer, until=until)
        try:
            result = await work()
        except BaseException as error:
            self._entries.pop(name, None)  # a refusal may be put right and sent again
            answer.set_exception(error)
            answer.exception()  # seen: nobody else may have waited
            raise
        answer.set_result(result)
        return result

    def _forget(self) -> None:
        now = self._clock.monotonic()
        while self._entries:
            first = next(iter(self._entries.values()))
            if first.until > now and len(self._entries) < KEPT:
                return
            self._entries.popitem(last=False)
