"""The order that the local-process runner sends to a slot, as it is written and as it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from shipway.domain.spool import MARK_VARIABLE, split_mark

ORDER_FILE = "order"  # in the attempt's folder: an order too large for a datagram
ORDER_LIMIT = 64 << 10  # bytes of an order that still travels as a datagram
ORDER_READ = ORDER_LIMIT + 1  # bytes that a slot reads at once
BIG_ORDER = b"\0"  # instead of an order: the folder whose file holds it follows
LOOK = b"\1"  # instead of an order: the board has news; an idle slot says that it is there
PACKED = 1  # the newest form of an order, as a guardian says that its slots read it; 0 = JSON only
_PACKED = b"\2"  # how a packed order begins
_MARK = MARK_VARIABLE.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a slot is told to start; its deadline and stop requests stand on the board."""

    mark: str
    token: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    folder: str
    grace_ms: int
    run_limit_ms: int  # 0 = none
    log_cap: int

    def to_bytes(self, form: int) -> bytes:
        """Return the datagram's text, in a form that the slots of a supervisor read."""
        numbers = f"{self.grace_ms} {self.run_limit_ms} {self.log_cap} {len(self.argv)}"
        texts = [self.mark, self.token, self.cwd, self.folder, numbers, *self.argv]
        texts += self.env
        texts += self.env.values()
        text = "\0".join(texts)
        if form < PACKED or text.count("\0") != len(texts) - 1:  # no program can have a NUL
            return self._to_json()
        try:
            return _PACKED + os.fsencode(text)
        except UnicodeEncodeError:  # nor this: the slot says so
            return self._to_json()

    def _to_json(self) -> bytes:
        numbers = (self.grace_ms, self.run_limit_ms, self.log_cap)
        texts = (self.token, self.argv, dict(self.env), self.cwd, self.folder)
        return json.dumps([*split_mark(self.mark), *texts, *numbers]).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An order as a slot reads it: bytes as the kernel takes them, or text that it may refuse."""

    mark: str
    token: str
    argv: list[bytes] | list[str]
    env: Mapping[bytes, bytes] | Mapping[str, str]  # with the attempt's mark
    cwd: str
    folder: str
    grace_ms: int
    run_limit_ms: int
    log_cap: int

    @classmethod
    def from_bytes(cls, data: bytes) -> Command:
        """Read an order of any form."""
        if not data.startswith(_PACKED):
            return cls._from_json(data)
        mark, token, cwd, folder, numbers, *texts = data[1:].split(b"\0")
        grace, limit, cap, argc = numbers.split()
        at = int(argc)
        values = (at + len(texts)) // 2
        env = dict(zip(texts[at:values], texts[values:], strict=True))
        env[_MARK] = mark
        return cls(
            mark=mark.decode(),
            token=token.decode(),
            argv=texts[:at],
            env=env,
            cwd=os.fsdecode(cwd),
            folder=os.fsdecode(folder),
            grace_ms=int(grace),
            run_limit_ms=int(limit),
            log_cap=int(cap),
        )

    @classmethod
    def _from_json(cls, data: bytes) -> Command:
        item, attempt, token, argv, env, cwd, folder, grace, limit, cap = json.loads(data.decode())
        mark = f"{item}.{attempt}"
        return cls(
            mark=mark,
            token=token,
            argv=argv,
            env={**env, MARK_VARIABLE: mark},
            cwd=cwd,
            folder=folder,
            grace_ms=grace,
            run_limit_ms=limit,
            log_cap=cap,
        )
