"""Makes and types the identifiers of everything that is stored."""

from __future__ import annotations

import re
from typing import NewType, Protocol

ItemId = NewType("ItemId", str)  # 26 characters, sorts by time
RunId = NewType("RunId", str)  # 8 characters when shipway makes it, else the caller's
QueueId = NewType("QueueId", int)
AgentId = NewType("AgentId", str)
UserName = NewType("UserName", str)
KeyId = NewType("KeyId", str)
Token = NewType("Token", str)  # the proof of a lease
Digest = NewType("Digest", str)  # 64 lower-case hex digits: SHA-256

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS32 = tuple(a + b for a in _BASE32 for b in _BASE32)  # two digits at once
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")

KEY_SECRET_LENGTH = 40  # wandb's login wants exactly so many after the first dash


class Random(Protocol):
    """The source of randomness that callers pass in: `random.SystemRandom` or a seeded one."""

    def getrandbits(self, k: int, /) -> int:
        """Return a number of at most k random bits."""


def new_item_id(now_ms: int, random: Random) -> ItemId:
    """Make an id that sorts by time: 48 bits of time, 80 random bits, base 32."""
    return ItemId(_encode32((now_ms << 80) | random.getrandbits(80), 26))


def new_agent_id(random: Random) -> AgentId:
    """Make an agent's id, kept by it across restarts."""
    return AgentId("agent-" + _encode32(random.getrandbits(60), 12))


def new_run_id(random: Random) -> RunId:
    """Make a run id of eight characters, as wandb's are."""
    return RunId(_encode36(random.getrandbits(41), 8))


def new_token(random: Random) -> Token:
    """Make the token of a lease: 120 random bits."""
    return Token(_encode32(random.getrandbits(120), 24))


def new_tokens(count: int, random: Random) -> tuple[Token, ...]:
    """Make the tokens of many leases: chance is asked once, which costs most."""
    bits = random.getrandbits(120 * count).to_bytes(15 * count, "big")
    parts = (bits[at : at + 15] for at in range(0, len(bits), 15))
    return tuple(Token(_encode32(int.from_bytes(part, "big"), 24)) for part in parts)


def new_key(key_id: str, random: Random) -> str:
    """Make a key: `sw_<id>-` and 40 characters of 200 random bits."""
    return f"sw_{key_id}-{_encode32(random.getrandbits(200), KEY_SECRET_LENGTH)}"


def new_key_id(random: Random) -> KeyId:
    """Make the public half of a key."""
    return KeyId(_encode32(random.getrandbits(50), 10))


def split_key(key: str) -> tuple[KeyId, str] | None:
    """Return a key's id and secret, or None for text that cannot be a key."""
    head, dash, secret = key.partition("-")
    if not dash or not head.startswith("sw_") or len(secret) != KEY_SECRET_LENGTH:
        return None
    return KeyId(head[3:]), secret


def is_digest(text: str) -> bool:
    """Tell whether text is 64 lower-case hex digits."""
    return _DIGEST.match(text) is not None


def _encode32(number: int, length: int) -> str:
    assert length % 2 == 0
    return "".join([_PAIRS32[(number >> bits) & 1023] for bits in range(5 * length - 10, -1, -10)])


def _encode36(number: int, length: int) -> str:
    out = []
    for _ in range(length):
        number, digit = divmod(number, 36)
        out.append(_BASE36[digit])
    return "".join(reversed(out))
