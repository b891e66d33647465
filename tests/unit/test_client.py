"""How the client asks, asks again, and names what went wrong."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
from typing import Any

import pytest

from shipway.client import Client
from shipway.client.blobs import unpack
from shipway.client.sse import parse
from shipway.client.wire import Wire
from shipway.domain.errors import (
    Code,
    Invalid,
    LeaseLost,
    NotFound,
    ShipwayError,
    WrongOffset,
)
from shipway.http.proxies import proxy_for
from tests.support.scripted_server import Answer, error, ok, scripted_server

ITEM = {"id": "i1", "state": "pending"}


class Steps:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Zeros:
    """Randomness that never varies."""

    def getrandbits(self, k: int, /) -> int:
        return 0


class Interrupted:
    """A socket whose reader meets an interrupt when an answer has begun to come."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _: str) -> Any:
        self._sock.recv(10)
        raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.fixture
def steps() -> Steps:
    return Steps()


def a_client(base_url: str, steps: Steps, *, patience_s: float = 10.0) -> Client:
    client = Client(base_url, "sw_a-secret", patience_s=patience_s, env={})
    client.wire = Wire(
        base_url,
        "sw_a-secret",
        patience_s=patience_s,
        env={},
        random=Zeros(),
        clock=steps.clock,
        sleep=steps.sleep,
    )
    client.items = type(client.items)(client.wire)
    return client


def test_requests_are_signed_and_share_a_connection(steps: Steps) -> None:
    with scripted_server(ok(ITEM)) as server:
        client = a_client(server.base_url, steps)
        client.items.get("i1")
        client.items.find(queue="a b", limit=3)
        client.close()
    first, second = server.asked
    assert first.headers["authorization"] == "Bearer sw_a-secret"
    assert (first.method, first.path) == ("GET", "/api/v1/items/i1")
    assert second.path == "/api/v1/items?queue=a+b&limit=3"
    assert first.connection == second.connection


def test_an_add_whose_answer_was_lost_is_sent_again_with_its_key(steps: Steps) -> None:
    with scripted_server(None, Answer(body=b'{"id": "i1"}', cut=5), ok(ITEM, 201)) as server:
        client = a_client(server.base_url, steps)
        assert client.items.add({"uri": "."}, idempotency_key="k1")["id"] == "i1"
        client.close()
    assert len(server.asked) == 3
    assert {asked.headers["idempotency-key"] for asked in server.asked} == {"k1"}
    assert {asked.body for asked in server.asked} == {b'{"uri":"."}'}


def test_a_kept_connection_that_the_server_closed_is_replaced_without_a_pause(
    steps: Steps,
) -> None:
    with scripted_server(ok(ITEM), None, ok(ITEM)) as server:
        client = a_client(server.base_url, steps)
        client.items.get("i1")
        client.items.get("i1")
        client.close()
    assert steps.slept == []


def test_pauses_double_and_are_bounded(steps: Steps) -> None:
    with scripted_server(error(503, "overloaded")) as server:
        client = a_client(server.base_url, steps, patience_s=60)
        with pytest.raises(ShipwayError) as caught:
            client.items.get("i1")
        client.close()
    assert caught.value.code is Code.OVERLOADED
    assert steps.slept[:3] == [0.025, 0.05, 0.1]
    assert max(steps.slept) == 2.5  # half of the longest, as nothing is random here
    assert sum(steps.slept) <= 60


def test_retry_after_is_honoured(steps: Steps) -> None:
    busy = error(503, "overloaded")
    busy.headers["Retry-After"] = "3"
    with scripted_server(busy, ok(ITEM)) as server:
        client = a_client(server.base_url, steps)
        client.items.get("i1")
        client.close()
    assert steps.slept == [3.0]


def test_an_unknown_outcome_is_asked_for_again(steps: Steps) -> None:
    with scripted_server(error(503, "unknown_outcome"), ok(ITEM, 201)) as server:
        client = a_client(server.base_url, steps)
        assert client.items.add({}, idempotency_key="k")["id"] == "i1"
        client.close()


def test_wrong_keys_are_not_tried_again(steps: Steps) -> None:
    with scripted_server(error(429, "rate_limited")) as server:
        client = a_client(server.base_url, steps)
        with pytest.raises(ShipwayError) as caught:
            client.me()
        client.close()
    assert caught.value.code is Code.RATE_LIMITED
    assert len(server.asked) == 1


