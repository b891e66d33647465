"""What wandb's clients say of sweeps, in our words and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.ids import UserName
from shipway.domain.sweep import Sweep, SweepId, SweepState
from shipway.server.graphql import translate_sweeps as words
from shipway.server.graphql.ids import sweep_node
from shipway.server.graphql.translate_schedulers import Scheduler, code_of, scheduler_of
from shipway.service.sweep_agents import Command, Order

SPEC = {
    "uri": "placeholder-uri-scheduler", "entity": "ann", "project": "demo", "docker": {}, "git": {},
    "name": "Scheduler.WANDB_SWEEP_ID", "run_id": "WANDB_SWEEP_ID", "resource": "local-process",
    "overrides": {
        "args": ["--queue", "'default'", "--job", "'ann/demo/j b:v0'", "--image_uri", "x y"],
        "entry_point": ["wandb", "scheduler", "WANDB_SWEEP_ID"],
        "run_config": {"scheduler": {"num_workers": 2}},
    },
}  # fmt: skip


def a_sweep() -> Sweep:
    """Make a stored sweep."""
    return Sweep(
        seq=1, id=SweepId("abcd1234"), entity="ann", project="demo", name=None, description=None,
        state=SweepState.PENDING, config={}, source="", seed=1, created_by=UserName("ann"),
        created_at=0, updated_at=0,
    )  # fmt: skip


def pushed(spec: dict[str, Any] | None = None, **more: Any) -> Scheduler:
    """Read a scheduler as the client pushes it."""
    said = {
        "queue": "default", "run_queue_project": "model-registry",
        "run_spec": json.dumps(spec or SPEC),
    }  # fmt: skip
    asked = {"launchScheduler": json.dumps(said), "templateVariableValues": "null", **more}
    found = scheduler_of(asked, "W&B Internal Client 0.20.1")
    assert found is not None
    return found


def test_a_config_is_read_and_states_are_words() -> None:
    ask = words.ask_of({
        "id": sweep_node("abcd1234", "demo", "ann"), "config": "method: grid", "state": "PAUSED",
        "priorRunsFilters": '{"$or": [{"name": "a"}, {"name": "b"}]}',
    })  # fmt: skip
    assert (ask.id, ask.project, ask.entity) == ("abcd1234", "demo", "ann")
    assert (ask.given, ask.state) == ({"method": "grid"}, SweepState.PAUSED)
    assert ask.prior_runs == ["a", "b"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"config": "[1]"}, "config must be a mapping"),
        ({"config": "a: {b"}, "config is no YAML"),
        ({"config": "a: &x [1]\nb: *x\n"}, r"config uses the alias \*x"),
        ({"config": "a: " + "[" * 200 + "]" * 200}, "nested deeper than 100"),
        ({"config": "a" * 300_000}, "more than 262144"),
        ({"state": "CRASHED"}, "state 'CRASHED' is none of a sweep"),
        ({"id": "Zm9v"}, "is no id of a sweep"),
        ({"priorRunsFilters": '{"state": "x"}'}, "priorRunsFilters must name runs"),
        ({"priorRunsFilters": '{"$or": [{"name": 3}]}'}, "priorRunsFilters must name runs"),
    ],
)
def test_what_cannot_be_read_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        words.ask_of(asked)


def test_orders_are_one_text() -> None:
    commands = [
        Command(order=Order.RUN, run_id="r", values={"x": 1, "g": {"y": None}}, program="t.py"),
        Command(order=Order.STOP, run_id="s"),
        Command(order=Order.EXIT),
    ]
    assert json.loads(words.commands_of(commands)) == [
        {"type": "run", "run_id": "r", "program": "t.py", "logs": [],
         "args": {"x": {"value": 1}, "g": {"value": {"y": None}}}},
        {"type": "stop", "run_id": "s"},
        {"type": "exit"},
    ]  # fmt: skip
    assert words.running_of('{"a": true, "b": false}') == {"a"}
    assert words.running_of(None) == set()
    with pytest.raises(Invalid, match="runState"):
        words.running_of("[]")


def test_a_scheduler_becomes_a_launch_of_the_client_that_pushed_it() -> None:
    draft, text = pushed().plan(a_sweep(), 0)
    assert (draft.name, draft.run_id) == ("Scheduler.abcd1234", "abcd1234")
    assert draft.entry_point == ("wandb", "scheduler", "abcd1234")
    assert draft.args == ("--queue", "default", "--job", "ann/demo/j b:v0", "--image_uri", "x y")
    assert (draft.queue, draft.project_queue, draft.queue_entity) == (
        "default", "model-registry", "ann",
    )  # fmt: skip
    assert (draft.resource, dict(draft.run_config)) == (
        "local-process", {"scheduler": {"num_workers": 2}},
    )  # fmt: skip
    code = code_of("W&B Internal Client 0.20.1")
    assert draft.source == code.source
    assert b"wandb==0.20.1\n" in code.blobs.values()
    kept = json.loads(text)
    assert json.loads(kept["run_spec"])["overrides"]["entry_point"][2] == "abcd1234"
    assert "WANDB_SWEEP_ID" not in text
    again, _ = pushed().plan(a_sweep(), 1)
    assert again.run_id == "abcd1234-2", "an id is used once"


def test_a_scheduler_that_is_a_job_brings_its_own_code() -> None:
    job = {
        **SPEC, "job": "ann/demo/tuner:latest", "resource": "local-container",
        "overrides": {"run_config": {"sweep_args": {"sweep_id": "WANDB_SWEEP_ID"}}},
    }  # fmt: skip
    draft, _ = pushed(job).plan(a_sweep(), 0)
    assert (draft.job, draft.source) == ("ann/demo/tuner:latest", None)
    assert draft.run_config == {"sweep_args": {"sweep_id": "abcd1234"}}


def test_an_odd_scheduler_is_refused() -> None:
    assert scheduler_of({}, "") is None
    assert b"wandb==0.31.0\n" in code_of("curl").blobs.values()
    for text in ("{", "[]", '{"queue": 1}', '{"queue": "q", "run_spec": "{"}'):
        with pytest.raises(Invalid, match="launchScheduler"):
            scheduler_of({"launchScheduler": text}, "")
