"""How a draft, a job or an earlier run, and a queue become one launch spec."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipway.domain.errors import Invalid, TooLarge
from shipway.domain.ids import QueueId, RunId
from shipway.domain.job import Job, JobKind
from shipway.domain.launch_spec import Draft, LaunchSpec, complete, draft
from shipway.domain.macros import fill
from shipway.domain.parameters import to_args
from shipway.domain.queue import Priority, Queue

KNOWN = ("kubernetes", "local-container", "local-process")
GIT = {"kind": "git", "url": "https://git.example/a/b", "commit": "a" * 40}


def a_queue(**changes: Any) -> Queue:
    facts = {"id": QueueId(1), "entity": "team", "project": "model-registry", "name": "default"}
    return Queue(**{"resource": "any", **facts, **changes})


def a_job(**changes: Any) -> Job:
    facts = {"entity": "team", "project": "vision", "name": "train", "version": 3, "aliases": ()}
    return Job(**{"kind": JobKind.GIT, "source": GIT, **facts, **changes})


def completed(
    made: Draft,
    *,
    job: Job | None = None,
    original: LaunchSpec | None = None,
    queue: Queue | None = None,
    known: tuple[str, ...] = KNOWN,
) -> LaunchSpec:
    return complete(
        made,
        job=job,
        original=original,
        queue=queue or a_queue(),
        run_id=RunId("run1"),
        entity="ada",
        project=None,
        author="ada",
        known_resources=known,
    )


def pinned(**fields: Any) -> Draft:
    return Draft.from_json({"source": GIT, **fields})


def test_code_runs_main_py_as_a_local_process_by_default() -> None:
    spec = completed(pinned())
    assert (spec.entry_point, spec.args, spec.resource) == (("main.py",), (), "local-process")
    assert (spec.entity, spec.project, spec.author) == ("ada", "uncategorized", "ada")
    assert spec.priority is Priority.MEDIUM


def test_arguments_for_one_resource_choose_it_on_a_queue_of_any() -> None:
    args = {"local-container": {"base_image": "python:3.12"}}
    assert completed(pinned(resource_args=args)).resource == "local-container"
    both = {**args, "local-process": {"python": "3.12"}}
    assert completed(pinned(resource_args=both)).resource == "local-process"
    asked = pinned(resource_args=args, resource="local-process")
    assert completed(asked).resource == "local-process"


def test_an_image_runs_itself_in_a_local_container() -> None:
    spec = completed(draft(docker_image="x:1"))
    assert spec.source == {"kind": "image", "image": "x:1"}
    assert (spec.entry_point, spec.resource) == ((), "local-container")


def test_precedence_is_draft_then_job_then_queue() -> None:
    queue = a_queue(
        config={
            "resource_args": {"local-process": {"run_limit_s": 1, "grace_s": 1, "env": {"Q": "1"}}}
        }
    )
    job = a_job(
        resource_args={"local-process": {"run_limit_s": 2, "env": {"J": "1"}, "extras": ["job"]}},
        run_config={"lr": 1, "momentum": 1},
        entry_point=("job.py",),
        args=("--job",),
        python="3.11",
    )
    made = draft(
        job="team/vision/train:latest",
        config={"lr": 3},
        resource_args={"local-process": {"run_limit_s": 3, "extras": ["mine"]}},
    )
    spec = completed(made, job=job, queue=queue)
    assert spec.resource_args["local-process"] == {
        "run_limit_s": 3,
        "grace_s": 1,
        "env": {"Q": "1", "J": "1"},
        "extras": ["mine"],
    }
    assert spec.run_config == {"lr": 3, "momentum": 1}
    assert (spec.entry_point, spec.args, spec.python) == (("job.py",), ("--job",), "3.11")
    assert (spec.entity, spec.project) == ("team", "vision")
    assert spec.job == "team/vision/train:v3"


def test_null_removes_what_lies_below() -> None:
    queue = a_queue(config={"resource_args": {"local-process": {"run_limit_s": 1, "grace_s": 2}}})
    made = draft(
        job="team/vision/train:latest",
        config={"overrides": {"run_config": {"lr": None, "new": {"a": None, "b": 1}}}},
        resource_args={"local-process": {"run_limit_s": None}},
    )
    spec = completed(made, job=a_job(run_config={"lr": 1, "m": 2}), queue=queue)
    assert spec.resource_args == {"local-process": {"grace_s": 2}}
    assert spec.run_config == {"m": 2, "new": {"b": 1}}


def test_given_args_replace_the_jobs_and_parameters_follow() -> None:
    made = draft(
        job="team/vision/train:latest",
        config={"overrides": {"args": []}},
        parameters={"alpha": 0.5, "l1_ratio": 0.01},
    )
    spec = completed(made, job=a_job(args=("--old",)))
    assert spec.args == ("--alpha", "0.5", "--l1_ratio", "0.01")
    assert spec.run_config == {"alpha": 0.5, "l1_ratio": 0.01}


def test_parameters_become_args_in_order() -> None:
    values = {
        "b": True, "a": False, "none": None, "text": "x y", "dash": "-1x", "neg": -1,
        "list": [1, "a"], "dict": {"k": None}, "umlaut": "ä",
    }  # fmt: skip
    assert to_args(values) == [
        *("--b", "true", "--a", "false", "--text", "x y", "--dash=-1x", "--neg=-1"),
        *("--list", '[1, "a"]', "--dict", '{"k": null}', "--umlaut", "ä"),
    ]


def test_a_relaunch_takes_over_the_source_and_not_the_name() -> None:
    first = completed(
        pinned(
            name="first",
            author="eve",
            queue="default",
            priority=0,
            entry_point=["train.py"],
            args=["--x"],
            run_config={"lr": 1},
            resource="local-process",
            resource_args={"local-process": {"grace_s": 3}},
            python="3.12",
        )
    )
    again = completed(
        Draft.from_json({"uri": "ada/uncategorized/runs/run1", "run": "ada/uncategorized/run1"}),
        original=first,
        queue=a_queue(name="other"),
    )
    assert again.source == GIT
    assert (again.entry_point, again.args, again.python) == (("train.py",), ("--x",), "3.12")
    assert again.resource_args == {"local-process": {"grace_s": 3}}
    assert again.run_config == {"lr": 1}
    assert (again.name, again.author, again.queue) == (None, "ada", "other")
    assert again.priority is Priority.MEDIUM
    assert again.run == "ada/uncategorized/run1"


def test_another_resource_than_the_queues_is_refused_naming_both() -> None:
    with pytest.raises(Invalid, match=r"'local-process'.*'kubernetes'"):
        completed(pinned(resource="kubernetes"), queue=a_queue(resource="local-process"))


def test_a_queues_fixed_resource_is_the_launchs() -> None:
    assert completed(pinned(), queue=a_queue(resource="kubernetes")).resource == "kubernetes"


def test_an_unknown_resource_is_refused_listing_the_known() -> None:
    with pytest.raises(Invalid, match="kubernetes, local-container, local-process"):
        completed(pinned(resource="moon"))


def test_arguments_of_an_unknown_resource_are_refused() -> None:
    with pytest.raises(Invalid) as caught:
        completed(pinned(resource_args={"local_process": {}}))
    assert caught.value.details["field"] == "resource_args.local_process"


def test_an_image_is_no_local_process() -> None:
    with pytest.raises(Invalid, match="an image cannot run as"):
        completed(draft(docker_image="x", resource="local-process"))


def test_an_address_that_nobody_resolved_is_refused() -> None:
    with pytest.raises(Invalid, match="not resolved"):
        completed(draft(uri="https://git.example/a/b"))


def test_a_spec_that_grew_too_large_is_refused() -> None:
    with pytest.raises(TooLarge, match="completed launch spec"):
        completed(
            draft(job="team/vision/train:latest", config={"a": "x" * 700_000}),
            job=a_job(run_config={"b": "x" * 700_000}),
        ).dumps()


def test_the_text_of_a_spec_is_canonical_and_reads_back() -> None:
    spec = completed(pinned(run_config={"b": 1, "a": 2}, refresh=True))
    text = spec.dumps()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert LaunchSpec.from_json(json.loads(text)) == spec


def test_an_image_spec_reads_back() -> None:
    spec = completed(draft(docker_image="x:1"))
    assert LaunchSpec.from_json(json.loads(spec.dumps())) == spec


def test_a_spec_that_lacks_a_field_is_refused() -> None:
    with pytest.raises(Invalid, match="lacks a field"):
        LaunchSpec.from_json({"queue": "default"})


def test_macros_fill_from_an_allow_list_only() -> None:
    facts = {"run_id": "r1", "run_name": None, "author": "ada"}
    value = {"${run_id}": ["${run_id}-${HOME}", {"a": "${run_name}!", "n": 3}], "b": "$run_id"}
    assert fill(value, facts) == {
        "${run_id}": ["r1-${HOME}", {"a": "!", "n": 3}],
        "b": "$run_id",
    }


def test_text_in_a_parameter_stays_as_it_is() -> None:
    assert to_args({"a": "é", "b": ["é"], "c": {"d": True}}) == [
        "--a", "é", "--b", '["é"]', "--c", '{"d": true}',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "before", "kept"), [("a", None, "a"), ("a", "b", "a"), (None, "b", "b")]
)
def test_a_relaunch_keeps_its_dockerfile_unless_another_is_named(
    asked: str | None, before: str | None, kept: str
) -> None:
    original = completed(pinned(**({} if before is None else {"dockerfile": before})))
    again = {"run": "ada/p/r1", **({} if asked is None else {"dockerfile": asked})}
    assert completed(Draft.from_json(again), original=original).dockerfile == kept


def test_a_platform_of_a_queue_is_held_to_those_of_a_job_s_image() -> None:
    image = {"kind": "image", "image": "r.example/box:1", "platforms": ["linux/arm64"]}
    job = a_job(kind=JobKind.IMAGE, source=image)
    made = Draft.from_json({"job": job.address})
    for platform in ("linux/arm64", "linux/aarch64"):
        config = {"resource_args": {"local-container": {"platform": platform}}}
        assert completed(made, job=job, queue=a_queue(config=config)).source == image
    config = {"resource_args": {"local-container": {"platform": "linux/amd64"}}}
    with pytest.raises(Invalid, match=r"'linux/amd64', but r\.example/box:1 has: linux/arm64"):
        completed(made, job=job, queue=a_queue(config=config))
