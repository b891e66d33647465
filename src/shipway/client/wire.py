"""Sends requests to one server, again where that is safe and useful."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote, urlencode

from shipway import __version__
from shipway.client.failures import failure_of
from shipway.domain.errors import Code, Invalid, ShipwayError
from shipway.domain.ids import Random
from shipway.http.connections import Connections
from shipway.http.message import Answer, AnswerTooLarge, read_answer, write_request

API = "/api/v1"
READ_TIMEOUT_S = 30.0  # for an answer to begin, and between its pieces
CONNECT_TIMEOUT_S = 10.0
PATIENCE_S = 10.0  # how long a request is tried before the server counts as unreachable
FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 5.0
ANSWER_LIMIT = 256 << 20  # bytes of one answer that is read whole

_AGAIN = frozenset({408, 429, 502, 503, 504})  # statuses after which the same may succeed
_ENDED = (OSError, HTTPException)


class SystemRandom:
    """Random bits of the operating system, without the cost of importing `random`."""

    def getrandbits(self, k: int, /) -> int:
        """Return a number of at most k random bits."""
        return int.from_bytes(os.urandom((k + 7) // 8)) >> (-k % 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, ready to be sent any number of times."""

    method: str
    path: str  # from the server's root, with its query
    body: bytes | None = None
    headers: Mapping[str, str]
    timeout_s: float
    patience_s: float


class Wire:
    """The way to one server: keeps connections, signs requests, tries again."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout_s: float = READ_TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        env: Mapping[str, str] | None = None,
        random: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {key}",
            "User-Agent": f"shipway/{__version__}",
            "Accept": "application/json",
        }
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._random = random or SystemRandom()
        self._clock = clock
        self._sleep = sleep
        self._connections = Connections(
            self.base_url,
            connect_timeout_s=min(CONNECT_TIMEOUT_S, timeout_s),
            env=os.environ if env is None else env,
        )

    def get(
        self, path: str, query: Mapping[str, Any] | None = None, *, wait_s: float = 0
    ) -> dict[str, Any]:
        """Return the JSON of a GET; `wait_s` is how long the server may take on purpose."""
        found: dict[str, Any] = self.send("GET", path, query=query, wait_s=wait_s).json()
        return found

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, wait_s: float = 0
    ) -> dict[str, Any]:
        """Return the JSON of a POST, which is sent again as it is when its answer is lost."""
        made: dict[str, Any] = self.send("POST", path, body=body or {}, wait_s=wait_s).json()
        return made

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0,
        patience_s: float | None = None,
        root: str = API,
    ) -> Answer:
        """Send a request until it is answered, and return a success.

        Every write of shipway's is safe to repeat, so a lost answer is asked for again with
        growing pauses, for `patience_s` seconds (0: once). Raises the error of the answer's code,
        or `ShipwayError` with code `unreachable` that names the address.
        """
        own = {} if body is None else {"Content-Type": "application/json"}
        if data is not None:
            own = {"Content-Type": "application/octet-stream"}
        request = Request(
            method=method,
            path=root + path + _query(query),
            body=data if body is None else _encode(body),
            headers={**self._headers, **own, **(headers or {})},
            timeout_s=self._timeout_s + wait_s,
            patience_s=self._patience_s if patience_s is None else patience_s,
        )
        return self._persist(request)

    def health(self, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Return `/healthz`, asked once and without the key."""
        request = Request(
            method="GET",
            path="/healthz",
            headers={"User-Agent": f"shipway/{__version__}"},
            timeout_s=timeout_s,
            patience_s=0,
        )
        found: dict[str, Any] = self._persist(request).json()
        return found

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Iterator[HTTPResponse]:
        """Open an answer to be read piece by piece, on a connection of its own, asked once."""
        connection = self._connections.make()
        try:
            try:
                connection.timeout = timeout_s
                connection.request(
                    "GET",
                    self._connections.target(API + path + _query(query)),
                    headers={
                        **self._connections.headers,
                        **self._headers,
                        **(headers or {}),
                    },
                )
                response = connection.getresponse()
            except _ENDED as error:
                raise self._unreachable(error, tries=1) from error
            if response.status >= 300:
                raise failure_of(response.status, response.read(1 << 20), address=self.base_url)
            yield response
        finally:
            connection.close()

    def new_key(self) -> str:
        """Return an idempotency key that nobody used before."""
        return f"{self._random.getrandbits(128):032x}"

    def close(self) -> None:
        """Close this thread's connection."""
        self._connections.drop()

    def _persist(self, request: Request) -> Answer:
        """Send, and send again after a pause while patience lasts."""
        end: float | None = None  # counted from the first failure: a long poll may come before it
        tries = 0
        while True:
            tries += 1
            pause = self._pause(tries)
            try:
                answer = self._exchange(request)
            except _ENDED as error:
                failure = self._unreachable(error, tries=tries)
                if _is_final(error):
                    raise failure from error
            else:
                if answer.status < 300:
                    return answer
                failure = failure_of(answer.status, answer.data, address=self.base_url)
                if answer.status not in _AGAIN or failure.code is Code.RATE_LIMITED:
                    raise failure
                pause = max(pause, _retry_after(answer.headers))
            if end is None:
                end = self._clock() + request.patience_s
            if self._clock() + pause > end:
                raise failure
            self._sleep(pause)

    def _exchange(self, request: Request) -> Answer:
        """Send once; a kept connection that the server closed meanwhile is replaced at once."""
        connection = self._connections.take()
        was_open = connection.sock is not None
        try:
            return self._exchange_on_held(request)
        except ConnectionError:
            if not was_open:
                raise
        return self._exchange_on_held(request)

    def _exchange_on_held(self, request: Request) -> Answer:
        connection = self._connections.take()
        may_go_on = False
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(request.timeout_s)
            start = f"{request.method} {self._connections.target(request.path)}"
            headers = {**self._connections.headers, **request.headers}
            write_request(connection.sock, start, headers, request.body)
            answer = read_answer(connection.sock, limit=ANSWER_LIMIT)
        except AnswerTooLarge as error:
            raise ShipwayError(
                f"the answer of {self.base_url} is {error}, the limit is {ANSWER_LIMIT:,}",
                code=Code.TOO_LARGE,
            ) from None
        else:
            may_go_on = not answer.is_last
            return answer
        finally:
            if not may_go_on:  # an interrupt too: half an answer must not meet the next request
                self._connections.drop()

    def _pause(self, tries: int) -> float:
        """Return a pause that doubles, cut at random by up to a half."""
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(tries - 1, 16))
        return longest * (0.5 + self._random.getrandbits(16) / (1 << 17))

    def _unreachable(self, error: Exception, *, tries: int) -> ShipwayError:
        reason = str(error) or type(error).__name__
        return ShipwayError(
            f"no answer from the shipway server at {self.base_url} after {tries} "
            f"{'try' if tries == 1 else 'tries'}: {reason}",
            code=Code.UNREACHABLE,
            details={"address": self.base_url, "tries": tries, "reason": reason},
        )


def segment(text: object) -> str:
    """Return an id or a name as one part of an address; raise `Invalid` unless it is text."""
    if not isinstance(text, str) or not text:
        raise Invalid(f"an id or a name must be text of 1 character or more, not {text!r}")
    return quote(text, safe="")


def _query(query: Mapping[str, Any] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return "?" + urlencode(given) if given else ""


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer asks to wait; dates are not used by our servers."""
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _is_final(error: Exception) -> bool:
    """Tell whether trying again is vain: the certificate is not trusted."""
    return type(error).__name__ == "SSLCertVerificationError"
