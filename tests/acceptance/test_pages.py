"""The pages: behind sign-in, text everywhere, and no change from another site."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from shipway.domain.attempt import LogStream, encode_frame
from tests.support.rest_server import Reply, Running, running

HTML = {"Accept": "text/html"}
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("pages")) as found:
        yield found


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """Keeps a cookie, and says where its requests come from."""

    server: Running
    cookie: str

    def get(self, path: str) -> Reply:
        headers = {**HTML, "Cookie": self.cookie}
        return self.server.caller(None).get(path, headers)

    def post(self, path: str, fields: dict[str, str], origin: str | None = None) -> Reply:
        headers = {
            "Cookie": self.cookie,
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": origin or f"http://127.0.0.1:{self.server.port}",
        }
        return self.server.caller(None).send("POST", path, urlencode(fields).encode(), headers)

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/").text)
        assert found
        return found.group(1)


def sign_in(server: Running, key: str | None = None) -> Browser:
    form = Browser(server=server, cookie="")
    reply = form.post("/signin", {"key": key or server.admin.key or "", "next": "/"})
    assert reply.status == 303, reply.text
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    return Browser(server=server, cookie=cookie.partition(";")[0])


@pytest.fixture(scope="module")
def browser(server: Running) -> Browser:
    return sign_in(server)


@pytest.fixture(scope="module")
def ended(server: Running) -> dict[str, Any]:
    """An item whose every text is an attack."""
    agent = server.agent()
    item = server.admin.add(name=EVIL, run_config={EVIL: EVIL}, args=[EVIL])
    lease = server.lease(agent)["leases"][0]
    server.report(agent, lease, "start")
    text = f"{EVIL}\n\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2Jplain\n".encode()
    data = encode_frame(LogStream.STDOUT, 1_800_000_000_000, text)
    token = {"Shipway-Token": lease["token"]}
    path = f"/api/v1/items/{item['id']}/log/"
    server.admin.send("POST", path + "program?attempt=1&offset=0", zlib.compress(data), token)
    records = (
        b'{"kind":"summary","values":{"<script>alert(1)</script>":"<script>alert(1)</script>"}}\n'
        b'{"kind":"history","step":0,"at":5,"values":{"loss":1.5,"<script>":2}}\n'
        b'{"kind":"history","step":1,"at":6,"values":{"loss":NaN,"<script>":3}}\n'
        b'{"kind":"history","step":2,"at":7,"values":{"loss":0.5,"<script>":4}}\n'
    )
    server.admin.send("POST", path + "records?attempt=1&offset=0", zlib.compress(records), token)
    failure = {
        "stage": "run", "failure_class": "exit", "reason": f"exit code 1 {EVIL}",
        "log_tail": [EVIL],
    }  # fmt: skip
    server.report(agent, lease, "fail", exit_code=1, failure=failure)
    return item


def test_a_page_without_a_session_leads_to_the_sign_in(server: Running) -> None:
    for path in ("/", "/items/none", "/no/such/page", "/a/b/runs/c"):
        reply = server.caller(None).get(path, HTML)
        assert reply.status == 303
        assert reply.headers["location"].startswith("/signin?next=/")
    assert server.caller(None).get("/api/v1/items", HTML).status == 401
    assert server.caller(None).get("/signin", HTML).status == 200
    assert server.caller(None).get("/static/style.css").status == 200


def test_every_page_is_shown_with_every_text_as_text(
    browser: Browser, ended: dict[str, Any]
) -> None:
    run = f"/{ended['entity']}/{ended['project']}/runs/{ended['run_id']}"
    for path in ("/", "/queues/ann/default", f"/items/{ended['id']}", run, "/docs"):
        reply = browser.get(path)
        assert reply.status == 200, (path, reply.text)
        assert "<script>alert" not in reply.text
        assert "script-src 'self'" in reply.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<[^>]+ (?:style|on\w+)=", reply.text), path


def test_an_item_page_says_what_happened_and_what_to_do(
    browser: Browser, ended: dict[str, Any]
) -> None:
    text = browser.get(f"/items/{ended['id']}").text
    assert "exit code 1" in text
    assert "What to do" in text
    assert '<span class="fg31">red</span>' in text
    assert "title" not in text.partition('id="log"')[2].partition("</pre>")[0]
    assert "\x1b" not in text
    for event in ("enqueue", "lease", "start", "fail"):
        assert f"<td>{event}</td>" in text


def test_a_queue_page_says_what_launches_fill_in_and_where_more_is(
    server: Running, browser: Browser
) -> None:
    variables = {"n": {"schema": {"type": "integer", "maximum": 7_654_321}}}
    made = server.admin.post(
        "/api/v1/queues",
        {
            "name": "grown", "resource": "any", "template_variables": variables, "personal": True,
            "external_links": {"<b>wiki": "https://example.org/?a=1&b='"},
        },
    )  # fmt: skip
    assert made.status == 201, made.text
    text = browser.get("/queues/ann/grown").text
    assert "7654321" in text
    assert "ann alone" in text
    assert "<dt>&lt;b&gt;wiki</dt>" in text
    assert 'href="https://example.org/?a=1&amp;b=&#39;"' in text


def test_a_run_page_draws_its_history(browser: Browser, ended: dict[str, Any]) -> None:
    run = f"/{ended['entity']}/{ended['project']}/runs/{ended['run_id']}"
    text = browser.get(run).text
    assert text.count("<svg") == 2
    assert "loss" in text


def test_the_front_page_leads_to_agents_and_projects(
    browser: Browser, ended: dict[str, Any]
) -> None:
    text = browser.get("/").text
    assert f'<a href="/{ended["entity"]}/{ended["project"]}">' in text
    assert "<td>agent-1</td>" in text
    assert '<span class="state active">active</span>' in text


def test_a_project_page_shows_what_clients_lead_to(
    server: Running, browser: Browser, ended: dict[str, Any]
) -> None:
    project = f"/{ended['entity']}/{ended['project']}"
    text = browser.get(project).text
    assert f'href="{project}/runs/{ended["run_id"]}"' in text
    assert "<script>alert" not in text
    assert browser.get(f"{project}/sweeps").text == browser.get(f"{project}/jobs").text == text
    empty = browser.get("/ann/empty")
    assert empty.status == 404
    assert "ann/empty has no run, sweep or job yet" in empty.text
    guest = sign_in(server, server.user("outsider", "member").key)
    assert guest.get(project).status == 404


def test_an_unknown_item_has_a_page_of_its_own(browser: Browser) -> None:
    reply = browser.get("/items/none")
    assert reply.status == 404
    assert "there is no item" in reply.text


def test_stop_and_retry_need_the_token_of_the_page(server: Running, browser: Browser) -> None:
    item = server.admin.add(queue=_queue(server))
    path = f"/items/{item['id']}/stop"
    csrf = browser.csrf()
    refused = [
        browser.post(path, {}),
        browser.post(path, {"csrf": "wrong"}),
        browser.post(path, {"csrf": csrf}, origin="http://evil.example.com"),
        browser.post(f"/api/v1/items/{item['id']}/stop", {}),
    ]
    assert [reply.status for reply in refused] == [403] * 4
    assert server.admin.get(f"/api/v1/items/{item['id']}").json["state"] == "pending"
    assert browser.post(path, {"csrf": csrf}).status == 303
    assert server.admin.get(f"/api/v1/items/{item['id']}").json["state"] == "stopped"
    again = browser.post(f"/items/{item['id']}/retry", {"csrf": csrf})
    assert again.status == 303
    assert again.headers["location"] != f"/items/{item['id']}"


def test_signing_out_ends_the_session(server: Running) -> None:
    browser = sign_in(server)
    assert browser.get("/").status == 200
    assert browser.post("/signout", {"csrf": browser.csrf()}).status == 303
    assert browser.get("/").status == 303


def test_a_session_ends_with_its_key(server: Running) -> None:
    caller = server.user("guest", "viewer")
    browser = sign_in(server, caller.key)
    assert browser.get("/").status == 200
    key_id = caller.get("/api/v1/keys").json["items"][0]["id"]
    server.admin.send("DELETE", f"/api/v1/keys/{key_id}")
    assert browser.get("/").status == 303


def test_a_sign_in_link_works_once(server: Running) -> None:
    made = server.admin.post("/api/v1/signin-links")
    path = made.json["url"].partition(str(server.port))[2]
    first = server.caller(None).get(path, HTML)
    assert first.status == 303
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert Browser(server=server, cookie=cookie).get("/").status == 200
    assert server.caller(None).get(path, HTML).status == 401


def test_a_wrong_key_shows_the_form_again(server: Running) -> None:
    reply = Browser(server=server, cookie="").post("/signin", {"key": "sw_wrong"})
    assert reply.status == 401
    assert "<form" in reply.text
    elsewhere = Browser(server=server, cookie="").post(
        "/signin", {"key": server.admin.key or "", "next": "//evil.example.com"}
    )
    assert elsewhere.headers["location"] == "/"


def test_the_live_tail_sends_pieces_of_text(
    server: Running, browser: Browser, ended: dict[str, Any]
) -> None:
    reply = browser.get(f"/items/{ended['id']}/tail?after=1.0.0")
    assert '"pieces": [["", "<script>alert(1)</script>"]]' in reply.text
    assert '["fg31", "red"]' in reply.text
    assert "event: end" in reply.text


def _queue(server: Running) -> str:
    server.admin.post("/api/v1/queues", {"name": "buttons", "resource": "any"})
    return "buttons"
