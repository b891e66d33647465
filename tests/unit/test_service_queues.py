"""Whose queues may be made, what may be set, who changes them, and who sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Conflict, Forbidden, Invalid, NotFound
from shipway.domain.ids import UserName
from shipway.domain.item import State
from shipway.domain.queue import LINKS_LIMIT, OnLost, Queue
from shipway.service.queues import ATTEMPTS_LIMIT, ENTITIES_SHOWN, LOST_AFTER_LIMIT_S
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


def a_queue(world: World, who: Actor | None = None, **values: Any) -> Queue:
    said = {"name": "gpus", "resource": "local-process", **values}
    return world.do(lambda tx: world.service.queues.create(tx, who or world.ann, **said))


def change(world: World, queue: Queue, who: Actor | None = None, **settings: Any) -> Queue:
    return world.do(lambda tx: world.service.queues.update(tx, who or world.ann, queue, settings))


def test_a_new_queue_is_its_makers_and_has_the_usual_rules(world: World) -> None:
    made = a_queue(world)
    assert made == replace(
        Queue(
            id=made.id, entity="ann", project="model-registry", name="gpus",
            resource="local-process",
        ),
        created_at=world.clock.now(),
        created_by="ann",
    )  # fmt: skip
    assert a_queue(world, name="other", project="p").project == "p"
    assert a_queue(world, name="all", resource="any").resource == "any"


def test_settings_are_taken_and_kept_when_nothing_is_said(world: World) -> None:
    config = {"resource_args": {"local-process": {"grace_s": 5}}}
    variables = {"a": {"schema": {"type": "integer"}}}
    made = a_queue(
        world,
        settings={
            "config": config,
            "template_variables": variables,
            "priorities": True,
            "critical_for_admins": True,
            "on_lost": "retry:2",
            "lost_after_s": 30,
            "max_attempts": 9,
        },
    )
    assert (made.config, made.template_variables) == (config, variables)
    assert (made.has_priorities, made.is_critical_for_admins) == (True, True)
    assert (made.on_lost, made.on_lost_retries) == (OnLost.RETRY, 2)
    assert (made.lost_after_s, made.max_attempts) == (30, 9)
    assert change(world, made) == made
    nothing = dict.fromkeys(("config", "priorities", "on_lost", "lost_after_s", "max_attempts"))
    assert change(world, made, **nothing) == made
    assert change(world, made, priorities=False).has_priorities is False
    fails = change(world, made, on_lost="fail")
    assert (fails.on_lost, fails.on_lost_retries) == (OnLost.FAIL, 0)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("colour", 1, "colour"),
        ("config", [1], "config"),
        ("config", {"resource_args": [1]}, "config.resource_args"),
        ("config", {"resource_args": {"local-process": 1}}, "config.resource_args.local-process"),
        ("config", {"lr": 1}, "config.lr"),
        ("template_variables", "x", "template_variables"),
        ("priorities", 1, "priorities"),
        ("critical_for_admins", "yes", "critical_for_admins"),
        ("on_lost", "retry:0", "on_lost"),
        ("on_lost", "retry:101", "on_lost"),
        ("on_lost", "retry:٣", "on_lost"),
        ("on_lost", "never", "on_lost"),
        ("on_lost", 3, "on_lost"),
        ("lost_after_s", 29, "lost_after_s"),
        ("lost_after_s", LOST_AFTER_LIMIT_S + 1, "lost_after_s"),
        ("max_attempts", 0, "max_attempts"),
        ("max_attempts", ATTEMPTS_LIMIT + 1, "max_attempts"),
        ("max_attempts", True, "max_attempts"),
        ("max_attempts", 2.0, "max_attempts"),
    ],
)
def test_a_bad_setting_is_refused_with_its_field(
    world: World, key: str, value: object, field: str
) -> None:
    queue = a_queue(world)
    with pytest.raises(Invalid, match=field.partition(".")[0]) as refused:
        change(world, queue, **{key: value})
    assert refused.value.details["field"] == field
    assert world.do(lambda tx: world.service.queues.named(tx, world.ann, "gpus")) == queue


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lost_after_s", LOST_AFTER_LIMIT_S),
        ("max_attempts", 1),
        ("max_attempts", ATTEMPTS_LIMIT),
        ("on_lost", "retry:100"),
        ("on_lost", "retry:1"),
    ],
)
def test_the_ends_of_a_setting_are_taken(world: World, key: str, value: object) -> None:
    assert change(world, a_queue(world), **{key: value}) is not None


def test_a_bad_argument_of_a_resource_is_named_by_its_path(world: World) -> None:
    with pytest.raises(Invalid, match=r"config\.resource_args\.local-process"):
        change(world, a_queue(world), config={"resource_args": {"local-process": {"nope": 1}}})


def test_a_placeholder_that_no_variable_fills_is_refused(world: World) -> None:
    config = {"resource_args": {"local-process": {"grace_s": "{{grace}}"}}}
    queue = a_queue(world)
    with pytest.raises(Invalid, match="which no template variable fills") as refused:
        change(world, queue, config=config)
    assert refused.value.details["field"] == "config.resource_args.local-process.grace_s"
    variables = {"grace": {"schema": {"type": "integer"}}}
    assert change(world, queue, config=config, template_variables=variables).config == config


@pytest.mark.parametrize("resource", ["moon", 3, None])
def test_a_resource_that_nobody_has_is_refused(world: World, resource: Any) -> None:
    with pytest.raises(Invalid, match=r"is not known \(known: any, ") as refused:
        a_queue(world, resource=resource)
    assert refused.value.details == {"field": "resource", "value": resource}
    assert refused.value.message.endswith(
        "(known: any, kubernetes, local-container, local-process, ray, slurm)"
    )


def test_a_resource_that_an_agent_brought_may_be_asked_for(world: World) -> None:
    world.register("agent-two", resources=["moon"])
    assert a_queue(world, resource="moon").resource == "moon"


@pytest.mark.parametrize("values", [{"name": "a/b"}, {"name": "q" * 65}, {"project": "-x"}])
def test_names_of_queues_are_checked(world: World, values: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        a_queue(world, **values)
    assert refused.value.details["field"] == next(iter(values))


def test_only_its_maker_and_admins_change_a_queue(world: World) -> None:
    queue, queues = a_queue(world), world.service.queues
    carl = replace(world.ann, user=UserName("carl"))
    for call in (
        lambda tx: queues.update(tx, carl, queue, {}),
        lambda tx: queues.set_paused(tx, carl, queue, is_paused=True),
        lambda tx: queues.delete(tx, carl, queue),
    ):
        with pytest.raises(Forbidden, match="is ann's: only they and admins change it"):
            world.do(call)
    with pytest.raises(NotFound, match="there is no queue 'gpus'"):
        change(world, queue, world.bob, max_attempts=2)
    assert change(world, queue, world.root, max_attempts=2).max_attempts == 2
    assert world.do(lambda tx: queues.set_paused(tx, world.ann, queue, is_paused=True)).is_paused


def test_a_queue_with_live_items_is_not_deleted(world: World) -> None:
    queue, queues = a_queue(world), world.service.queues
    first, second = world.add(queue="gpus"), world.add(queue="gpus")
    with pytest.raises(Conflict, match="queue 'gpus' has 2 items that have not ended"):
        world.do(lambda tx: queues.delete(tx, world.ann, queue))
    for item in (first, second):
        world.do(lambda tx, item=item: world.service.items.stop(tx, world.ann, item.id))
    world.do(lambda tx: queues.delete(tx, world.ann, queue))
    with pytest.raises(NotFound, match="there is no queue 'gpus' of ann"):
        world.do(lambda tx: queues.get(tx, world.ann, "gpus"))


def test_a_missing_queue_is_told_with_those_there_are(world: World) -> None:
    a_queue(world)
    with pytest.raises(NotFound) as refused:
        world.do(lambda tx: world.service.queues.named(tx, world.ann, "nope"))
    assert refused.value.message == (
        "there is no queue 'nope' of ann (there are: default, gpus); "
        "make it: shipway queue create nope --resource local-process"
    )
    assert refused.value.details == {"field": "queue_name", "value": "nope"}


def test_queues_are_seen_by_their_entity_and_by_admins(world: World) -> None:
    queues = world.service.queues
    world.add()

    def names(who: Actor, entity: str | None = None) -> list[tuple[str, str]]:
        found = world.do(lambda tx: queues.find(tx, who, entity=entity))
        return sorted((view.queue.entity, view.queue.name) for view in found)

    assert names(world.ann) == names(world.root, "ann") == [("ann", "default")]
    assert names(world.root) == [("ann", "default"), ("bob", "default"), ("root", "default")]
    view = world.do(lambda tx: queues.get(tx, world.ann, "default"))
    assert view.counts[State.PENDING] == 1
    with pytest.raises(NotFound, match="there is no queue 'default' of ann"):
        world.do(lambda tx: queues.get(tx, world.bob, "default", entity="ann"))


def test_the_default_queue_is_made_once(world: World) -> None:
    ensure = world.service.queues.ensure_default
    first = world.do(lambda tx: ensure(tx, "ann", by="x"))
    assert world.do(lambda tx: ensure(tx, "ann", by="y")) == first
    assert (first.resource, first.has_priorities, first.created_by) == ("any", True, "ann")


def test_an_error_names_only_so_many_entities(world: World) -> None:
    for at in range(ENTITIES_SHOWN):
        world.person(f"a{at:02}")
    with pytest.raises(NotFound) as refused:
        make(world, "nobody")
    named = refused.value.message.partition("there are: ")[2].partition(")")[0].split(", ")
    assert named == [f"a{at:02}" for at in range(ENTITIES_SHOWN)]


def test_a_personal_queue_is_there_for_its_maker_and_admins_alone(world: World) -> None:
    queues, carl = world.service.queues, replace(world.ann, user=UserName("carl"))
    made = a_queue(world, is_personal=True)

    def names(who: Actor) -> list[str]:
        return [view.queue.name for view in world.do(lambda tx: queues.find(tx, who, entity="ann"))]

    assert names(world.ann) == names(world.root) == ["default", "gpus"]
    assert names(carl) == ["default"]
    with pytest.raises(NotFound, match=r"there is no queue 'gpus' of ann \(there are: default\)"):
        world.add(carl, queue="gpus")
    with pytest.raises(NotFound):
        world.register("agent-two", carl, queues=["gpus"])
    for who in (carl, world.bob):
        with pytest.raises(NotFound, match="there is no queue of that id"):
            world.do(lambda tx, who=who: queues.by_id(tx, who, made.id))
    assert world.do(lambda tx: queues.by_id(tx, world.ann, made.id)) == made
    assert world.add(queue="gpus").queue == "gpus"


def test_agents_see_the_queues_that_they_serve_and_programs_none(world: World) -> None:
    queues, made = world.service.queues, a_queue(world)
    agent = replace(world.ann, role=Role.AGENT)
    assert world.do(lambda tx: queues.by_id(tx, agent, made.id)) == made
    assert world.do(lambda tx: queues.named(tx, agent, "gpus")) == made
    program = replace(world.ann, role=Role.JOB, item_id=world.add().id)
    for see in (
        lambda tx: queues.by_id(tx, program, made.id),
        lambda tx: queues.named(tx, program, "gpus"),
    ):
        with pytest.raises(Forbidden, match="may not see queues"):
            world.do(see)


def test_a_queue_is_put_whether_it_is_there_or_not(world: World) -> None:
    queues = world.service.queues

    def put(who: Actor, resource: str, **settings: Any) -> Queue:
        return world.do(
            lambda tx: queues.put(
                tx, who, name="gpus", resource=resource, entity="ann", project="p",
                settings=settings,
            )
        )  # fmt: skip

    first = put(world.ann, "local-process", priorities=True, on_lost="retry:2")
    assert (first.created_by, first.has_priorities) == ("ann", True)
    second = put(world.ann, "kubernetes", external_links={"wiki": "https://example.org/"})
    assert second == replace(
        first, resource="kubernetes", external_links={"wiki": "https://example.org/"}
    )
    with pytest.raises(Forbidden, match="only they and admins change it"):
        put(replace(world.ann, user=UserName("carl")), "local-process")
    with pytest.raises(NotFound, match="there is no entity 'ann'"):
        put(world.bob, "local-process")
    with pytest.raises(Invalid, match="resource 'moon' is not known"):
        put(world.ann, "moon")


def test_a_check_stores_nothing(world: World) -> None:
    queues = world.service.queues

    def check(resource: str, **settings: Any) -> None:
        world.do(
            lambda tx: queues.check(
                tx, world.ann, entity="ann", resource=resource, settings=settings
            )
        )

    check("local-process", config={"resource_args": {"local-process": {"grace_s": 5}}})
    with pytest.raises(Invalid, match="resource 'moon'"):
        check("moon")
    with pytest.raises(Invalid, match=r"config\.resource_args\.local-process"):
        check("any", config={"resource_args": {"local-process": {"nope": 5}}})
    found = world.do(lambda tx: queues.find(tx, world.ann))
    assert [view.queue.name for view in found] == ["default"]


@pytest.mark.parametrize(
    "links",
    [
        {"x": "javascript:alert(1)"},
        {"x": "https://a b"},
        {"x": 3},
        {"": "https://example.org"},
        {f"x{at}": "https://example.org" for at in range(LINKS_LIMIT + 1)},
    ],
)
def test_links_of_a_queue_are_web_addresses(world: World, links: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        a_queue(world, settings={"external_links": links})
    assert refused.value.details["field"].startswith("external_links")


def test_an_admin_adds_nothing_for_an_entity_that_nobody_belongs_to(world: World) -> None:
    with pytest.raises(NotFound, match="there is no entity 'nobody'"):
        world.add(world.root, entity="nobody", queue_entity="root")
    assert world.add(world.root, entity="ANN").queue == "default"
