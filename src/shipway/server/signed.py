"""Signs addresses that carry their own right, and reads them back."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

from shipway.domain.errors import Forbidden, Unauthenticated
from shipway.service.ports import Clock

PREFIX = "/files/signed/"  # what follows is a secret for as long as it lives
LIFE_MS = 3_600_000
TEXT_LIMIT = 16_384  # characters of a signed text
_MAC = 32  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """What an address allows: one method on one file of one run, or of one artifact."""

    method: str  # PUT, GET
    entity: str
    project: str
    run: str
    path: str
    size: int  # bytes: at most of a PUT, exactly of a GET
    digest: str = ""  # of a GET
    attempt: int = 0  # of a program's own key,
    item: str = ""  # and of what item, for a file of an artifact
    artifact: int = 0  # 0: the file is a run's
    manifest: int = 0  # the file is this manifest
    md5: str = ""  # in base64: of a PUT's bytes; empty: whatever they are
    expires_at: int = 0


class Signer:
    """Makes and checks signed addresses; the key is the database's."""

    def __init__(self, *, clock: Clock, base_url: str) -> None:
        self._clock = clock
        self._base_url = base_url
        self._key = b""

    def begin(self, key: bytes) -> None:
        """Sign from now on."""
        self._key = key

    def address(self, right: Right) -> str:
        """Return an absolute address that holds for an hour."""
        assert self._key, "the server has begun"
        values = asdict(right) | {"expires_at": self._clock.now() + LIFE_MS}
        text = json.dumps(values, separators=(",", ":")).encode()
        return f"{self._base_url}{PREFIX}{_encode(self._mac(text) + text)}"

    def read(self, method: str, path: str) -> Right:
        """Return what an address allows; refuse one not signed, not young, or not for this."""
        data = _decode(path.removeprefix(PREFIX))
        mac, text = data[:_MAC], data[_MAC:]
        if not self._key or not hmac.compare_digest(mac, self._mac(text)):
            raise Unauthenticated("the address is not one that this server signed")
        right = Right(**json.loads(text))
        if right.method != method:
            raise Forbidden(f"the address was signed for {right.method}")
        if right.expires_at < self._clock.now():
            raise Forbidden("the address is older than an hour: ask for another")
        return right

    def _mac(self, text: bytes) -> bytes:
        return hmac.new(self._key, text, hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        if len(text) > TEXT_LIMIT:
            return b""
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
