"""What a draft takes from keywords and `config`, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from shipway.domain.errors import Code, Invalid, NotAvailable, ShipwayError, TooLarge
from shipway.domain.launch_spec import Draft, draft
from shipway.domain.queue import Priority

IMAGE = "ghcr.io/ada/train:1"
DIGEST = "0" * 64
CAPSULE = {"kind": "capsule", "digest": DIGEST, "size": 3, "files": 1, "subdirectory": ""}
GIT = {"kind": "git", "url": "https://git.example/a/b", "commit": "a" * 40, "ref": None}


def refused(**arguments: Any) -> ShipwayError:
    """Return the error of a draft that must be refused."""
    with pytest.raises(ShipwayError) as caught:
        draft(**arguments)
    return caught.value


def test_keyword_ranks_over_config() -> None:
    made = draft(docker_image=IMAGE, config={"project": "a", "name": "low"}, name="high")
    assert (made.project, made.name) == ("a", "high")


def test_resource_args_of_keyword_and_config_merge_deeply() -> None:
    config = {"resource_args": {"local-process": {"env": {"A": "1", "B": "1"}, "extras": ["x"]}}}
    made = draft(
        docker_image=IMAGE,
        config=config,
        resource_args={"local-process": {"env": {"B": "2"}, "extras": ["y"]}},
    )
    assert made.resource_args == {
        "local-process": {"env": {"A": "1", "B": "2"}, "extras": ["y"]}  # lists replace
    }


def test_null_in_a_keyword_is_kept_to_remove_a_lower_key() -> None:
    made = draft(docker_image=IMAGE, resource_args={"local-process": {"run_limit_s": None}})
    assert made.resource_args == {"local-process": {"run_limit_s": None}}


def test_other_config_keys_are_run_config_and_overrides_rank_over_them() -> None:
    config = {"lr": 0.1, "layers": [1, 2], "overrides": {"run_config": {"lr": 0.2}}}
    made = draft(docker_image=IMAGE, config=config)
    assert made.run_config == {"lr": 0.2, "layers": [1, 2]}


def test_config_is_never_mutated() -> None:
    config: dict[str, Any] = {
        "lr": 1,
        "docker": {},
        "git": {},
        "overrides": {"args": ["a"], "run_config": {"x": {"y": 1}}},
        "resource_args": {"local-process": {"env": {}}},
    }
    before = copy.deepcopy(config)
    made = draft(docker_image=IMAGE, config=config, resource_args={"local-process": {"grace_s": 1}})
    assert config == before
    assert made.run_config["x"] is not config["overrides"]["run_config"]["x"]


def test_the_spec_keys_of_config_reach_their_fields() -> None:
    made = draft(
        config={
            "entity": "ada",
            "author": "Ada L",
            "run_id": "r1",
            "sweep_id": "s1",
            "queue_entity": "team",
            "image_uri": IMAGE,
            "python_version": "3.12",
            "resource": "local-container",
            "docker": {"user_id": 1000},
            "overrides": {
                "args": ["--x"],
                "entry_point": ["train.py"],
                "files": {"a": {"b": 1}},
                "artifacts": {"data": {}},
                "dockerfile": "docker/Dockerfile",
            },
        }
    )
    assert made == Draft(
        entity="ada",
        author="Ada L",
        run_id="r1",
        sweep_id="s1",
        queue_entity="team",
        docker_image=IMAGE,
        python="3.12",
        resource="local-container",
        args=("--x",),
        entry_point=("train.py",),
        files={"a": {"b": 1}},
        artifacts={"data": {}},
        dockerfile="docker/Dockerfile",
    )


def test_git_repo_and_version_of_config_are_uri_and_version() -> None:
    made = draft(config={"git": {"repo": "https://git.example/a/b", "version": "v1"}})
    assert (made.uri, made.version) == ("https://git.example/a/b", "v1")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(0, 0), ("critical", 0), ("HIGH", 1), (2, 2), ("low", 3)],
)
def test_priority_is_a_number_or_a_name(given: int | str, wanted: int) -> None:
    assert draft(docker_image=IMAGE, priority=given).priority is Priority(wanted)


@pytest.mark.parametrize("given", [True, False, 4, -1, "urgent", "", 1.0, "1"])
def test_any_other_priority_is_refused(given: Any) -> None:
    error = refused(docker_image=IMAGE, priority=given)
    assert error.details["field"] == "priority"
    assert "0 critical, 1 high, 2 medium, 3 low" in error.message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "not none"),
        ({"uri": ".", "job": "a/b/c:latest"}, "not uri and job"),
        ({"job": "a/b/c:latest", "docker_image": IMAGE}, "not job and docker_image"),
        ({"uri": ".", "config": {"job": "a/b/c:v1"}}, "not uri and job"),
    ],
)
def test_exactly_one_source_must_be_given(arguments: dict[str, Any], words: str) -> None:
    error = refused(**arguments)
    assert isinstance(error, Invalid)
    assert words in error.message


@pytest.mark.parametrize("address", ["c", "a/b/c", "a/b/c:", "a/b:c", "a//c:d", "-a/b/c:d", 3])
def test_a_job_needs_its_whole_address(address: Any) -> None:
    assert refused(job=address).details["field"] == "job"


@pytest.mark.parametrize("key", ["uri", "version"])
def test_an_address_or_ref_that_begins_with_a_dash_is_refused(key: str) -> None:
    arguments = {"uri": ".", key: "--upload-pack=touch"}
    error = refused(**arguments)
    assert error.details["field"] == key
    assert "-" in error.message


def test_an_image_that_begins_with_a_dash_is_refused() -> None:
    assert refused(docker_image="--privileged").details["field"] == "docker_image"


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    error = refused(uri="https://ada:hunter2@git.example/a/b")
    assert "hunter2" not in error.message + str(error.details)


def test_version_goes_with_a_uri_only() -> None:
    assert refused(job="a/b/c:d", version="main").details["field"] == "version"


@pytest.mark.parametrize("words", ["main.py", [1], ["a", None], [], ["a\0b"], {"a": 1}])
def test_entry_point_must_be_a_list_of_strings(words: Any) -> None:
    assert refused(docker_image=IMAGE, entry_point=words).details["field"].startswith("entry_point")


@pytest.mark.parametrize("words", ["--x", [1.5], [["a"]]])
def test_args_must_be_a_list_of_strings(words: Any) -> None:
    error = refused(docker_image=IMAGE, config={"overrides": {"args": words}})
    assert "overrides.args must be a list of strings" in error.message


@pytest.mark.parametrize("key", ["name", "project", "resource", "job", "uri", "resource_args"])
def test_a_spec_key_of_the_wrong_type_names_run_config(key: str) -> None:
    error = refused(docker_image=IMAGE, config={key: 3})
    assert error.details == {"field": f"config.{key}", "value": 3}
    assert f"config={{'overrides': {{'run_config': {{{key!r}: 3}}}}}}" in error.message


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("override", "overrides"),
        ("overrid", "overrides"),
        ("overides", "overrides"),
        ("Overrides", "overrides"),
        ("overrdies", "overrides"),
        ("resource_arg", "resource_args"),
        ("resourceargs", "resource_args"),
        ("template_variable", "template_variables"),
        ("templatevariables", "template_variables"),
    ],
)
def test_a_near_miss_of_a_spec_key_is_refused(key: str, right: str) -> None:
    error = refused(docker_image=IMAGE, config={key: {}})
    assert f"did you mean {right!r}" in error.message


def test_a_key_that_is_far_from_any_spec_key_is_run_config() -> None:
    config = {"over": 1, "rides": 2, "optimizer": 3}  # the last is as long as `overrides`
    assert draft(docker_image=IMAGE, config=config).run_config == config


@pytest.mark.parametrize("part", ["overrides", "docker", "git"])
def test_an_unknown_key_inside_a_spec_key_is_refused(part: str) -> None:
    error = refused(docker_image=IMAGE, config={part: {"what": 1}})
    assert error.details["field"] == f"config.{part}.what"
    assert "known:" in error.message


def test_keys_that_a_server_sets_are_refused() -> None:
    error = refused(docker_image=IMAGE, config={"_wandb_api_key": "secret-text"})
    assert "secret-text" not in error.message + str(error.details)


@pytest.mark.parametrize(
    "arguments",
    [
        {"queue_name": ["a", "b"]},
        {"config": {"additional_services": [{}]}},
        {"config": {"overrides": {"working_dir": "x"}}},
    ],
)
def test_what_this_release_does_not_do_is_said(arguments: dict[str, Any]) -> None:
    error = refused(docker_image=IMAGE, **arguments)
    assert isinstance(error, NotAvailable)
    assert error.code is Code.NOT_AVAILABLE


def test_a_large_config_is_refused_with_its_size_and_the_limit() -> None:
    error = refused(docker_image=IMAGE, config={"data": "x" * 10_000_000})
    assert isinstance(error, TooLarge)
    assert "10,000,0" in error.message
    assert "1 MiB" in error.message
    assert error.details["field"] == "run_config"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "config.model.layers[1]"),
        (float("nan"), "config.model.layers[1]"),
        (float("-inf"), "config.model.layers[1]"),
        (b"bytes", "config.model.layers[1]"),
        ({1, 2}, "config.model.layers[1]"),
        ("nul\0", "config.model.layers[1]"),
        ("half \ud800", "config.model.layers[1]"),
        ({"a": {2: 3}}, "config.model.layers[1].a"),
    ],
)
def test_a_value_that_is_no_json_is_named_by_its_path(value: object, path: str) -> None:
    error = refused(docker_image=IMAGE, config={"model": {"layers": [1, value]}})
    assert error.details["field"] == path
    assert path in error.message


def test_a_config_nested_too_deeply_or_into_itself_is_refused() -> None:
    config: dict[str, Any] = {}
    config["self"] = config
    assert "nested deeper than 64 levels" in refused(docker_image=IMAGE, config=config).message


def test_numbers_of_any_library_keep_their_value() -> None:
    class Fraction(float):
        """Stands for numpy's float64."""

    made = draft(docker_image=IMAGE, config={"lr": Fraction(0.5), "n": (1, 2)})
    assert made.run_config == {"lr": 0.5, "n": [1, 2]}
    assert type(made.run_config["lr"]) is float


