"""What an agent is told as it renews its leases, and what it may pin."""

from __future__ import annotations

import pytest

from shipway.domain.errors import NotFound
from shipway.domain.ids import AgentId, Digest
from tests.unit.conftest import World


def test_an_agent_that_renews_is_heard_of_and_told_of_stops(world: World) -> None:
    first, token = world.running()
    second, other = world.running()
    world.do(lambda tx: world.service.items.stop(tx, world.ann, second, grace_s=3))
    world.clock.advance(5_000)
    held, agent = {first: token, second: other}, AgentId("agent-one")
    answer = world.do(lambda tx: world.service.leases.renew(tx, world.ann, agent, held))
    assert set(answer.renewed) == {first, second}
    assert [(ask.item, ask.token, ask.grace_s) for ask in answer.stops] == [(second, other, 3)]
    seen = world.do(lambda tx: world.service.agents.get(tx, world.ann, agent)).seen_at
    assert seen == world.clock.now()


def test_a_lock_that_nobody_stored_is_not_pinned(world: World) -> None:
    item_id, token = world.running()
    lock = Digest("f" * 64)
    pin = world.service.leases.pin
    with pytest.raises(NotFound, match=f"there is no blob {lock}"):
        world.do(lambda tx: pin(tx, world.ann, item_id, token, lock))
    assert world.item(item_id).lock_digest is None
    world.do(lambda tx: tx.blobs.add("ann", {lock: 3}, now=1))
    assert world.do(lambda tx: pin(tx, world.ann, item_id, token, lock)).lock_digest == lock
