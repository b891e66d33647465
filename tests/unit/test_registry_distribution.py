"""What registries answer, odd and hostile ones too, and what is made of it."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shipway.domain.image_ref import ImageRef
from shipway.http.message import Answer as Read
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.registry import IDENTITY, Credentials, Manifest
from shipway.registries.challenge import Challenge, read_challenges
from shipway.registries.conversation import Conversation, is_loopback
from shipway.registries.distribution import ACCEPTED, MANIFEST_LIMIT, Distribution
from shipway.registries.registry_client import RegistryClient
from tests.support.scripted_server import Answer, Asked, ScriptedServer, ok, scripted_server

INDEX = {
    "schemaVersion": 2,
    "manifests": [
        {"platform": {"os": "linux", "architecture": "amd64"}},
        {"platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"platform": {"os": "unknown", "architecture": "unknown"}},
        {"platform": "odd"},
        "odd",
    ],
}
ABSENT = ok({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, 404)
ADA = Credentials(username="ada", password="pw")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def ask(
    server: ScriptedServer,
    name: str = "team/train:1",
    *,
    login: Credentials | None = None,
    timeout_s: float = 5.0,
) -> Manifest | None:
    host = urlsplit(server.base_url).netloc
    conversation = Conversation({}, host, until=time.monotonic() + timeout_s)
    try:
        ref = ImageRef.parse(f"{host}/{name}")
        return Distribution(conversation, ref, login=lambda: login).manifest()
    finally:
        conversation.close()


def refused(*script: Any, name: str = "train:1", login: Credentials | None = None) -> str:
    with scripted_server(*script) as server, pytest.raises(PermanentError) as caught:
        ask(server, name, login=login)
    return str(caught.value)


def test_an_index_names_its_platforms() -> None:
    answer = ok(INDEX)
    with scripted_server(answer) as server:
        found = ask(server)
        assert found == Manifest(
            digest=digest_of(answer.body), platforms=("linux/amd64", "linux/arm64")
        )
        [asked] = server.asked
    assert asked.path == "/v2/team/train/manifests/1"
    assert asked.headers["accept"] == ACCEPTED
    assert "authorization" not in asked.headers


def test_one_image_names_its_platform_in_its_configuration() -> None:
    config = ok({"os": "linux", "architecture": "arm", "variant": "v7"})
    named = {"schemaVersion": 2, "config": {"digest": digest_of(config.body)}}
    with scripted_server(ok(named), config) as server:
        found = ask(server)
        assert server.asked[1].path == f"/v2/team/train/blobs/{digest_of(config.body)}"
        assert len({asked.connection for asked in server.asked}) == 1
    assert found is not None
    assert found.platforms == ("linux/arm/v7",)
    for other in (ok({"os": "linux", "architecture": "amd64"}), ok({}, 500), Answer(body=b"[")):
        with scripted_server(ok(named), other) as server:
            found = ask(server)
        assert found is not None
        assert found.platforms == ()


def test_an_absent_image_is_told_from_a_host_that_is_no_registry() -> None:
    with scripted_server(ABSENT, ok({}), ABSENT) as server:
        assert ask(server) is None
        assert [asked.path for asked in server.asked] == ["/v2/team/train/manifests/1", "/v2/"]
    page = Answer(status=404, body=b"<html>nothing here</html>")
    assert "does not show train" in refused(page)
    assert "not as a registry" in refused(Answer(body=b"<html>hello</html>"))
    assert "answers 418" in refused(ok({}, 418))


def test_the_digest_is_held_to_the_bytes() -> None:
    answer = ok(INDEX)
    answer.headers["Docker-Content-Digest"] = digest_of(answer.body)
    with scripted_server(answer) as server:
        found = ask(server)
    assert found is not None
    assert found.digest == digest_of(answer.body)
    longer = "sha512:" + hashlib.sha512(answer.body).hexdigest()
    with scripted_server(ok(INDEX)) as server:
        found = ask(server, f"train@{longer}")
    assert found is not None
    assert found.digest == longer
    other = "sha256:" + "0" * 64
    assert f"not with {other}" in refused(ok(INDEX), name=f"train@{other}")
    answer.headers["Docker-Content-Digest"] = other
    assert f"not with {other}" in refused(answer)


def with_token(realm: str, **headers: str) -> Answer:
    more = f'Bearer realm="{realm}",service="r.example",scope="repository:team/train:pull"'
    return ok({"errors": []}, 401, WWW_Authenticate=more, **headers)


@pytest.mark.parametrize("login", [None, ADA])
def test_a_token_is_asked_for_where_the_registry_says(login: Credentials | None) -> None:
    def challenge(asked: Asked) -> Answer:
        return with_token(f"{server.base_url}/token?account=x")

    with scripted_server(challenge, ok({"token": "t0k"}), ok(INDEX)) as server:
        assert ask(server, login=login) is not None
        token, manifest = server.asked[1:]
    assert parse_qs(urlsplit(token.path).query) == {
        "account": ["x"], "service": ["r.example"], "scope": ["repository:team/train:pull"],
    }  # fmt: skip
    pair = base64.b64encode(b"ada:pw").decode()
    assert token.headers.get("authorization") == (None if login is None else f"Basic {pair}")
    assert manifest.headers["authorization"] == "Bearer t0k"


def test_an_identity_token_is_exchanged() -> None:
    def challenge(asked: Asked) -> Answer:
        return with_token(f"{server.base_url}/token")

    with scripted_server(challenge, ok({"access_token": "t0k"}), ok(INDEX)) as server:
        assert ask(server, login=Credentials(username=IDENTITY, password="id+t")) is not None
        token = server.asked[1]
    assert (token.method, token.path) == ("POST", "/token")
    assert parse_qs(token.body.decode()) == {
        "grant_type": ["refresh_token"], "client_id": ["shipway"], "service": ["r.example"],
        "scope": ["repository:team/train:pull"], "refresh_token": ["id+t"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "realm",
    [
        "http://token.example/t",
        "http://127.0.0.2/t",
        "ftp://token.example/t",
        "https://ada:pw@token.example/t",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_login_is_sent_to_https_or_the_registry_alone(realm: str) -> None:
    said = refused(with_token(realm), ok({"token": "t"}), ok(INDEX), login=ADA)
    assert "which is neither https nor itself" in said


def test_a_redirection_elsewhere_loses_the_login_and_needs_https() -> None:
    moved = ok({}, 307, Location="http://127.0.0.2:1/blob")
    assert "neither https nor itself" in refused(moved)
    with scripted_server(ok(INDEX)) as other:

        def away(asked: Asked) -> Answer:
            return ok({}, 302, Location=f"{other.base_url}/there")

        basic = ok({}, 401, WWW_Authenticate='Basic realm="x"')
        with scripted_server(basic, away) as server:
            assert ask(server, login=ADA) is not None
        assert "authorization" in server.asked[1].headers
        assert "authorization" not in other.asked[0].headers
    assert "redirects more than 5 times" in refused(ok({}, 301, Location="/again"))


def test_a_refusal_says_whether_there_was_a_login() -> None:
    basic = ok({"errors": [{"message": "no\nway"}]}, 401, WWW_Authenticate='Basic realm="x"')
    assert "the login of user 'ada' (401, no way)" in refused(basic, login=ADA)
    assert "does not show train without a login (401, no way)" in refused(basic)
    assert "a kind that is not known here: 'Negotiate'" in refused(
        ok({}, 401, WWW_Authenticate="Negotiate")
    )


def test_an_image_that_is_hidden_from_strangers_is_found_with_a_login() -> None:
    basic = ok({}, 401, WWW_Authenticate='Basic realm="x"')
    for hidden in (ABSENT, ok({"errors": []}, 403)):
        with scripted_server(hidden, basic, ok(INDEX)) as server:
            assert ask(server, login=ADA) is not None
            assert [asked.path[-11:] for asked in server.asked][1:] == ["/v2/", "manifests/1"]


def test_a_kept_connection_that_was_closed_is_opened_again() -> None:
    basic = ok({}, 401, WWW_Authenticate='Basic realm="x"')
    with scripted_server(basic, None, ok(INDEX)) as server:
        assert ask(server, login=ADA) is not None
        assert len({asked.connection for asked in server.asked}) == 2


def test_a_busy_registry_is_temporary() -> None:
    for status in (429, 500, 503):
        busy = pytest.raises(TemporaryError, match=f"is busy: {status}")
        with scripted_server(ok({}, status)) as server, busy:
            ask(server)
    with scripted_server(None) as server, pytest.raises(TemporaryError, match="does not answer"):
        ask(server)


def test_a_flood_is_not_read() -> None:
    assert "too much" in refused(Answer(headers={}, body=b" " * (MANIFEST_LIMIT + 1)))


def test_a_registry_that_says_one_byte_a_while_is_given_up(tmp_path: Path) -> None:
    is_over = threading.Event()

    def drip() -> None:
        taken, _ = listener.accept()
        with taken:
            taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            with suppress(OSError):  # once we hang up
                while not is_over.wait(0.02):
                    taken.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        client = RegistryClient({"HOME": str(tmp_path)})
        began = time.monotonic()
        try:
            with pytest.raises(TemporaryError, match=r"does not answer within 0\.1 s"):
                client.manifest(ImageRef.parse(f"{host}/x"), timeout_s=0.1)
            assert time.monotonic() - began < 2
        finally:
            is_over.set()
            thread.join()


@pytest.mark.parametrize(
    ("header", "ways"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://t/x",service=r, scope="a:b c" , Basic realm="q\\"t"',
            [
                ("bearer", {"realm": "https://t/x", "service": "r", "scope": "a:b c"}),
                ("basic", {"realm": 'q"t'}),
            ],
        ),
        ('Bearer realm="unclosed', [("bearer", {})]),
        ('"odd"', []),
    ],
)
def test_a_challenge_is_read_as_far_as_it_goes(
    header: str, ways: list[tuple[str, dict[str, str]]]
) -> None:
    wanted = [Challenge(scheme=scheme, parameters=values) for scheme, values in ways]
    assert read_challenges(header) == wanted


@pytest.mark.parametrize(
    ("name", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("127.0.0.1.evil.example", False),
        ("127.evil.example", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound to it
    ],
)
def test_only_loopback_is_spoken_to_in_plain(name: str, *, is_here: bool) -> None:
    assert is_loopback(name) is is_here


def test_docker_hub_answers_under_its_other_name() -> None:
    asked: list[str] = []

    class Hub(Conversation):
        def _send(self, method: str, url: str, *rest: object) -> Read:
            asked.append(url)
            return Read(status=404, headers={}, data=ABSENT.body, is_last=False)

    for name in ("python:3", "docker.io/library/python:3"):
        ref = ImageRef.parse(name)
        hub = Hub({}, ref.host, until=time.monotonic() + 5)
        assert Distribution(hub, ref, login=lambda: None).manifest() is None
    whole = "https://registry-1.docker.io/v2/library/python/manifests/3"
    assert asked == [whole, "https://registry-1.docker.io/v2/"] * 2
