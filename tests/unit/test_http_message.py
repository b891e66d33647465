"""Requests and answers as bytes: one send, every way an answer may be framed, and its limits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.client import BadStatusLine, HTTPException, IncompleteRead, InvalidURL, RemoteDisconnected

import pytest

from shipway.http.message import (
    HEADERS_LIMIT,
    ONE_SEND,
    Answer,
    AnswerTooLarge,
    read_answer,
    write_request,
)

LIMIT = 1_000


class Sends:
    """A socket that keeps what each call sends."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.calls.append(data)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        yield ours, theirs


def answer(pair: tuple[socket.socket, socket.socket], *parts: bytes) -> Answer:
    ours, theirs = pair
    theirs.sendall(b"".join(parts))
    theirs.shutdown(socket.SHUT_WR)
    return read_answer(ours, limit=LIMIT)


def sent(start: str, headers: dict[str, str], body: bytes | None) -> list[bytes]:
    sends = Sends()
    write_request(sends, start, headers, body)  # type: ignore[arg-type]  # all that is used of it
    return sends.calls


def test_headers_and_body_leave_in_one_send() -> None:
    assert sent("POST /items", {"Host": "h"}, b"{}") == [
        b"POST /items HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
    ]
    assert sent("GET /items", {"Host": "h"}, None) == [b"GET /items HTTP/1.1\r\nHost: h\r\n\r\n"]


def test_a_post_without_a_body_says_so_and_a_long_body_is_not_copied() -> None:
    assert sent("POST /x", {}, None) == [b"POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n"]
    body = bytes(ONE_SEND + 1)
    assert sent("PUT /x", {}, body)[1] is body


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb"])
def test_a_header_cannot_bring_another(value: str) -> None:
    with pytest.raises(ValueError, match="more than one line"):
        sent("GET /x", {"Idempotency-Key": value}, None)


@pytest.mark.parametrize("target", ["/x y", "/x\r\nHost: evil", "/é", "/\x7f"])
def test_an_address_must_be_quoted(target: str) -> None:
    with pytest.raises(InvalidURL):
        sent(f"GET {target}", {}, None)


def test_an_answer_with_a_length_leaves_the_connection_open(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    got = answer(pair, b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\nX-Id:  a b \r\n\r\nabc")
    assert (got.status, got.data, got.headers["x-id"], got.is_last) == (201, b"abc", "a b", False)


def test_a_chunked_answer_is_put_together(pair: tuple[socket.socket, socket.socket]) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = answer(pair, head, b"3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n")
    assert (got.data, got.is_last) == (b"abc0123456789", False)


def test_an_answer_without_a_length_ends_with_its_connection(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    got = answer(pair, b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert (got.data, got.is_last) == (b"abc", True)


@pytest.mark.parametrize(
    ("head", "is_last"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", True),
        (b"HTTP/1.0 204 No Content\r\n\r\n", True),
        (b"HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", False),
    ],
)
def test_who_may_use_the_connection_again(
    pair: tuple[socket.socket, socket.socket], head: bytes, is_last: bool
) -> None:
    got = answer(pair, head)
    assert (got.status, got.data, got.is_last) == (204, b"", is_last)


def test_ways_to_log_in_may_come_in_several_headers(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ways = b"WWW-Authenticate: Basic\r\nX: 1\r\nWWW-Authenticate: Bearer\r\nX: 2\r\n"
    got = answer(pair, b"HTTP/1.1 204 No Content\r\n" + ways + b"\r\n")
    assert got.headers == {"www-authenticate": "Basic, Bearer", "x": "2"}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", RemoteDisconnected),
        (b"SSH-2.0-OpenSSH\r\n", BadStatusLine),
        (b"HTTP/1.1 abc\r\n\r\n", BadStatusLine),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -9\r\n\r\nabc", HTTPException),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", HTTPException),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (HEADERS_LIMIT + 1) + b"\r\n", HTTPException),
        (b"HTTP/1.1 200 OK\r\na: " + bytes(1 << 17), HTTPException),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", AnswerTooLarge),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3E9\r\n", AnswerTooLarge),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(LIMIT + 1), AnswerTooLarge),
    ],
)
def test_what_is_cut_wrong_or_too_large_is_an_error(
    pair: tuple[socket.socket, socket.socket], data: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        answer(pair, data)