@pytest.mark.parametrize("name", ["", "-a", "--a", "a b", "a=b", "a\nb"])
def test_a_parameter_must_be_usable_as_an_option(name: str) -> None:
    assert refused(docker_image=IMAGE, parameters={name: 1}).details["field"] == "parameters"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project", ""),
        ("entity", "-x"),
        ("queue_name", "q" * 65),
        ("run_id", "a/b"),
        ("sweep_id", "../x"),
        ("project_queue", "a\nb"),
        ("name", ""),
        ("author", "a\x07"),
        ("resource", "Local Process"),
    ],
)
def test_names_are_checked(field: str, value: str) -> None:
    expected = "queue" if field == "queue_name" else field
    assert refused(docker_image=IMAGE, **{field: value}).details["field"] == expected


def test_resource_args_are_dicts_by_resource() -> None:
    error = refused(docker_image=IMAGE, resource_args={"local-process": [1]})
    assert error.details["field"] == "resource_args.local-process"


def test_a_draft_survives_its_json() -> None:
    made = draft(
        docker_image=IMAGE,
        config={"lr": 1, "overrides": {"args": []}},
        parameters={"b": 1, "a": 2},
        priority="low",
        refresh=True,
    )
    value = made.to_json()
    assert Draft.from_json(value) == made
    assert value["args"] == []
    assert list(value["parameters"]) == ["b", "a"]


