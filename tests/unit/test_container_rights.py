"""Rights on a machine come from a queue's config: no launch, job or former run has them itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor
from shipway.domain.errors import Forbidden, Invalid, ShipwayError
from shipway.domain.item import Event, Item
from shipway.domain.queue import Queue
from shipway.server.graphql.translate_pushes import draft_of
from shipway.service.ports import ItemFilter
from tests.unit.conftest import SOURCE, World

DATA = {"source": "/data", "target": "/data", "read_only": True}
OUT = {"source": "/out", "target": "/out", "read_only": False}
IMAGE = {"source": None, "docker_image": "box:1"}


def a_queue(world: World, variables: Any = None, actor: Actor | None = None, **args: Any) -> Queue:
    """Make the queue `boxes`, or give it other arguments."""
    settings = {
        "config": {"resource_args": {"local-container": args}},
        "template_variables": variables or {},
    }
    put = world.service.queues.put
    return world.do(
        lambda tx: put(
            tx, actor or world.ann, name="boxes", resource="any", entity="ann",
            project="model-registry", settings=settings,
        )
    )  # fmt: skip


def add(world: World, actor: Actor | None = None, *, of: Any = IMAGE, **args: Any) -> Item:
    """Add an item to `boxes` that asks for arguments of its container."""
    said = {"resource_args": {"local-container": args}} if args else {}
    return world.add(actor, queue="boxes", **{**of, **said})


def args_of(item: Item) -> dict[str, Any]:
    """Return the arguments that an item was queued with."""
    spec = json.loads(item.spec)
    args: dict[str, Any] = spec.get("resource_args", {}).get("local-container", {})
    return args


WIDER: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"mounts": [DATA]}, "mounts", "/data at /data"),
    ({}, {"volume": "/data:/data"}, "mounts", "/data at /data, to be written to"),
    ({}, {"devices": ["/dev/fuse"]}, "devices", "/dev/fuse"),
    ({}, {"network": "host"}, "network", "host"),
    ({}, {"net": "host"}, "network", "host"),
    ({}, {"user": "root"}, "user", "user 'root'"),
    ({}, {"u": 0}, "user", "user '0'"),
    ({}, {"user": "1000:0"}, "user", "user '1000:0'"),
    ({"mounts": [DATA]}, {"mounts": [{**DATA, "read_only": False}]}, "mounts", "to be written to"),
    ({"mounts": [DATA]}, {"mounts": [DATA, OUT]}, "mounts", "/out at /out"),
    ({"mounts": [DATA]}, {"mounts": [{**DATA, "source": "/data/x"}]}, "mounts", "/data/x at /data"),
    ({"mounts": [DATA]}, {"mounts": [{**DATA, "target": "/bin"}]}, "mounts", "/data at /bin"),
    ({"devices": ["/dev/fuse"]}, {"devices": ["/dev/kvm"]}, "devices", "/dev/kvm"),
    ({"network": "none"}, {"network": "bridge"}, "network", "bridge"),
    ({"network": "none"}, {"network": None}, "network", "whatever network the agent has"),
    ({"user": "1000"}, {"user": "1001"}, "user", "user '1001'"),
    ({"user": "1000"}, {"user": "1000:docker"}, "user", "user '1000:docker'"),
    ({"user": "1000"}, {"user": None}, "user", "the image's own user"),
    ({"user": "1000"}, {"user": "0"}, "user", "user '0'"),
    ({"user": "0"}, {"user": None}, "user", "the image's own user"),
]


@pytest.mark.parametrize(("given", "asked", "key", "what"), WIDER)
def test_a_launch_cannot_widen_what_its_queue_gives(
    world: World, given: dict[str, Any], asked: dict[str, Any], key: str, what: str
) -> None:
    a_queue(world, **given)
    with pytest.raises(Forbidden) as refused:
        add(world, **asked)
    assert refused.value.details["field"] == f"resource_args.local-container.{key}"
    assert refused.value.message.startswith(f"resource_args.local-container.{key} asks for ")
    assert what in refused.value.message
    assert "queue 'boxes' does not give: only ann, whose queue it is, and admins can allow it" in (
        refused.value.message
    )
    assert world.do(lambda tx: tx.items.find(ItemFilter())) == []


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, {"network": "none"}),
        ({}, {"network": "bridge"}),
        ({}, {"user": "1000:1000"}),
        ({"mounts": [DATA, OUT]}, {"mounts": [DATA]}),
        ({"mounts": [DATA, OUT]}, {"mounts": [{**OUT, "read_only": True}]}),
        ({"mounts": [DATA]}, {"mounts": None}),
        ({"devices": ["/dev/fuse", "/dev/kvm"]}, {"devices": ["/dev/kvm"]}),
        ({"network": "host"}, {"network": "none"}),
        ({"user": "root"}, {"user": "1000"}),
        ({"user": "1000"}, {"cpus": 1}),
    ],
)
def test_a_launch_may_take_what_its_queue_gives_or_less(
    world: World, given: dict[str, Any], asked: dict[str, Any]
) -> None:
    a_queue(world, **given)
    wanted = {key: value for key, value in {**given, **asked}.items() if value is not None}
    assert args_of(add(world, **asked)) == wanted
    assert args_of(add(world)) == given


def test_all_arguments_cannot_be_dropped_with_the_limits_among_them(world: World) -> None:
    a_queue(world, network="none")
    with pytest.raises(Forbidden, match="whatever network the agent has"):
        world.add(queue="boxes", **IMAGE, resource_args={"local-container": None})


@pytest.mark.parametrize("who", ["root", "ann"])
def test_it_does_not_matter_who_asks(world: World, who: str) -> None:
    """Earns: an admin who launches a colleague's job lends it none of an admin's rights."""
    a_queue(world)
    actor = {"root": world.root, "ann": world.ann}[who]
    with pytest.raises(Forbidden):
        add(world, actor, mounts=[DATA], of={**IMAGE, "entity": "ann", "queue_entity": "ann"})


def test_a_job_brings_no_rights_of_its_own(world: World) -> None:
    a_queue(world)
    values = {
        "name": "j", "kind": "image", "source": {"kind": "image", "image": "box:1"},
        "resource_args": {"local-container": {"volume": "/data:/data:ro", "cpus": "2"}},
    }  # fmt: skip
    job = world.do(lambda tx: world.service.jobs.create(tx, world.ann, values))
    assert job.resource_args == {"local-container": {"mounts": [DATA], "cpus": 2}}
    of = {"source": None, "job": job.address}
    with pytest.raises(Forbidden, match=r"mounts asks for /data at /data"):
        add(world, of=of)
    a_queue(world, mounts=[DATA])
    assert args_of(add(world, of=of)) == {"mounts": [DATA], "cpus": 2}


def test_a_run_launched_again_has_what_the_queue_gives_now(world: World) -> None:
    a_queue(world, mounts=[DATA], user="0")
    item = add(world)
    of = {"source": None, "run": f"ann/{item.project}/{item.run_id}"}
    world.do(lambda tx: world.service.items.stop(tx, world.ann, item.id))
    assert args_of(add(world, of=of)) == {"mounts": [DATA], "user": "0"}
    a_queue(world, mounts=[OUT], user="0")
    with pytest.raises(Forbidden, match=r"mounts asks for /data at /data"):
        add(world, of=of)
    with pytest.raises(Forbidden, match=r"mounts asks for /data at /data"):
        world.do(lambda tx: world.service.items.retry(tx, world.ann, item.id))
    assert args_of(add(world, of=of, mounts=None)) == {"user": "0"}
    a_queue(world)
    with pytest.raises(Forbidden, match=r"user asks for user '0'"):
        add(world, of=of, mounts=None)


def test_a_run_that_goes_on_has_what_the_queue_gives_now(world: World) -> None:
    a_queue(world, network="host")
    world.register("agent-two", queues=["boxes"], resources=["local-container"])
    item = add(world)
    grant = world.lease("agent-two").leases[0]
    assert world.report(item.id, grant.token, Event.START, agent="agent-two").ok
    world.report(item.id, grant.token, Event.FAIL, agent="agent-two")
    failed = world.item(item.id)
    a_queue(world)
    with pytest.raises(Forbidden, match="network asks for host"):
        world.do(lambda tx: world.service.items.succeed(tx, world.ann, failed))


VARIABLES = {"set": {"schema": {"type": "string", "enum": ["mnist", "digits"]}}}
FREE = {"set": {"schema": {"type": "string"}}}


def test_a_variable_chooses_among_rights_that_are_written_out(world: World) -> None:
    mount = {"source": "/data/{{set}}", "target": "/data", "read_only": True}
    a_queue(world, VARIABLES, mounts=[mount])
    of = {**IMAGE, "template_variables": {"set": "digits"}}
    item = add(world, of=of)
    assert args_of(item)["mounts"] == [{**mount, "source": "/data/digits"}]
    other = {"mounts": [{**mount, "source": "/data/mnist"}]}
    with pytest.raises(Forbidden, match="mounts asks for /data/mnist"):
        add(world, of=of, **other)
    world.do(lambda tx: world.service.items.stop(tx, world.ann, item.id))
    retry = world.service.items.retry
    assert args_of(world.do(lambda tx: retry(tx, world.ann, item.id))) == args_of(item)
    a_queue(world, {"set": {"schema": {"type": "string", "enum": ["mnist"]}}}, mounts=[mount])
    with pytest.raises(Forbidden, match="mounts asks for /data/digits"):
        world.do(lambda tx: retry(tx, world.ann, item.id))


@pytest.mark.parametrize(
    ("args", "where"),
    [
        ({"mounts": [{"source": "/data/{{set}}", "target": "/d"}]}, "mounts[0].source"),
        ({"v": "/data/{{set}}:/d"}, "mounts[0].source"),
        ({"devices": ["/dev/{{set}}"]}, "devices[0]"),
        ({"net": "{{set}}"}, "network"),
        ({"user": "{{set}}"}, "user"),
    ],
)
def test_a_variable_that_takes_anything_writes_no_right(
    world: World, args: dict[str, Any], where: str
) -> None:
    with pytest.raises(Invalid) as refused:
        a_queue(world, FREE, **args)
    assert refused.value.details["field"] == f"config.resource_args.local-container.{where}"
    assert "give template variable 'set' an enum of what you allow" in refused.value.message
    a_queue(world, FREE, hostname="{{set}}")


def test_a_push_of_the_wandb_client_has_no_more_rights(world: World) -> None:
    queue = a_queue(world)
    spec = {
        "docker": {"docker_image": "box:1"},
        "resource_args": {"local-container": {"volume": ["/:/host"], "shm-size": "1g"}},
    }
    made = draft_of(spec, {}, queue)
    enqueue = world.service.items.enqueue
    with pytest.raises(Forbidden, match="mounts asks for / at /host"):
        world.do(lambda tx: enqueue(tx, world.ann, [(made, None)]))


def test_code_is_held_to_the_same_rule(world: World) -> None:
    a_queue(world)
    with pytest.raises(Forbidden):
        add(world, of={"source": SOURCE, "resource": "local-container"}, devices=["/dev/kvm"])


@pytest.mark.parametrize(
    "args",
    [
        {"privileged": True}, {"mounts": "all"}, {"network": "container:db"}, {"cpus": "many"},
        {"user": "Root"}, {"colour": 1},
    ],
)  # fmt: skip
def test_what_no_container_may_be_is_refused_of_queue_job_and_launch(
    world: World, args: dict[str, Any]
) -> None:
    with pytest.raises(Invalid, match=r"config\.resource_args\.local-container\."):
        a_queue(world, **args)
    a_queue(world)
    with pytest.raises(ShipwayError, match=r"resource_args\.local-container\."):
        add(world, **args)


def test_a_queue_of_before_is_read_as_it_was_written(world: World) -> None:
    made = a_queue(world)
    old = {"m": "2g", "env": ["A=1"], "volume": "/data:/data:ro"}
    config = {"resource_args": {"local-container": old}}
    world.do(lambda tx: tx.queues.update(replace(made, config=config)))
    wanted = {"memory": "1g", "env": {"A": "1", "B": "2"}, "mounts": [DATA]}
    assert args_of(add(world, memory="1g", env={"B": "2"})) == wanted
    config = {"resource_args": {"local-container": {"privileged": True}}}
    world.do(lambda tx: tx.queues.update(replace(made, config=config)))
    with pytest.raises(Invalid, match=r"config\.resource_args\.local-container\.privileged is not"):
        add(world)
