"""Tricks to get more of a machine through a container: refused before an engine hears of them."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.container import ContainerArgs, read_container_args
from shipway.domain.errors import Forbidden, Invalid, ShipwayError
from shipway.domain.image_ref import ImageRef
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.container_refusal import Wish, refusal
from shipway.service.ports import ItemFilter
from tests.support.hostile_containers import ARGS, ENTRY_POINTS, HARMLESS, IMAGES, RIGHTS
from tests.unit.conftest import World

SERVER = "https://shipway.example.org"


def agent_says(args: dict[str, Any], **wish: Any) -> str:
    """Return why an agent that trusts no server refuses a container, or nothing."""
    try:
        read = read_container_args(args)
    except Invalid as error:
        return error.message
    asked = Wish(image=ImageRef.parse("box:1"), args=read, server_url=SERVER, **wish)
    return refusal(ContainerPolicy(), asked, real=str)


def launch(world: World, args: dict[str, Any]) -> None:
    world.add(source=None, docker_image="box:1", resource_args={"local-container": args})


@pytest.mark.parametrize("args", [*ARGS, *RIGHTS], ids=str)
def test_no_server_queues_it(world: World, args: dict[str, Any]) -> None:
    with pytest.raises((Invalid, Forbidden)) as refused:
        launch(world, args)
    assert refused.value.details["field"].startswith("resource_args.local-container")
    assert world.do(lambda tx: tx.items.find(ItemFilter())) == []


@pytest.mark.parametrize("args", ARGS, ids=str)
def test_no_agent_hands_it_on_even_if_a_server_does(args: dict[str, Any]) -> None:
    assert agent_says(args)


@pytest.mark.parametrize("name", IMAGES, ids=ascii)
def test_no_image_has_such_a_name(name: str) -> None:
    with pytest.raises(ShipwayError):
        ImageRef.parse(name)
    with pytest.raises(ShipwayError):
        read_container_args({"base_image": name})


@pytest.mark.parametrize("words", ENTRY_POINTS, ids=str)
def test_no_program_is_called_like_a_flag(words: list[str]) -> None:
    assert "is no program" in agent_says({}, entry_point=words)


@pytest.mark.parametrize("args", HARMLESS, ids=str)
def test_what_is_only_a_value_is_taken(world: World, args: dict[str, Any]) -> None:
    launch(world, args)
    assert agent_says(args) == ""
    assert read_container_args(args) != ContainerArgs()