def test_a_server_that_is_away_is_named_after_bounded_tries(steps: Steps) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        client = a_client(address, steps, patience_s=5)
        with pytest.raises(ShipwayError) as caught:
            client.items.add({}, idempotency_key="k")
    assert caught.value.code is Code.UNREACHABLE
    assert address in caught.value.message
    assert caught.value.details["tries"] == len(steps.slept) + 1 > 3
    assert steps.now <= 5


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (error(404, "not_found"), NotFound, Code.NOT_FOUND),
        (error(400, "invalid", "bad", field="x", value=1), Invalid, Code.INVALID),
        (error(409, "lease_lost"), LeaseLost, Code.LEASE_LOST),
        (error(409, "offset", offset=0, size=7), WrongOffset, Code.OFFSET),
        (error(410, "deleted"), ShipwayError, Code.DELETED),
        (error(418, "a_code_of_next_year"), ShipwayError, Code.INTERNAL),
    ],
)
def test_codes_become_the_errors_of_the_domain(
    steps: Steps, answer: Answer, kind: type[ShipwayError], code: Code
) -> None:
    with scripted_server(answer) as server:
        client = a_client(server.base_url, steps)
        with pytest.raises(kind) as caught:
            client.items.get("i1")
        client.close()
    assert caught.value.code is code
    if code is Code.INVALID:
        assert caught.value.details == {"field": "x", "value": 1}
    if code is Code.OFFSET:
        assert caught.value.details["size"] == 7


def test_an_answer_of_somebody_else_is_called_that(steps: Steps) -> None:
    page = Answer(status=403, body=b"<html>Proxy says no</html>")
    with scripted_server(page) as server:
        client = a_client(server.base_url, steps)
        with pytest.raises(ShipwayError, match="Proxy says no") as caught:
            client.items.get("i1")
        client.close()
    assert caught.value.code is Code.FORBIDDEN


def test_an_interrupt_leaves_no_half_answer_for_the_next_request(steps: Steps) -> None:
    with scripted_server(ok({"id": "stale"}), ok(ITEM)) as server:
        client = a_client(server.base_url, steps)
        connection = client.wire._connections.take()
        connection.connect()
        connection.sock = Interrupted(connection.sock)
        with pytest.raises(KeyboardInterrupt):
            client.items.get("i1")
        assert client.items.get("i1") == ITEM
        client.close()


def test_a_log_page_tells_where_it_stands(steps: Steps) -> None:
    headers = {
        "Shipway_Log_Size": "9", "Shipway_Log_Next": "5",
        "Shipway_Log_Ended": "1", "Shipway_Attempt": "2",
    }  # fmt: skip
    with scripted_server(Answer(body=b"abc", headers=headers)) as server:
        client = a_client(server.base_url, steps)
        page = client.items.log("i1", offset=2, wait_s=1.5)
        client.close()
    assert (page.data, page.attempt, page.size, page.next) == (b"abc", 2, 9, 5)
    assert page.is_ended
    assert "offset=2" in server.asked[0].path
    assert "wait_s=1.500" in server.asked[0].path


def test_blobs_travel_in_packs_and_are_checked(steps: Steps) -> None:
    data = {hashlib.sha256(text).hexdigest(): text for text in (b"one", b"two")}
    pack = b"".join(
        struct.pack(">32sI", bytes.fromhex(digest), len(text)) + text
        for digest, text in data.items()
    )
    with scripted_server(ok({"stored": 2}), Answer(body=pack)) as server:
        client = a_client(server.base_url, steps)
        client.blobs.put_many(data)
        got: dict[str, bytes] = {}
        client.blobs.get_many(list(data), got.__setitem__)
        client.close()
    assert server.asked[0].body == pack
    assert got == data


def test_a_blob_with_other_bytes_is_refused(steps: Steps) -> None:
    with scripted_server(Answer(body=b"other")) as server:
        client = a_client(server.base_url, steps)
        with pytest.raises(ShipwayError, match="other bytes"):
            client.blobs.get("0" * 64)
        client.close()