def test_a_draft_from_the_wire_is_checked_like_one_from_keywords() -> None:
    with pytest.raises(Invalid, match="unknown field 'colour'"):
        Draft.from_json({"docker_image": IMAGE, "colour": "red"})
    with pytest.raises(Invalid, match="must be an object"):
        Draft.from_json([1])
    with pytest.raises(Invalid, match="exactly one"):
        Draft.from_json({"docker_image": IMAGE, "source": CAPSULE})


@pytest.mark.parametrize("source", [CAPSULE, GIT, {"kind": "image", "image": IMAGE}])
def test_a_pinned_source_may_stand_beside_its_uri(source: dict[str, Any]) -> None:
    made = Draft.from_json({"uri": ".", "source": source, "version": "main"})
    assert made.source == source


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ({"kind": "ftp"}, "source.kind"),
        ({**CAPSULE, "digest": "x"}, "source.digest"),
        ({**CAPSULE, "size": -1}, "source.size"),
        ({**CAPSULE, "subdirectory": "../x"}, "source.subdirectory"),
        ({**CAPSULE, "extra": 1}, "source.extra"),
        ({**GIT, "commit": "main"}, "source.commit"),
        ({**GIT, "url": "--upload-pack=x"}, "source.url"),
        ({**GIT, "url": "ext::sh -c x"}, "uri"),
        ({**GIT, "ref": "-x"}, "source.ref"),
        ({"kind": "image", "image": "a b"}, "source.image"),
    ],
)
def test_a_bad_source_is_refused_with_its_path(source: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        Draft.from_json({"source": source})
    assert caught.value.details["field"] == field
