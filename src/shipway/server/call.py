"""One authenticated request, as its handler gets it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from shipway.domain.actor import Actor
from shipway.domain.errors import Invalid
from shipway.server.auth import Auth, Caller
from shipway.server.edge import Edge

KEY = "shipway.call"  # where the scope holds it
IDEMPOTENCY_KEY_LIMIT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who asks for what; `caller` is None only on the few open addresses."""

    edge: Edge
    auth: Auth
    caller: Caller | None
    address: str
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def actor(self) -> Actor:
        """Who asks."""
        assert self.caller is not None
        return self.caller.actor

    @property
    def token(self) -> str:
        """The lease's token of a request whose body is raw bytes."""
        token = self.headers.get(b"shipway-token", b"").decode("latin-1")
        if not token:
            raise Invalid("the header Shipway-Token with the lease's token is missing",
                          field="Shipway-Token")  # fmt: skip
        return token

    @property
    def idempotency_key(self) -> str | None:
        """The caller's name for this create, if it gave one."""
        value = self.headers.get(b"idempotency-key")
        if value is None:
            return None
        key = value.decode("latin-1")
        if not key or len(key) > IDEMPOTENCY_KEY_LIMIT or not key.isprintable():
            raise Invalid(
                f"Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_LIMIT} printable characters",
                field="Idempotency-Key",
                value=key,
            )
        return key


def call_in(scope: MutableMapping[str, Any]) -> Call:
    """Return the call of a request's scope."""
    call = scope[KEY]
    assert isinstance(call, Call)
    return call


def current_call(request: Request) -> Call:
    """Return the call of a request."""
    return call_in(request.scope)


Asked = Annotated[Call, Depends(current_call)]
