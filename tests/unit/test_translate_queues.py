"""wandb's words for queues, items and pushes, and ours."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from shipway.domain.errors import Invalid, NotAvailable
from shipway.domain.ids import ItemId, QueueId, RunId, UserName
from shipway.domain.item import TERMINAL, Item, State
from shipway.domain.launch_spec import Draft
from shipway.domain.queue import Priority, Queue
from shipway.server.graphql import translate_pushes as pushes
from shipway.server.graphql import translate_queues as queues
from shipway.server.graphql.translate_queues import ResourceConfig

VARIABLES = {"n": {"schema": {"type": "integer", "minimum": 1}}}
CONFIG = ResourceConfig(
    resource="kubernetes", config={"resource_args": {"a": "é"}}, template_variables=VARIABLES
)
QUEUE = Queue(
    id=QueueId(7), entity="ann", project="p", name="q", resource="any",
    external_links={"wiki": "https://example.org/"},
)  # fmt: skip


def an_item(**changes: Any) -> Item:
    """Make an item that waits."""
    spec = {"resource_args": {"local-process": {"grace_s": 3}}}
    facts: dict[str, Any] = {
        "seq": 1, "id": ItemId("i1"), "queue_id": QueueId(7), "queue": "q", "project_queue": "p",
        "entity": "ann", "project": "demo", "run_id": RunId("r1"), "name": None, "author": "ann",
        "submitted_by": UserName("ann"), "sweep_id": None, "priority": 2, "rank": 2,
        "resource": "local-process", "spec": json.dumps(spec), "state": State.PENDING,
        "created_at": 1,
    }  # fmt: skip
    return Item(**{**facts, **changes})


def test_ids_of_queues_and_configs_are_read_back() -> None:
    assert queues.read_queue_id(queues.queue_id(QUEUE)) == 7
    assert queues.read_config_id(queues.config_id(QUEUE)) == 7
    assert queues.read_config_id(queues.loose_id(CONFIG)) == CONFIG


@pytest.mark.parametrize(
    "text", ["", "RunQueue:7", "DefaultResourceConfig:", "DefaultResourceConfig:{}",
             "DefaultResourceConfig:[1,{},{}]", 'DefaultResourceConfig:["x",[],{}]',
             'DefaultResourceConfig:["x",{}]', "DefaultResourceConfig:-1",
             "DefaultResourceConfig:" + "[" * 100_000],
)  # fmt: skip
def test_what_is_no_config_s_id_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is no id"):
        queues.read_config_id(base64.b64encode(text.encode()).decode())


def test_an_id_that_holds_odd_variables_is_refused() -> None:
    text = 'DefaultResourceConfig:["any",{},{"n":1}]'
    with pytest.raises(Invalid, match=r"template_variables\.n must be"):
        queues.read_config_id(base64.b64encode(text.encode()).decode())


def test_schemas_are_compact_and_links_an_object() -> None:
    assert queues.variables_of(CONFIG) == [
        {"name": "n", "schema": '{"type":"integer","minimum":1}'}
    ]
    assert queues.links_of(QUEUE) == {"links": [{"label": "wiki", "url": "https://example.org/"}]}


def test_an_upsert_says_everything_anew_and_null_means_none() -> None:
    given = {"resourceType": "kubernetes", "resourceConfig": '{"resource_args": {}}'}
    nothing = {
        "config": {"resource_args": {}}, "template_variables": {}, "priorities": False,
        "external_links": {},
    }  # fmt: skip
    assert queues.upsert_of(given) == ("kubernetes", nothing)
    more = {
        "templateVariables": json.dumps(VARIABLES), "prioritizationMode": "V0",
        "externalLinks": '{"links": [{"label": "a", "url": "https://example.org"}]}',
    }  # fmt: skip
    assert queues.upsert_of({**given, **more})[1] == {
        **nothing, "template_variables": VARIABLES, "priorities": True,
        "external_links": {"a": "https://example.org"},
    }  # fmt: skip
    twice = [{"label": "a", "url": "x"}, {"label": "a", "url": "y"}]
    with pytest.raises(Invalid, match="label 'a' twice"):
        queues.upsert_of({**given, "externalLinks": json.dumps({"links": twice})})


def test_every_state_has_a_word_and_every_end_but_one_is_failed() -> None:
    assert set(queues.ITEM_STATES) == set(State)
    assert {queues.ITEM_STATES[state] for state in TERMINAL} == {"FINISHED", "FAILED"}


def test_a_run_is_told_once_it_has_come_to_be() -> None:
    assert queues.run_of(an_item()) is None
    assert queues.run_of(an_item(attempt=1)) == "r1"
    assert queues.run_of(an_item(state=State.STOPPED)) == "r1"


def draft_of(spec: dict[str, Any], **given: Any) -> Draft:
    push = {"runSpec": json.dumps(spec), **given}
    return pushes.draft_of(pushes.read_spec(push), push, QUEUE)


def test_a_run_spec_is_a_draft_on_that_queue() -> None:
    spec = {
        "job": "ann/demo/train:latest", "entity": "ann", "project": "demo", "resource": None,
        "name": "", "docker": {}, "git": {}, "queue_entity": "other", "lr": 0.1,
        "overrides": {"args": ["-x"], "run_config": {"seed": 1}}, "author": "eve",
        "template_variables": {"n": 1},
    }  # fmt: skip
    assert draft_of(spec, priority=1, templateVariableValues='{"n": 2}') == Draft(
        queue="q", project_queue="p", queue_entity="ann", job="ann/demo/train:latest",
        entity="ann", project="demo", author="eve", args=("-x",), priority=Priority.HIGH,
        run_config={"lr": 0.1, "seed": 1}, template_variables={"n": 2},
    )  # fmt: skip
    image = {"docker": {"docker_image": "box:1"}, "templateVariableValues": None}
    assert draft_of({"docker": image["docker"]}).docker_image == "box:1"


def test_a_sweep_s_own_scheduler_is_refused_by_name() -> None:
    with pytest.raises(NotAvailable, match="scheduler of a launched sweep"):
        draft_of({"uri": "placeholder-uri-scheduler"})


def test_an_agent_names_the_run_that_goes_on() -> None:
    spec = {"entity": "ann", "project": "demo", "run_id": "r1"}
    assert pushes.run_again(spec) is None
    assert pushes.run_again({**spec, "_resume_count": 2}) == "ann/demo/r1"


@pytest.mark.parametrize(
    "bad",
    [
        {"_resume_count": 0},
        {"_resume_count": True},
        {"_resume_count": "1"},
        {"_resume_count": 1, "run_id": None},
        {"_resume_count": 1, "run_id": "a/b"},
    ],
)
def test_a_run_that_goes_on_is_named_whole(bad: dict[str, Any]) -> None:
    spec = {"entity": "ann", "project": "demo", "run_id": "r1"}
    with pytest.raises(Invalid):
        pushes.run_again({**spec, **bad})


def test_the_answer_tells_what_came_of_a_spec_and_no_secret() -> None:
    spec = {"job": "a/b/c:d", "project": "DEMO", "resource": None, "_wandb_api_key": "k",
            "template_variables": {}, "overrides": {"args": ["x"]}}  # fmt: skip
    assert json.loads(pushes.spec_of(spec, an_item())) == {
        "job": "a/b/c:d", "overrides": {"args": ["x"]}, "entity": "ann", "project": "demo",
        "run_id": "r1", "author": "ann", "resource": "local-process",
        "resource_args": {"local-process": {"grace_s": 3}},
    }  # fmt: skip
