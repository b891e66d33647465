"""Makes requests of the server's own OpenAPI document, sends them, judges the answers."""

from __future__ import annotations

import copy
import http.client
import json
import logging
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import jsonschema
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode

from tests.support.rest_server import Running

SHORTEST_S = 0.02  # of every wait that a request asks for
SILENCE_S = 20.0  # after which an answer counts as missing
STREAM_READ = 64 << 10  # bytes read of a stream of events
STREAM_S = 0.2  # without a word, after which a stream counts as one that goes on
KEPT = frozenset({"idempotency-key", "shipway-token", "last-event-id", "content-encoding"})
TRACES = (b"Traceback (most recent call last)", b'File "/', b"site-packages")
EVENTS = "text/event-stream"
HELD = ("/log/{name}", "/pin")  # the ends of routes that only a lease's holder may use
LAST = ("DELETE ", "POST /api/v1/agents/", "POST /api/v1/items/{item_id}/stop")  # undo others

_WORDS = (
    "", " ", "a", "-x", "..", "../..", "/etc/passwd", "a/b", "a:b", "%00", "%s", "'", '"; --',
    "\0", "a\0b", "\ud800", "\ufffe", "é", "名", "\u202e", "\r\n", "\x1b[31m", "x" * 300,
    "x" * 70_000, "null", "NaN", "0", "-1", "²", "٣", "1e999", "9" * 40, "9" * 5_000,
)  # fmt: skip
_NUMBERS = (
    0, 1, -1, 255, 1 << 31, -(1 << 31) - 1, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, -(1 << 63),
    -(1 << 63) - 1, 1 << 64, 1 << 200, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"),
)  # fmt: skip
OFTEN = st.sampled_from((True, True, True, True, False))
CHANGES = st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3))  # of a good body
COUNTED = frozenset({"after", "offset", "attempt", "limit", "timeout_s", "wait_s"})
ODD_COUNTS = st.sampled_from((
    "", "0", "1", "²", "-1", "1e3", "1.5", "NaN", "inf", "0x1", "1_0", " 1", "+1", "9" * 15,
    "9" * 16, str((1 << 63) - 1), str(1 << 63), str(1 << 64), "9" * 40, "9" * 5_000,
))  # fmt: skip
ODD_WORDS = st.sampled_from(_WORDS)
ODD = st.one_of(
    ODD_WORDS,
    st.sampled_from(_NUMBERS),
    st.sampled_from((None, True, False, [], {}, [[]], [None], {"": {}}, {"a": {"b": [1, {}]}})),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ),
).map(copy.deepcopy)  # for what is put into a body may be changed there


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, ready to be sent; its printed form is enough to send it again."""

    route: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(slots=True, kw_only=True)
class Known:
    """What the server has, so that requests get past the first look."""

    names: Mapping[str, Sequence[str]]  # of a path's or a query's parameter, of a body's field
    leases: Sequence[tuple[str, str]]  # item and token of each
    offsets: Sequence[int]  # where their logs may end
    bodies: Mapping[str, Sequence[Any]]  # good ones, by route
    keys: Sequence[str | None]


@dataclass(slots=True)
class Verdicts:
    """What was wrong, at most a few of each kind; and what came back at all."""

    faults: dict[str, list[str]] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)

    def add(self, kind: str, told: str) -> None:
        """Keep a fault, and not the hundredth of its kind."""
        found = self.faults.setdefault(kind, [])
        if len(found) < 3:
            found.append(told)

    def __str__(self) -> str:
        return "\n".join(f"{kind}:\n  " + "\n  ".join(told) for kind, told in self.faults.items())


def fuzz(server: Running, known: Known, verdicts: Verdicts, *, each: int, number: int) -> None:
    """Send so many requests to every route, of a seed; keep what was wrong."""
    document = server.admin.get("/api/v1/openapi.json").json
    found = schemathesis.openapi.from_dict(document).get_all_operations()
    for operation in sorted((one.ok() for one in found), key=_turn):

        @seed(number)
        @settings(
            max_examples=each,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(_requests(operation, known))
        def send(request: Request) -> None:
            _try(server, document, request, verdicts)

        send()


def _turn(operation: Any) -> int:
    """Put first what needs a lease that holds, last what undoes the work of others."""
    if operation.path.endswith(HELD):
        return 0
    if operation.label.startswith(LAST):
        return 3
    return 1 if "/leases" in operation.path else 2


@contextmanager
def listening(verdicts: Verdicts) -> Iterator[None]:
    """Count what the server writes down as its own fault."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trace = self.formatter or logging.Formatter()
            told = trace.format(record)[-1500:]
            verdicts.add(f"logged: {record.getMessage()}", told)

    ear = Ear(logging.ERROR)
    log = logging.getLogger("shipway")
    log.addHandler(ear)
    try:
        yield
    finally:
        log.removeHandler(ear)


