"""What a batch does with a commit of unknown outcome."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import UnknownOutcome
from shipway.domain.ids import KeyId, UserName
from shipway.server.auth import Auth, Caller
from shipway.server.call import KEY, Call
from shipway.server.edge import Edge
from shipway.server.rest.adds import add_batch

DRAFT = {"source": {"kind": "git", "url": "https://example.org/a.git", "commit": "a" * 40}}


class LostCommit:
    """An edge whose every commit may or may not have happened."""

    def __init__(self) -> None:
        self.writes = 0

    async def write(self, work: Any) -> Any:
        self.writes += 1
        raise UnknownOutcome("the commit's outcome is not known")


def test_what_may_be_committed_is_not_added_a_second_time() -> None:
    edge = LostCommit()
    actor = Actor(user=UserName("ann"), role=Role.MEMBER, entity="ann", key_id=KeyId("k"))
    call = Call(
        edge=cast(Edge, edge), auth=cast(Auth, SimpleNamespace()), caller=Caller(actor=actor),
        address="", headers={}, body=json.dumps({"items": [DRAFT, DRAFT]}).encode(),
    )  # fmt: skip
    with pytest.raises(UnknownOutcome):
        asyncio.run(add_batch(Request({"type": "http", KEY: call})))
    assert edge.writes == 1
