"""What a refused draft says: the field, what is wrong with it, and what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.config_keys import distance
from shipway.domain.errors import Invalid, ShipwayError
from shipway.domain.launch_spec import SIZE_LIMIT, Draft, draft

IMAGE = "ghcr.io/ada/train:1"


def refused(**arguments: Any) -> ShipwayError:
    """Return the error of a draft that must be refused."""
    with pytest.raises(ShipwayError) as caught:
        draft(**arguments)
    return caught.value


@pytest.mark.parametrize(
    ("key", "word", "bad", "said"),
    [
        ("uri", "text", 3, "3"),
        ("uri", "text", 1.5, "1.5"),
        ("overrides", "a dict", [1], "…"),
        ("docker", "a dict", "x", "…"),
        ("additional_services", "a list", {}, "…"),
    ],
)
def test_a_spec_key_says_which_type_it_wants(key: str, word: str, bad: Any, said: str) -> None:
    error = refused(docker_image=IMAGE, config={key: bad})
    assert error.message == (
        f"config.{key} is a key of the launch spec and must be {word}, "
        f"not {type(bad).__name__}. A value of the run's config by that name goes into "
        f"overrides.run_config: config={{'overrides': {{'run_config': {{{key!r}: {said}}}}}}}"
    )


def test_a_near_miss_says_where_a_value_by_that_name_goes() -> None:
    error = refused(docker_image=IMAGE, config={"overides": {}})
    assert error.message.startswith(
        "config has the key 'overides': did you mean 'overrides'? A value of the run's config"
    )
    assert error.details == {"field": "config.overides", "value": "overides"}


@pytest.mark.parametrize(
    ("left", "right", "edits"),
    [
        ("", "", 0),
        ("", "ab", 2),
        ("ab", "", 2),
        ("abc", "abc", 0),
        ("abc", "axc", 1),
        ("abc", "abxc", 1),
        ("abcd", "acbd", 1),
        ("ba", "ab", 1),
        ("abcdef", "badcfe", 3),
        ("xbca", "abca", 1),
        ("kitten", "sitting", 3),
        ("ab", "cd", 2),
        ("xab", "ba", 2),
    ],
)
def test_the_distance_of_words_counts_edits_and_swaps(left: str, right: str, edits: int) -> None:
    assert distance(left, right) == distance(right, left) == edits


@pytest.mark.parametrize(
    ("arguments", "message", "field"),
    [
        ({"queue_name": ["a"]}, "a list of queues is not available in this release", "queue_name"),
        ({"queue_name": ("a",)}, "a list of queues is not available in this release", "queue_name"),
        (
            {"config": {"builder": {"type": "x"}}},
            "config.builder is not available in this release: leave it out",
            "config.builder",
        ),
        (
            {"config": {"additional_services": [{}]}},
            "config.additional_services is not available in this release",
            "config.additional_services",
        ),
        (
            {"config": {"docker": {"user_id": 0}}},
            "config.docker.user_id is not available in this release: leave it out",
            "config.docker.user_id",
        ),
        (
            {"config": {"overrides": {"working_dir": "x"}}},
            "config.overrides.working_dir is not available in this release: name the directory",
            "config.overrides.working_dir",
        ),
    ],
)
def test_what_is_not_available_is_named_with_its_field(
    arguments: dict[str, Any], message: str, field: str
) -> None:
    error = refused(docker_image=IMAGE, **arguments)
    assert error.message.startswith(message)
    assert error.details == {"field": field}


def test_what_says_nothing_is_no_wish_for_what_is_not_available() -> None:
    config: dict[str, Any] = {
        "registry": {"url": None},
        "builder": {},
        "template_variables": {},
        "additional_services": [],
        "docker": {"user_id": None},
        "overrides": {"working_dir": ""},
        "project": None,
    }
    assert draft(docker_image=IMAGE, config=config) == Draft(docker_image=IMAGE)


@pytest.mark.parametrize("key", ["_wandb_api_key", "_resume_count"])
def test_a_key_of_a_server_is_named(key: str) -> None:
    error = refused(docker_image=IMAGE, config={key: "x"})
    assert error.message == f"config.{key} is set by a server, not by a submitter"
    assert error.details["field"] == f"config.{key}"


def test_an_unknown_key_is_told_with_the_known_ones() -> None:
    error = refused(docker_image=IMAGE, config={"docker": {"colour": 1}})
    assert error.message == (
        "config.docker has the unknown key 'colour' (known: docker_image, user_id)"
    )
    assert error.details == {"field": "config.docker.colour", "value": 1}


def test_two_ways_to_say_one_thing_must_agree() -> None:
    config = {"image_uri": IMAGE, "docker": {"docker_image": IMAGE}}
    assert draft(config=config).docker_image == IMAGE
    assert draft(config={"docker": {"docker_image": IMAGE}}).docker_image == IMAGE
    error = refused(config={"image_uri": "a:1", "docker": {"docker_image": "b:1"}})
    assert error.message == (
        "config.docker.docker_image is 'b:1' but config.image_uri is 'a:1': give one of them"
    )
    assert error.details == {"field": "config.docker.docker_image", "value": "b:1"}
    error = refused(config={"uri": "a", "git": {"repo": "b"}})
    assert error.details["field"] == "config.git.repo"
    assert "config.uri is 'a'" in error.message


def test_parts_of_overrides_are_dicts() -> None:
    for key in ("run_config", "artifacts", "files"):
        error = refused(docker_image=IMAGE, config={"overrides": {key: 3}})
        assert error.details["field"] == f"config.overrides.{key}"
    made = draft(docker_image=IMAGE, config={"overrides": {"run_config": {"a": 1}}})
    assert made.run_config == {"a": 1}


@pytest.mark.parametrize("address", ["c", "a/b:latest", "a/b/c/d:latest", "a/b/c:", "a/b/c:-x"])
def test_a_bad_address_of_a_job_is_shown_with_a_good_one(address: str) -> None:
    error = refused(job=address)
    assert error.message == (
        f"job {address!r} is not a job's address: write entity/project/name:alias, "
        "such as ada/demo/train:latest"
    )
    assert error.details == {"field": "job", "value": address}


def test_a_job_and_a_run_are_named_in_whole() -> None:
    assert draft(job="ada/my project/train:v3").job == "ada/my project/train:v3"
    assert "must be text, not int" in refused(job=3).message
    assert Draft.from_json({"run": "a/b/c"}).run == "a/b/c"
    for bad in ("a/b", "a/b/c/d", "a//c", 3):
        with pytest.raises(Invalid) as caught:
            Draft.from_json({"run": bad})
        assert caught.value.details["field"] == "run"


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"uri": " "}, "uri", "must be 1 to 4096 printable characters"),
        ({"uri": "u" * 4097}, "uri", "must be 1 to 4096 printable characters"),
        ({"uri": "a\nb"}, "uri", "must be 1 to 4096 printable characters"),
        ({"uri": "-x"}, "uri", "must not begin with '-'"),
        ({"uri": "https://a:b@c/d"}, "uri", "has a password in it: leave it out, git asks"),
        ({"version": "-x"}, "version", "must not begin with '-'"),
        ({"dockerfile": "/x"}, "dockerfile", r"must be a relative path without '\.\.'"),
        ({"dockerfile": "a/../b"}, "dockerfile", "must be a relative path without"),
        ({"dockerfile": 3}, "dockerfile", "must be text, not int"),
        ({"refresh": 1}, "refresh", "refresh must be True or False, not 1"),
        ({"refresh": "yes"}, "refresh", "must be True or False"),
        ({"resource": "Moon"}, "resource", "is not a resource's name, such as 'local-process'"),
        ({"resource": 3}, "resource", "is not a resource's name"),
        ({"python": "-3"}, "python", r"is not a Python, such as '3\.11' or 'pypy3'"),
        ({"entry_point": "x"}, "entry_point", "must be a list of strings, not str"),
        ({"entry_point": []}, "entry_point", r"is empty: name the program, such as \['main.py'\]"),
        ({"entry_point": [" "]}, r"entry_point[0]", "is empty: name the program"),
        ({"entry_point": ["a", 1]}, "entry_point[1]", r"\[1\] is 1, a int"),
        ({"args": ["a", None]}, "overrides.args[1]", r"\[1\] is None, a NoneType"),
        ({"args": "x"}, "overrides.args", "overrides.args must be a list of strings, not str"),
        (
            {"resource_args": {"moon": 3}},
            "resource_args.moon",
            "resource_args.moon must be a dict of that resource's arguments, not int",
        ),
    ],
)
def test_a_bad_field_is_named_with_what_is_wrong(
    fields: dict[str, Any], field: str, words: str
) -> None:
    whole = fields if "uri" in fields else {"docker_image": IMAGE, **fields}
    with pytest.raises(Invalid, match=words) as caught:
        Draft.from_json(whole)
    assert caught.value.details["field"] == field


def test_good_fields_are_kept_as_they_are() -> None:
    fields: dict[str, Any] = {
        "uri": "u" * 4096,
        "version": "v1",
        "dockerfile": "a/..b/Dockerfile",
        "python": "3.12",
        "entry_point": ["python", ""],
        "args": ["", "-x"],
        "resource_args": {"moon": None, "sun": {"a": 1}},
        "refresh": True,
    }
    assert Draft.from_json(fields).to_json() == fields


def test_what_a_draft_is_not_is_said() -> None:
    with pytest.raises(Invalid, match=r"^the draft must be an object, not list$") as caught:
        Draft.from_json([])
    assert caught.value.details["field"] == "draft"
    with pytest.raises(Invalid, match=r"^the draft has the unknown field 'colour'") as caught:
        Draft.from_json({"colour": 1})
    assert caught.value.details == {"field": "colour", "value": 1}


def test_exactly_one_source_is_asked_for_by_name() -> None:
    words = "exactly one of uri, job and docker_image must be given, not "
    error = refused(uri=".", job="a/b/c:d", docker_image=IMAGE)
    assert error.message == f"{words}uri and job and docker_image"
    assert error.details == {"field": "uri", "value": "uri and job and docker_image"}
    assert refused().message == f"{words}none"
    with pytest.raises(Invalid, match="not job and run"):
        Draft.from_json({"job": "a/b/c:d", "run": "a/b/c"})
    assert Draft.from_json({"uri": ".", "run": "a/b/c"}).run == "a/b/c"


def test_a_version_goes_with_neither_job_nor_image() -> None:
    for given, name in (({"job": "a/b/c:d"}, "job"), ({"docker_image": IMAGE}, "docker_image")):
        error = refused(version="main", **given)
        assert error.message == f"version 'main' goes with a uri, not with {name}"
        assert error.details == {"field": "version", "value": "main"}
    assert draft(uri=".", version="main").version == "main"


def test_a_launch_may_be_as_large_as_the_limit_in_bytes() -> None:
    room = SIZE_LIMIT - len(draft(docker_image=IMAGE, config={"a": ""}).dumps())
    assert draft(docker_image=IMAGE, config={"a": "x" * room}).run_config["a"]
    assert draft(docker_image=IMAGE, config={"a": "é" * (room // 2)}).run_config["a"]
    error = refused(docker_image=IMAGE, config={"a": "x" * (room + 1)})
    assert error.details == {"field": "run_config", "size": SIZE_LIMIT + 1, "limit": SIZE_LIMIT}
    assert error.message.startswith(
        "the launch is 1,048,577 bytes of JSON, the limit is 1,048,576 (1 MiB); most of it is "
        "run_config with "
    )


def test_a_config_may_be_as_deep_as_the_limit() -> None:
    deep: Any = 1
    for _ in range(63):
        deep = {"a": deep}
    assert draft(docker_image=IMAGE, config={"a": deep}).run_config == {"a": deep}
    error = refused(docker_image=IMAGE, config={"a": {"a": deep}})
    assert "is nested deeper than 64 levels" in error.message


def test_a_title_may_be_as_long_as_the_limit() -> None:
    assert draft(docker_image=IMAGE, name="x" * 512).name == "x" * 512
    error = refused(docker_image=IMAGE, name="x" * 513)
    assert error.message == "name must be 1 to 512 printable characters on one line"


def test_parameters_are_a_dict() -> None:
    error = refused(docker_image=IMAGE, parameters=3)
    assert error.message == "parameters must be a dict, not int"


def test_a_title_is_text() -> None:
    error = refused(docker_image=IMAGE, name=3)
    assert error.message == "name must be text, not int"


@pytest.mark.parametrize(
    ("arguments", "words", "field"),
    [
        ({"build": True, "resource": "local-process"}, "cannot run as the resource", "build"),
        ({"build": True, "uri": None, "job": "a/b/c:v1"}, "build goes with a uri", "build"),
        ({"repository": "Host/Name"}, "small letters only", "repository"),
        ({"repository": "r.example:5000/a:tag"}, "names a tag or a digest", "repository"),
        ({"config": {"registry": {"url": "a b"}}}, "no repository's path", "repository"),
        ({"config": {"registry": {"type": "x"}}}, "config.registry", "config.registry.type"),
    ],
)
def test_what_cannot_be_built_or_pushed_is_refused(
    arguments: dict[str, Any], words: str, field: str
) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        draft(**{"uri": "https://host/a.git", **arguments})
    assert caught.value.details["field"] == field


def test_a_repository_is_kept_however_it_is_named() -> None:
    uri = "https://host/a.git"
    assert draft(uri=uri, repository="r.example:5000/a").repository == "r.example:5000/a"
    assert draft(uri=uri, config={"registry": {"url": "r.example/b"}}).repository == "r.example/b"
