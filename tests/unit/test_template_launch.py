"""Values of template variables on their way into a launch: over drafts, queues and service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipway.cli.template_values import split_words, typed
from shipway.domain.errors import Invalid
from shipway.domain.item import Item
from shipway.domain.launch_spec import draft
from shipway.domain.queue import Queue
from tests.unit.conftest import World

VARIABLES = {
    "grace": {"schema": {"type": "integer", "minimum": 1, "maximum": 60}},
    "mode": {"schema": {"type": "string", "enum": ["fast", "slow"], "default": "slow"}},
}
CONFIG = {
    "resource_args": {
        "local-process": {
            "grace_s": "{{grace}}", "env": {"MODE": "{{mode}}-{{grace}}", "A": "queue"},
            "run_limit_s": 90,
        }
    }
}  # fmt: skip


def a_queue(world: World, **settings: Any) -> Queue:
    said = {"config": CONFIG, "template_variables": VARIABLES, **settings}
    create = world.service.queues.create
    return world.do(
        lambda tx: create(tx, world.ann, name="grown", resource="local-process", settings=said)
    )


def spec_of(item: Item) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(item.spec)
    return spec


def test_keywords_of_a_launch_rank_over_those_of_its_config() -> None:
    made = draft(
        docker_image="x", config={"template_variables": {"a": 1, "b": 2}},
        template_variables={"b": 3, "c": None},
    )  # fmt: skip
    assert made.template_variables == {"a": 1, "b": 3, "c": None}
    with pytest.raises(Invalid, match="template_variables must be a dict"):
        draft(docker_image="x", template_variables=["a"])  # type: ignore[arg-type] # on purpose


def test_values_fill_the_queue_s_config_and_stay_with_the_item(world: World) -> None:
    a_queue(world)
    item = world.add(
        queue="grown", template_variables={"grace": 7},
        resource_args={"local-process": {"env": {"A": "mine"}}},
    )  # fmt: skip
    spec = spec_of(item)
    assert spec["template_variables"] == {"grace": 7, "mode": "slow"}
    assert spec["resource_args"]["local-process"] == {
        "grace_s": 7, "env": {"MODE": "slow-7", "A": "mine"}, "run_limit_s": 90,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "needs a value of its template variable 'grace': a whole number from 1 to 60"),
        ({"grace": 61}, "template variable 'grace' must be a whole number from 1 to 60, not 61"),
        ({"grace": "7"}, "must be a whole number from 1 to 60, not '7'"),
        ({"grace": 7, "mode": "?"}, "template variable 'mode' must be one of 'fast', 'slow'"),
        ({"grace": 7, "nope": 1}, "queue 'grown' has no template variable 'nope'"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_is_queued(
    world: World, values: dict[str, Any], said: str
) -> None:
    a_queue(world)
    with pytest.raises(Invalid) as refused:
        world.add(queue="grown", template_variables=values)
    assert said in refused.value.message
    found = world.do(lambda tx: world.service.queues.get(tx, world.ann, "grown"))
    assert sum(found.counts.values()) == 0


def test_a_value_that_the_resource_refuses_is_refused_by_its_path(world: World) -> None:
    variables = {"g": {"schema": {"type": "integer"}}}
    config = {"resource_args": {"local-process": {"grace_s": "{{g}}"}}}
    a_queue(world, config=config, template_variables=variables)
    with pytest.raises(Invalid, match=r"resource_args\.local-process\.grace_s"):
        world.add(queue="grown", template_variables={"g": 5000})


def test_a_queue_without_variables_takes_no_values(world: World) -> None:
    with pytest.raises(Invalid, match="queue 'default' has no template variable 'a'"):
        world.add(template_variables={"a": 1})


def test_variables_and_config_are_checked_together(world: World) -> None:
    with pytest.raises(Invalid, match=r"holds \{\{grace\}\}, which no template variable fills"):
        a_queue(world, template_variables={})
    with pytest.raises(Invalid, match=r"template_variables\.x"):
        a_queue(world, template_variables={"x": 1})
    queue = a_queue(world)
    update = world.service.queues.update
    with pytest.raises(Invalid, match="which no template variable fills"):
        world.do(lambda tx: update(tx, world.ann, queue, {"template_variables": {}}))
    with pytest.raises(Invalid, match=r"config\.resource_args\.local-process"):
        a_queue(world, config={"resource_args": {"local-process": {"nope": "{{grace}}", "no": 1}}})


def test_a_retry_has_the_values_of_before(world: World) -> None:
    a_queue(world)
    old = world.add(queue="grown", template_variables={"grace": 7})
    world.do(lambda tx: world.service.items.stop(tx, world.ann, old.id))
    again = world.do(lambda tx: world.service.items.retry(tx, world.ann, old.id))
    assert spec_of(again)["template_variables"] == {"grace": 7, "mode": "slow"}


def test_a_run_launched_again_keeps_its_values_but_for_new_ones(world: World) -> None:
    a_queue(world)
    old = world.add(queue="grown", template_variables={"grace": 7, "mode": "fast"})
    run = f"{old.entity}/{old.project}/{old.run_id}"

    def again(**values: Any) -> dict[str, Any]:
        made = world.add(source=None, run=run, queue="grown", template_variables=values)
        return spec_of(made)

    same, changed = again(), again(grace=9)
    assert same["template_variables"] == {"grace": 7, "mode": "fast"}
    assert same["resource_args"] == spec_of(old)["resource_args"]
    assert changed["template_variables"] == {"grace": 9, "mode": "fast"}
    args = changed["resource_args"]["local-process"]
    assert (args["grace_s"], args["env"]["MODE"]) == (9, "fast-9")


def test_set_var_is_cut_at_the_first_sign_and_typed_by_the_queue() -> None:
    queue = {"name": "grown", "template_variables": VARIABLES | {
        "text": {"schema": {"type": "string"}},
    }}  # fmt: skip
    texts = split_words(("grace=7", "text=a=b", "mode=fast"))
    assert typed(texts, queue) == {"grace": 7, "text": "a=b", "mode": "fast"}
    with pytest.raises(Invalid, match="has no template variable 'nope'"):
        typed({"nope": "1"}, queue)
    with pytest.raises(Invalid, match="must be a whole number from 1 to 60, not 'many'"):
        typed({"grace": "many"}, queue)
    for word in ("grace", "=7"):
        with pytest.raises(Invalid, match="is not NAME=VALUE"):
            split_words((word,))
