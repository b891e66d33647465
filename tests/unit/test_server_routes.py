"""The table of routes, the table of errors, and small things of the edge."""

from __future__ import annotations

import io
import json

import pytest

from shipway.domain.actor import Role
from shipway.domain.errors import Code, Forbidden, Invalid, ShipwayError
from shipway.server.access_log import AccessLog
from shipway.server.auth import check_origin
from shipway.server.errors import STATUS, error_answer
from shipway.server.gate import form_field
from shipway.server.metrics import Histogram
from shipway.server.rest.answers import cursor, read_cursor
from shipway.server.rest.blobs import PACK, unpack
from shipway.server.rest.leases import read_ask
from shipway.server.rest.routes import ROUTES, body_rule
from shipway.server.settings import Limits
from shipway.server.web.html import span, when
from shipway.server.web.plots import plots
from shipway.server.web.signin import _next
from shipway.service.leases import Starts


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(Code)
    for code, status in STATUS.items():
        found, body, _ = error_answer(ShipwayError("why", code=code))
        assert found == status
        assert json.loads(body)["error"]["code"] == code


def test_routes_are_named_once_and_closed_unless_said_otherwise() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert [route.path for route in ROUTES if not route.roles] == ["/healthz"]
    for route in ROUTES:
        assert route.handler.__doc__, route
        assert Role.ADMIN in route.roles or not route.roles


def test_no_viewer_and_no_job_may_change_what_is_not_theirs() -> None:
    for route in ROUTES:
        if route.method == "GET" or not route.roles:
            continue
        if Role.VIEWER in route.roles:
            own = ("/keys", "/signin-links", "/blobs/fetch")
            assert any(part in route.path for part in own), route
        if Role.JOB in route.roles:
            assert "/runs/" in route.path or "/blobs/" in route.path, route


def test_only_large_things_may_be_large() -> None:
    limits = Limits()
    for route in ROUTES:
        path = route.path.replace("{item_id}", "i").replace("{name}", "n").replace("{digest}", "d")
        rule = body_rule(limits, route.method, path)
        assert rule.limit == getattr(limits, route.limit), route
        assert rule.is_json is not route.is_raw, route


def test_cursors_are_opaque_and_checked() -> None:
    assert read_cursor(cursor(123)) == 123
    assert read_cursor(None) is None
    for bad in ("x", "czEy!", "é", "c2E", "A" * 400):
        with pytest.raises(Invalid):
            read_cursor(bad)


def test_packs_are_whole_and_true() -> None:
    with pytest.raises(Invalid, match="head"):
        unpack(b"x" * 10)
    with pytest.raises(Invalid, match="within a blob"):
        unpack(PACK.pack(b"d" * 32, 5) + b"abc")
    with pytest.raises(Invalid, match="not those"):
        unpack(PACK.pack(b"d" * 32, 3) + b"abc")


@pytest.mark.parametrize(
    ("starts", "field"),
    [
        (3, "starts"),
        ({"sources": []}, "starts"),
        ({"limit": -1, "sources": []}, "starts.limit"),
        ({"limit": True, "sources": []}, "starts.limit"),
        ({"limit": 1, "sources": [{}] * 9}, "starts.sources"),
        ({"limit": 1, "sources": ["x"]}, "starts.sources[0]"),
        ({"limit": 1, "sources": [{}, {"url": "\0"}]}, "starts.sources[1].url"),
        ({"limit": 1, "sources": [], "more": 1}, "starts"),
    ],
)
def test_malformed_starts_are_refused_by_name(starts: object, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_ask(json.dumps({"agent": "a", "starts": starts}).encode())
    assert caught.value.details["field"] == field


def test_a_call_for_work_may_name_what_could_start_at_once() -> None:
    assert read_ask(b'{"agent": "a"}')[0].starts is None
    body = b'{"agent": "a", "starts": {"limit": 2, "sources": [{"kind": "git"}]}}'
    assert read_ask(body)[0].starts == Starts(limit=2, sources=[{"kind": "git"}])


def test_a_change_by_cookie_comes_from_this_server() -> None:
    check_origin({b"origin": b"http://h:1", b"host": b"h:1"})
    for headers in (
        {b"host": b"h:1"},
        {b"origin": b"null", b"host": b"h:1"},
        {b"origin": b"http://h:2", b"host": b"h:1"},
        {b"origin": b"http://h:1.evil.com", b"host": b"h:1"},
        {b"origin": b"http://", b"host": b""},
    ):
        with pytest.raises(Forbidden):
            check_origin(headers)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("/items/x", "/items/x"),
        (None, "/"),
        ("//evil.com", "/"),
        ("/\\evil.com", "/"),
        ("https://evil.com", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(asked: str | None, found: str) -> None:
    assert _next(asked) == found


def test_form_fields_are_read_within_limits() -> None:
    assert form_field(b"a=1&b=x%20y", "b") == "x y"
    assert form_field(b"", "b") is None
    with pytest.raises(Forbidden):
        form_field(b"a=1&" * 200, "a")


def test_histograms_count_up() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.5, 9.0):
        histogram.observe(value)
    lines = list(histogram.lines("x"))
    assert lines[:3] == ['x_bucket{le="1"} 1', 'x_bucket{le="2"} 2', 'x_bucket{le="+Inf"} 3']


def test_plots_leave_gaps_where_a_value_is_not_finite() -> None:
    rows = [{"_step": step, "loss": value, "text": "x"} for step, value in enumerate(
        [1.0, 2.0, float("nan"), 3.0, float("inf"), 4]
    )]  # fmt: skip
    (plot,) = plots(rows)
    assert (plot.name, plot.low, plot.high, plot.last) == ("loss", 1.0, 4.0, 4.0)
    assert len(plot.lines) == 3
    assert plots([{"a": float("nan")}, {"a": True}, {"b": 10**400}]) == []


def test_times_are_for_people() -> None:
    assert when(0) == "1970-01-01 00:00:00"
    assert when(10**30)
    assert span(61_000) == "1 min 1 s"
    assert span(7_260_000) == "2 h 1 min"


def test_the_access_log_writes_events() -> None:
    out = io.StringIO()
    log = AccessLog(out)
    log._waiting.append((1, "GET", "/", 200, 1500, "ann", "::1"))
    log.flush()
    event = json.loads(out.getvalue())
    assert event["event"] == "request"
    assert event["ms"] == 1.5
