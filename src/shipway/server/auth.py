"""Finds out who asks: by key, by session cookie, and how many wrong keys they sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from shipway.domain.actor import Actor, Session
from shipway.domain.errors import Code, Forbidden, ShipwayError, Unauthenticated
from shipway.server.edge import Edge
from shipway.server.settings import KEY_CACHE_S

CACHE_LIMIT = 20_000  # keys and sessions
ADDRESS_LIMIT = 10_000  # addresses whose wrong keys are counted
MINUTE_S = 60.0
NO_KEY = "no key was sent: use 'Authorization: Bearer KEY', or sign in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and by which session if a browser does."""

    actor: Actor
    session: Session | None = None
    cookie: str | None = None


class Throttle:
    """Counts wrong keys by address; a valid key is never refused for them."""

    def __init__(self, *, limit: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str) -> None:
        """Count a wrong key; raise the refusal of one too many."""
        now = self._monotonic()
        times = self._wrong.setdefault(address, deque(maxlen=self._limit + 1))
        self._wrong.move_to_end(address)
        while times and now - times[0] > MINUTE_S:
            times.popleft()
        times.append(now)
        while len(self._wrong) > ADDRESS_LIMIT:
            self._wrong.popitem(last=False)
        if len(times) > self._limit:
            raise ShipwayError(
                f"more than {self._limit} wrong keys a minute came from this address: "
                "wait a minute, and check the key",
                code=Code.RATE_LIMITED,
            )


class Auth:
    """Authenticates requests; answers are kept for less than five seconds."""

    def __init__(self, edge: Edge, *, is_tls: bool) -> None:
        self._edge = edge
        self._salt = secrets.token_bytes(16)
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self.throttle = Throttle(limit=edge.settings.limits.wrong_keys)
        self.cookie_name = "__Host-shipway" if is_tls else "shipway"
        self._is_tls = is_tls

    async def identify(self, headers: dict[bytes, bytes], address: str) -> Caller:
        """Return who asks, or raise `Unauthenticated`; a header goes before a cookie."""
        authorization = headers.get(b"authorization")
        if authorization is not None:
            return await self._by_key(authorization, address)
        cookie = self._cookie(headers)
        if cookie is None:
            raise Unauthenticated(NO_KEY)
        return await self._by_cookie(cookie)

    async def sign_in(self, key: str, address: str) -> str:
        """Begin a browser session with a key and return its cookie text."""
        keys = self._edge.service.keys
        try:
            return await self._edge.write(lambda tx: keys.sign_in(tx, key))
        except Unauthenticated:
            self.count_wrong(address)
            raise

    async def sign_out(self, cookie: str) -> None:
        """End a browser session, at once for this server."""
        keys = self._edge.service.keys
        await self._edge.write(lambda tx: keys.sign_out(tx, cookie))
        self._known.pop(self._digest(b"c" + cookie.encode()), None)

    def forget(self) -> None:
        """Ask the rows again for every key: one was just revoked."""
        self._known.clear()

    def cookie_header(self, cookie: str | None) -> str:
        """Return the Set-Cookie header that keeps a session, or ends one."""
        secure = "; Secure" if self._is_tls else ""
        life = "; Max-Age=0" if cookie is None else ""
        text = f"{self.cookie_name}={cookie or ''}; Path=/; HttpOnly; SameSite=Lax"
        return f"{text}{secure}{life}"

    def count_wrong(self, address: str) -> None:
        """Count a wrong key of an address; raise the refusal of one too many."""
        self._edge.metrics.wrong_keys += 1
        self.throttle.note(address)

    async def _by_key(self, authorization: bytes, address: str) -> Caller:
        digest = self._digest(authorization)
        known = self._known.get(digest)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        try:
            key = _key_of(authorization)
            keys = self._edge.service.keys
            actor = await self._edge.read(lambda tx: keys.authenticate(tx, key))
        except Unauthenticated:
            self.count_wrong(address)
            raise
        caller = Caller(actor=actor)
        self._keep(digest, caller)
        return caller

    async def _by_cookie(self, cookie: str) -> Caller:
        digest = self._digest(b"c" + cookie.encode())
        known = self._known.get(digest)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        keys = self._edge.service.keys
        actor, session = await self._edge.read(lambda tx: keys.session(tx, cookie))
        await self._edge.write(lambda tx: keys.seen(tx, session))
        caller = Caller(actor=actor, session=session, cookie=cookie)
        self._keep(digest, caller)
        return caller

    def _cookie(self, headers: dict[bytes, bytes]) -> str | None:
        text = headers.get(b"cookie", b"").decode("latin-1")
        for part in text.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie_name and value:
                return value
        return None

    def _keep(self, digest: bytes, caller: Caller) -> None:
        self._known[digest] = (caller, time.monotonic() + KEY_CACHE_S)
        self._known.move_to_end(digest)
        while len(self._known) > CACHE_LIMIT:
            self._known.popitem(last=False)

    def _digest(self, secret: bytes) -> bytes:
        return hashlib.blake2b(secret, key=self._salt, digest_size=16).digest()


def check_change(caller: Caller, headers: dict[bytes, bytes], form_token: str | None) -> None:
    """Raise `Forbidden` unless a change by cookie comes from a page of this server's own."""
    session = caller.session
    if session is None:
        return
    check_origin(headers)
    token = headers.get(b"shipway-csrf", b"").decode("latin-1") or form_token or ""
    if not secrets.compare_digest(token.encode(), session.csrf.encode()):
        raise Forbidden("the page is out of date: load it again and repeat (no valid CSRF token)")


def check_origin(headers: dict[bytes, bytes]) -> None:
    """Raise `Forbidden` unless the request says that it comes from this server's own pages."""
    origin = headers.get(b"origin", b"")
    host = headers.get(b"host", b"")
    if not host or origin not in {b"http://" + host, b"https://" + host}:
        raise Forbidden("a change by cookie must come from this server's own pages (Origin)")


def _key_of(authorization: bytes) -> str:
    scheme, _, value = authorization.partition(b" ")
    value = value.strip()
    if scheme.lower() == b"bearer":
        return value.decode("latin-1")
    if scheme.lower() == b"basic":
        try:
            pair = base64.b64decode(value, validate=True).decode("utf-8", "replace")
        except binascii.Error:
            raise Unauthenticated("the Basic authorization is not base64") from None
        return pair.partition(":")[2]
    raise Unauthenticated("use 'Authorization: Bearer KEY', or Basic with 'api:KEY'")
