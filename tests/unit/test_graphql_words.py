"""wandb's words and ours: ids, states, configs, filters and orders."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.ids import RunId, UserName
from shipway.domain.run import Run, RunFacts, RunState
from shipway.server.graphql import ids, translate
from shipway.server.graphql.filters import is_by_age, keeps_all, ordered, predicate
from shipway.service.runs import RunView


def a_view(number: int = 1, **changes: Any) -> RunView:
    """Make a run of a client's own."""
    state = changes.pop("state", RunState.RUNNING)
    facts = RunFacts(tags=("a", "b"), group="g", job_type="train", host="h")
    values: dict[str, Any] = {
        "seq": number,
        "id": RunId(f"r{number}"),
        "entity": "ann",
        "project": "demo",
        "name": f"run {number}",
        "item_id": None,
        "created_at": 1_700_000_000_000 + number,
        "config": {"lr": 0.1 * number, "deep": {"x": {"y": "z"}}, "on": True},
        "summary": {"loss": float(number), "model": {"acc": 1}},
        "facts": facts,
        "created_by": UserName("ann"),
    }
    return RunView(run=Run(**{**values, **changes}), state=state, item=None)


def test_a_run_s_id_is_the_one_that_clients_make_by_themselves() -> None:
    node = ids.run_node("r1", "demo", "ann")
    assert node == base64.b64encode(b"Run:v1:r1:demo:ann").decode()
    assert ids.read_run_node(node) == ("r1", "demo", "ann")
    assert str(ids.project_number("Ann", "Demo")) == str(ids.project_number("ann", "demo"))


@pytest.mark.parametrize("node", ["", "!", "UnVu", base64.b64encode(b"Run:v2:a:b:c").decode(), "é"])
def test_what_is_no_id_is_refused(node: str) -> None:
    with pytest.raises(Invalid, match="is no id"):
        ids.read_run_node(node)


def test_an_ask_says_only_what_is_not_null() -> None:
    ask = translate.ask_of(
        {
            "name": "r1", "modelName": "demo", "entityName": None, "groupName": "g", "tags": [],
            "notes": None, "host": "h", "displayName": None, "summaryMetrics": '{"x": NaN}',
            "config": '{"lr": {"value": 1}, "raw": 2, "_wandb": {"value": {"t": 3}}}',
        }
    )  # fmt: skip
    assert (ask.id, ask.project, ask.entity, ask.name) == ("r1", "demo", None, None)
    assert dict(ask.facts) == {"group": "g", "tags": [], "host": "h", "client": {"t": 3}}
    assert ask.config == {"lr": 1, "raw": 2}
    assert ask.summary is not None
    assert math.isnan(ask.summary["x"])
    assert ask.is_begun
    assert not translate.ask_of({"name": "r1"}).is_begun
    assert translate.ask_of({"name": "r1", "state": "pending"}).is_pending
    assert translate.ask_of({"id": ids.run_node("a", "b", "c"), "name": "x"}).id == "a"


@pytest.mark.parametrize("config", ["[]", "{", "3", "[" * 100_000])
def test_a_config_that_is_no_object_is_refused(config: str) -> None:
    with pytest.raises(Invalid, match="config"):
        translate.ask_of({"name": "r1", "config": config})


def test_a_config_goes_there_and_back() -> None:
    view = a_view(facts=RunFacts(client={"t": 1}))
    values, own = translate.config_from(json.loads(translate.config_of(view.run)))
    assert (values, own) == (view.run.config, {"t": 1})


def test_a_stopped_run_reads_as_a_failed_one_with_its_reason() -> None:
    view = a_view(state=RunState.STOPPED)
    assert translate.STATES[view.state] == "failed"
    assert translate.exit_code_of(view) == 143
    assert "stopped" in json.loads(translate.summary_of(view))["_shipway"]["reason"]
    assert set(translate.STATES) == set(RunState)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (None, [1, 2, 3]),
        ({}, [1, 2, 3]),
        ({"name": "r2"}, [2]),
        ({"displayName": "run 2"}, [2]),
        ({"display_name": {"$regex": "[12]$"}}, [1, 2]),
        ({"tags": "a"}, [1, 2, 3]),
        ({"tags": {"$in": ["b", "x"]}}, [1, 2, 3]),
        ({"tags": {"$nin": ["a"]}}, []),
        ({"state": "running", "group": "g", "jobType": "train", "username": "ann"}, [1, 2, 3]),
        ({"config.lr": 0.1}, [1]),
        ({"config.lr.value": {"$gt": 0.15}}, [2, 3]),
        ({"config.deep.x.y": "z"}, [1, 2, 3]),
        ({"config.on": 1}, []),
        ({"config.none": {"$exists": False}}, [1, 2, 3]),
        ({"summary_metrics.loss": {"$gte": 2, "$lt": 3}}, [2]),
        ({"summary_metrics.model.acc": 1}, [1, 2, 3]),
        ({"summary_metrics.loss": {"$gt": "x"}}, []),
        ({"$or": [{"name": "r1"}, {"name": "r3"}]}, [1, 3]),
        ({"$and": [{"name": {"$ne": "r1"}}, {"$nor": [{"name": "r3"}]}]}, [2]),
        ({"$not": {"name": "r1"}}, [2, 3]),
        ({"createdAt": {"$gt": "2020-01-01T00:00:00"}}, [1, 2, 3]),
    ],
)
def test_filters_keep_what_they_say(filters: Any, kept: list[int]) -> None:
    keep = predicate(None if filters is None else json.dumps(filters))
    assert [n for n in (1, 2, 3) if keep(a_view(n))] == kept


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ({"nothing": 1}, "'nothing'"),
        ({"state": {"$near": 1}}, r"\$near"),
        ({"$where": "1"}, r"\$where"),
        ({"$and": {}}, "list"),
        ({"tags": {"$in": "a"}}, "list"),
        ({"name": {"$regex": "("}}, "pattern"),
        ({"name": {"$regex": "(a+)+b"}}, "pattern"),
        ([1], "filter"),
        ({"$or": [{"name": "x"}] * 300}, "200 conditions"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_name(filters: Any, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        predicate(json.dumps(filters))


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (None, [3, 2, 1]),
        ("+created_at", [1, 2, 3]),
        ("-created_at", [3, 2, 1]),
        ("+summary_metrics.loss", [2, 3, 1]),
        ("-summary_metrics.loss", [3, 2, 1]),
        ("+config.deep", [1, 2, 3]),
    ],
)
def test_orders_put_what_has_no_value_last(order: str | None, found: list[int]) -> None:
    losses = {1: math.nan, 2: -1.0, 3: 5}
    views = [a_view(n, summary={"loss": losses[n]}) for n in (1, 2, 3)]
    assert [view.run.seq for view in ordered(views, order)] == found


def test_pages_in_order_of_age_need_no_other_runs() -> None:
    """Earns: a page of a project with a million runs is read as fast as one of a small one."""
    assert all(is_by_age(order) for order in (None, "", "-created_at", "+createdAt"))
    assert not is_by_age("-summary_metrics.loss")
    assert all(keeps_all(text) for text in (None, "", "{}", " {} ", "null"))
    assert not keeps_all('{"state": "finished"}')