@st.composite
def _requests(draw: st.DrawFn, operation: Any, known: Known) -> Request:
    route = f"{operation.method.upper()} {operation.path}"
    is_wrong = draw(st.integers(0, 3)) == 0 and route != "GET /healthz"
    mode = GenerationMode.NEGATIVE if is_wrong else GenerationMode.POSITIVE
    case = draw(operation.as_strategy(generation_mode=mode))
    path = operation.path
    item, token = draw(st.sampled_from(known.leases))
    for name, value in (case.path_parameters or {}).items():
        taken = (
            item
            if operation.path.endswith(HELD) and name == "item_id"
            else draw(_instead(name, known))
        )
        part = str(value) if taken is None else urllib.parse.quote(taken, safe="")
        path = path.replace(f"{{{name}}}", part or "%20")
    query = dict(case.query or {})
    if query and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(query)))
        taken = draw(_instead(name, known))
        query[name] = taken or draw(ODD_COUNTS if name in COUNTED else ODD_WORDS)
    for name in ("wait_s", "timeout_s"):
        if name in query or operation.path.endswith("/wait"):
            query[name] = SHORTEST_S if draw(st.booleans()) else draw(ODD_COUNTS)
    if route.endswith("/log/{name}") and draw(OFTEN):
        query |= {"attempt": 1, "offset": draw(st.sampled_from(known.offsets))}
    headers, target = _headers(draw, case, route, known), path
    if route.endswith(HELD) and draw(OFTEN):
        headers["Shipway-Token"] = token
    if query:
        target += "?" + _quoted(query)
    return Request(
        route=route,
        method=operation.method.upper(),
        target=target,
        headers=headers,
        body=_body(draw, case, route, known),
    )


