"""Tricks to get more of a machine through a container: refused before an engine hears of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.container import ContainerArgs, read_container_args
from shipway.domain.errors import Forbidden, Invalid, ShipwayError
from shipway.domain.image_ref import ImageRef
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.container_refusal import Wish, refusal
from shipway.plugins.errors import PermanentError
from shipway.plugins.runner import Container, RunnerContext
from shipway.runners.container_argv import Naming, run_words
from shipway.runners.container_terms import agreed_args
from shipway.schemas import check, shipped
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


def test_schema_and_reader_refuse_the_same() -> None:
    schema = shipped()["local-container"]
    for args in (*ARGS, *RIGHTS, *HARMLESS):
        says = {
            agrees(lambda: check(schema, args, "args")),
            agrees(lambda: read_container_args(args)),
        }
        assert len(says) == 1, args


def agrees(work: Callable[[], object]) -> bool:
    try:
        work()
    except Invalid:
        return False
    return True


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


NAMING = Naming(name="shipway-i.1", labels={"item": "i"}, id_file="/i/cid", env_file="/i/env")
BARE = run_words("docker", NAMING, Container(image="sha256:0"), {}, network="none")


def a_context(**changes: Any) -> RunnerContext:
    said: dict[str, Any] = {
        "home": Path("/home/ann/.agent/runner"), "attempts": Path("/home/ann/.agent/attempts"),
        "agent": "a", "slots": 1, "base_url": SERVER, "key_file": Path("/home/ann/.agent/key"),
        "notify": print, **changes,
    }  # fmt: skip
    return RunnerContext(**said)


@pytest.mark.parametrize("args", ARGS, ids=str)
def test_no_argv_is_written_of_it(args: dict[str, Any]) -> None:
    with pytest.raises(PermanentError):
        agreed_args(args, a_context(), image_user="1000")


@pytest.mark.parametrize("args", HARMLESS, ids=str)
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_value_is_one_word_of_an_argv_or_none(engine: str, args: dict[str, Any]) -> None:
    agreed = agreed_args(args, a_context(), image_user="1000")
    entry = Container(image="sha256:0", entry_point=("sh", "--privileged"), args=("-v", "/:/x"))
    words = run_words(engine, NAMING, entry, agreed, network="none")
    end = words.index("--")
    assert words[end:] == ["--", "sha256:0", "--privileged", "-v", "/:/x"]
    assert not {"--privileged", "-v", "/:/x"} & set(words[:end])
    assert len(words[:end]) - len(BARE) <= 1


def test_what_is_agreed_on_is_written_out() -> None:
    policy = ContainerPolicy(mounts=("/usr",))
    args = {
        "memory": "1.5 GiB", "tmpfs": {"/t": "1Mi"}, "cpus": 2, "grace_s": 3,
        "mounts": [{"source": "/usr", "target": "/in"}],
    }  # fmt: skip
    assert agreed_args(args, a_context(policy=policy), image_user="") == {
        "memory": 3 << 29, "tmpfs": {"/t": 1 << 20}, "cpus": 2, "grace_s": 3, "network": "bridge",
        "mounts": [{"source": "/usr", "target": "/in", "read_only": True}],
    }  # fmt: skip
    every = ContainerPolicy(mounts=("/*",))
    for own in ("/home/ann/.agent/sources", "/srv/engine.sock"):
        bad = {"mounts": [{"source": own, "target": "/in"}]}
        context = a_context(policy=every, env={"DOCKER_HOST": "unix:///srv/engine.sock"})
        with pytest.raises(PermanentError, match="opens the machine or the agent itself"):
            agreed_args(bad, context, image_user="")
    with pytest.raises(PermanentError, match="user 'root' is not allowed"):
        agreed_args({}, a_context(policy=ContainerPolicy(users=("1000",))), image_user="")
