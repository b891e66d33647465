"""Runs a real server on loopback for tests, and speaks plain HTTP to it."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shipway.domain.errors import Invalid, NotFound
from shipway.domain.ids import Digest
from shipway.domain.item import ItemEvent
from shipway.server.app import Application, SystemClock, build_app, build_service
from shipway.server.serving import make_server
from shipway.server.settings import Limits, Settings
from shipway.service.ports import Store
from shipway.store.open import open_store
from shipway.testing.memory_incoming import MemoryIncoming

START_S = 20.0
SOURCE = {"source": {"kind": "git", "url": "https://git.example.com/a/b.git", "commit": "a" * 40}}


class MemoryBlobs:
    """The port `LargeBlobs`, without a disk."""

    def __init__(self) -> None:
        self._stored: dict[Digest, bytes] = {}

    def put(self, digest: Digest, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != digest:
            raise Invalid("the bytes are not those of the digest", field="digest", value=digest)
        self._stored[digest] = data

    def put_many(self, blobs: Mapping[Digest, bytes]) -> None:
        for digest, data in blobs.items():
            self.put(digest, data)

    def get(self, digest: Digest) -> bytes:
        if digest not in self._stored:
            raise NotFound(f"there is no blob {digest}")
        return self._stored[digest]

    def begin(self, size: int) -> MemoryIncoming:
        return MemoryIncoming(self.put)

    def parts(self, digest: Digest) -> Iterator[bytes]:
        return iter([self.get(digest)])

    def has(self, digest: Digest) -> bool:
        return digest in self._stored

    def delete(self, digest: Digest) -> None:
        self._stored.pop(digest, None)

    def all(self) -> Iterable[Digest]:
        return list(self._stored)

    def old(self, *, before: int, after: str, limit: int) -> list[tuple[Digest, int]]:
        return []  # all of them are young

    def drop(self, digests: Iterable[Digest], *, before: int) -> int:
        return 0


class DeafStore:
    """A store whose commits nobody is told of."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def subscribe(self, take: Callable[[Sequence[ItemEvent]], None]) -> None:
        """Take note of nothing."""

    def before_commit(self, claim: Any) -> None:
        """Ask nobody."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])

    @property
    def text(self) -> str:
        return self.data.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One key's way to a server."""

    port: int
    key: str | None

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            whole = {"Host": f"127.0.0.1:{self.port}"}
            if self.key is not None:
                whole["Authorization"] = f"Bearer {self.key}"
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
                whole["Content-Type"] = "application/json"
            connection.request(method, path, body, {**whole, **(headers or {})})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(status=response.status, headers=found, data=response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        return self.send("POST", path, {} if body is None else body, headers)

    def add(self, **draft: Any) -> dict[str, Any]:
        """Queue an item."""
        reply = self.post("/api/v1/items", {**SOURCE, **draft})
        assert reply.status == 201, reply.text
        added: dict[str, Any] = reply.json
        return added


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers."""

    app: Application
    port: int
    admin: Caller

    def caller(self, key: str | None) -> Caller:
        return replace(self.admin, key=key)

    def user(self, name: str, role: str, *, entity: str | None = None) -> Caller:
        """Add a user and return their way in."""
        made = self.admin.post("/api/v1/users", {"name": name, "role": role, "entity": entity})
        assert made.status == 201, made.text
        key = self.admin.post("/api/v1/keys", {"user": name})
        assert key.status == 201, key.text
        return self.caller(key.json["key"])

    def agent(self, name: str = "agent-1", **facts: Any) -> str:
        """Register an agent of the admin's."""
        body = {"id": name, "queues": ["default"], "resources": ["local-process"], "slots": 4}
        reply = self.admin.post("/api/v1/agents", {**body, **facts})
        assert reply.status == 201, reply.text
        return name

    def lease(self, agent: str, limit: int = 1, **more: Any) -> dict[str, Any]:
        """Ask for work and return the answer."""
        reply = self.admin.post("/api/v1/leases", {"agent": agent, "limit": limit, **more})
        assert reply.status == 200, reply.text
        answer: dict[str, Any] = reply.json
        return answer

    def report(self, agent: str, lease: Mapping[str, Any], event: str, **more: Any) -> Any:
        """Report on a lease and return the result."""
        report = {"item": lease["item"], "token": lease["token"], "event": event, **more}
        reply = self.admin.post("/api/v1/leases/report", {"agent": agent, "reports": [report]})
        assert reply.status == 200, reply.text
        return reply.json["results"][0]


@contextmanager
def running(
    folder: Path,
    *,
    limits: Limits | None = None,
    is_deaf: bool = False,
    store: Store | None = None,
) -> Iterator[Running]:
    """Run a server in a thread until the block ends, which closes the store."""
    store = store or open_store(f"sqlite:///{folder / 'shipway.db'}", migrate=True)
    try:
        clock = SystemClock()
        service = build_service(clock)
        key = store.write(lambda tx: service.keys.bootstrap(tx, "ann")).result()
        settings = Settings(database="", blobs=folder, limits=limits or Limits())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            app = build_app(
                settings,
                DeafStore(store) if is_deaf else store,
                MemoryBlobs(),
                base_url=f"http://127.0.0.1:{port}",
                clock=clock,
                service=service,
            )
            with _served(app, settings, listener):
                yield Running(app=app, port=port, admin=Caller(port=port, key=key))
    finally:
        store.close()


@contextmanager
def _served(app: Application, settings: Settings, listener: socket.socket) -> Iterator[None]:
    ready = threading.Event()
    server = make_server(app, settings, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(START_S), "the server did not start"
        yield
    finally:
        server.should_exit = True
        thread.join(START_S)
        assert not thread.is_alive(), "the server did not end"