def test_a_pack_that_is_cut_is_refused() -> None:
    with pytest.raises(ShipwayError, match="cut off"):
        list(unpack(struct.pack(">32sI", b"\0" * 32, 5) + b"abc"))


def test_events_are_resumed_from_the_last_id(steps: Steps) -> None:
    stream = b': hello\n\nid: 7\nevent: item\ndata: {"seq": 7}\n\ndata: {"seq'
    with scripted_server(Answer(body=stream)) as server:
        client = a_client(server.base_url, steps)
        assert list(client.items.follow_events("i1", after=6)) == [{"seq": 7}]
    assert server.asked[0].headers["last-event-id"] == "6"


def test_an_event_stream_is_read_line_by_line() -> None:
    lines = [b"data: a\r\n", b"data:b\n", b"\n", b"id: 3\n", b"event: x\n", b"data\n", b"\n"]
    found = [(event.id, event.event, event.data) for event in parse(lines)]
    assert found == [("", "message", "a\nb"), ("3", "x", "")]


@pytest.mark.parametrize("address", ["ftp://x", "http://", "x", "http://x:port", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(Invalid):
        Client(address, "k", env={})


@pytest.mark.parametrize("item", ["", None, 3])
def test_an_id_that_is_none_is_refused_before_anything_is_asked(steps: Steps, item: Any) -> None:
    with pytest.raises(Invalid, match="must be text of 1 character or more"):
        a_client("http://127.0.0.1:9", steps).items.get(item)


def test_a_prefix_of_the_address_is_kept(steps: Steps) -> None:
    with scripted_server(ok(ITEM)) as server:
        client = a_client(server.base_url + "/launch/", steps)
        client.items.get("i1")
        client.health()
        client.close()
    assert [asked.path for asked in server.asked] == ["/launch/api/v1/items/i1", "/launch/healthz"]
    assert "authorization" not in server.asked[1].headers


def test_a_forward_proxy_is_given_the_whole_address(steps: Steps) -> None:
    with scripted_server(ok(ITEM)) as proxy:
        host = proxy.base_url.removeprefix("http://")
        client = Client(
            "http://ship.example:8080", "k", env={"HTTP_PROXY": f"http://ada:pw%21@{host}"}
        )
        client.items.get("i1")
        client.close()
    asked = proxy.asked[0]
    assert asked.path == "http://ship.example:8080/api/v1/items/i1"
    assert asked.headers["host"] == "ship.example:8080"
    assert asked.headers["proxy-authorization"] == "Basic YWRhOnB3IQ=="


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("", False),
        ("*", True),
        ("ship.example", True),
        (".example", True),
        ("*.example", True),
        ("p.example", False),
        ("other,ship.example:443", True),
        ("ship.example:8080", False),
    ],
)
def test_no_proxy_names_hosts_and_their_domains(no_proxy: str, is_direct: bool) -> None:
    env = {"https_proxy": "http://proxy:3128", "NO_PROXY": no_proxy}
    assert (proxy_for("https", "ship.example", 443, env) is None) is is_direct


def test_loopback_never_goes_through_a_proxy() -> None:
    env = {"HTTP_PROXY": "http://proxy:3128", "ALL_PROXY": "http://proxy:3128"}
    assert proxy_for("http", "127.0.0.1", 80, env) is None
    assert proxy_for("http", "localhost", 80, env) is None


def test_a_connection_is_not_shared_with_a_forked_process(steps: Steps) -> None:
    with scripted_server(ok(ITEM)) as server:
        client = a_client(server.base_url, steps)
        client.items.get("i1")
        client.wire._connections._local.held.pid = os.getpid() + 1  # as after a fork
        client.items.get("i1")
        client.close()
    assert server.asked[0].connection != server.asked[1].connection


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_each_item_of_a_batch_has_a_key_of_its_own(steps: Steps) -> None:
    with scripted_server(
        error(503, Code.UNKNOWN_OUTCOME), ok({"items": [ITEM, ITEM, ITEM]})
    ) as server:
        Client(server.base_url, "sw_a-secret", env={}).items.add_many(
            [{"name": "a"}, {"name": "b"}, {"name": "c", "idempotency_key": "mine"}]
        )
    first, again = (json.loads(asked.body)["items"] for asked in server.asked)
    keys = [draft["idempotency_key"] for draft in first]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"
    assert again == first
