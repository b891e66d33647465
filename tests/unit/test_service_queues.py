"""Whose queues may be made."""

from __future__ import annotations

import pytest

from shipway.domain.errors import NotFound
from shipway.domain.queue import Queue
from tests.unit.conftest import World


def make(world: World, entity: str | None) -> Queue:
    create = world.service.queues.create
    return world.do(
        lambda tx: create(tx, world.root, name="gpus", resource="local-process", entity=entity)
    )


def test_a_queue_of_an_entity_that_nobody_belongs_to_is_refused(world: World) -> None:
    with pytest.raises(NotFound, match="there is no entity 'nobody'") as caught:
        make(world, "nobody")
    assert caught.value.details == {"field": "entity", "value": "nobody"}
    assert "ann" in caught.value.message


def test_an_entity_is_matched_without_case_and_shown_as_first_written(world: World) -> None:
    assert make(world, "ANN").entity == "ann"
    assert make(world, None).entity == "root"