def _quoted(query: Mapping[str, Any]) -> str:
    pairs = [
        (name, one if isinstance(one, str) else json.dumps(one))
        for name, value in query.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    return urllib.parse.urlencode(pairs, errors="surrogatepass")


def _headers(draw: st.DrawFn, case: Any, route: str, known: Known) -> dict[str, str]:
    headers = {
        name: str(value)
        for name, value in (case.headers or {}).items()
        if name.lower() in KEPT and _may_be_sent(str(value))
    }
    key = draw(st.sampled_from(known.keys))
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if route.endswith(("/events", "/logs")) and draw(st.booleans()):
        headers["Accept"] = EVENTS
        parts = draw(st.sampled_from((1, 1, 3, 3, 2)))
        mark = ".".join(draw(ODD_COUNTS) for _ in range(parts))
        if _may_be_sent(mark):
            headers["Last-Event-ID"] = mark
    return headers


def _may_be_sent(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return len(value) < 20_000 and not any(ord(c) < 32 or ord(c) == 127 for c in value)


def _body(draw: st.DrawFn, case: Any, route: str, known: Known) -> bytes | None:
    good = known.bodies.get(route)
    body = copy.deepcopy(case.body)
    if good and draw(OFTEN):
        chosen = draw(st.sampled_from(good))
        if isinstance(chosen, bytes):
            return _torn(draw, chosen)
        body = _changed(draw, copy.deepcopy(chosen), known)
    if isinstance(body, bytes):
        return body
    if hasattr(body, "data") and isinstance(body.data, bytes):
        return body.data
    if type(body).__name__ == "NotSet":
        return None
    _shorten(body)
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError):
        return b"{"


def _torn(draw: st.DrawFn, data: bytes) -> bytes:
    """Return bytes with a few of them changed, or cut."""
    found = bytearray(data)
    for _ in range(draw(CHANGES)):
        at = draw(st.integers(0, len(found)))
        found[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(found)


def _changed(draw: st.DrawFn, body: Any, known: Known) -> Any:
    """Return a good body with some of its values odd, gone, doubled, or another's."""
    for _ in range(draw(CHANGES)):
        places = list(_places(body))
        if not places:
            return draw(ODD)
        inner, place = draw(st.sampled_from(places))
        how = draw(st.integers(0, 7))
        if how == 0:
            del inner[place]
        elif how == 1 and isinstance(inner, dict):
            inner[draw(st.text(max_size=3) | ODD_WORDS)] = draw(ODD)
        elif how == 1:
            inner.append(copy.deepcopy(inner[place]))
        elif how == 2 and (taken := draw(_instead(str(place), known))) is not None:
            inner[place] = taken
        else:
            inner[place] = draw(ODD)
    return body


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from _places(value[key])


def _instead(name: str, known: Known) -> st.SearchStrategy[str | None]:
    names = known.names.get(name, ())
    return st.sampled_from([*names, *names, None]) if names else st.none()


def _shorten(body: Any) -> None:
    """Let no long poll wait."""
    if isinstance(body, dict) and isinstance(body.get("wait_s"), int | float):
        body["wait_s"] = min(body["wait_s"], SHORTEST_S)


def _try(server: Running, document: Any, request: Request, verdicts: Verdicts) -> None:
    try:
        status, headers, body = _send(server.port, request)
    except (OSError, http.client.HTTPException) as error:
        verdicts.add(f"no answer: {type(error).__name__}", f"{error}: {request}"[:3000])
        return
    verdicts.statuses[status] = verdicts.statuses.get(status, 0) + 1
    for kind in _judge(document, request, status, headers, body):
        verdicts.add(kind, f"{status} {body[:300]!r} <- {request}"[:3000])


def _send(port: int, request: Request) -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SILENCE_S)
    try:
        connection.putrequest(request.method, request.target, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value.encode("latin-1"))
        if request.body is not None or request.method != "GET":
            connection.putheader("Content-Length", str(len(request.body or b"")))
        connection.endheaders(request.body)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        if headers.get("content-type", "").startswith(EVENTS):
            return answer.status, headers, _begin_of(connection, answer)
        return answer.status, headers, answer.read()
    finally:
        connection.close()


def _begin_of(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> bytes:
    """Read a stream of events to its end, or until it has no more to say for now."""
    assert connection.sock is not None
    connection.sock.settimeout(STREAM_S)
    said = b""
    with suppress(TimeoutError):
        while len(said) < STREAM_READ and (piece := answer.read1(STREAM_READ)):
            said += piece
    return said


def _judge(
    document: Any, request: Request, status: int, headers: Mapping[str, str], body: bytes
) -> Iterator[str]:
    """Name what is wrong with an answer."""
    if any(trace in body for trace in TRACES):
        yield f"stack trace: {request.route}"
    is_json = headers.get("content-type", "").startswith("application/json")
    try:
        value = json.loads(body) if is_json else None
    except ValueError:
        yield f"no JSON: {request.route}"
        return
    if status < 300:
        path, method = request.route.split(" ")[1], request.method.lower()
        if str(status) not in document["paths"][path][method]["responses"]:
            yield f"undocumented {status}: {request.route}"
        return
    try:
        jsonschema.validate(value, {**document, "$ref": "#/components/schemas/Error"})
    except jsonschema.ValidationError as error:
        yield f"no error's form: {request.route}: {error.message[:80]}"
        return
    code = value["error"]["code"]
    if status >= 500 and code != "not_available":
        yield f"{status} {code}: {request.route}"
    codes = document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]
    if codes["x-status"][code] != f"HTTP {status}" and status != 405:
        yield f"{code} with {status}: {request.route}"
