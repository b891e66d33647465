"""Options of `docker run` in W&B's spelling, turned into ours."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.container import read_container_args
from shipway.domain.docker_options import NEVER, own_options, own_spelling
from shipway.domain.errors import Invalid
from shipway.domain.launch_spec import draft

# What wandb 0.20.1 passes on as it comes (lists repeated, True a bare flag), and what wandb 0.28.1
# and newer have on their list: what of it has a name of ours.
ACCEPTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"gpus": "all"}, {"gpus": "all"}),
    ({"gpus": "2"}, {"gpus": 2}),
    ({"gpus": "device=0,1"}, {"gpus": ["0", "1"]}),
    ({"gpus": '"device=GPU-3a"'}, {"gpus": ["GPU-3a"]}),
    ({"gpus": "count=2"}, {"gpus": 2}),
    ({"gpus": [0, 1]}, {"gpus": ["0", "1"]}),
    ({"e": "A=1"}, {"env": {"A": "1"}}),
    ({"env": ["A=1", "B=x=y", "C="]}, {"env": {"A": "1", "B": "x=y", "C": ""}}),
    ({"env": {"A": 2, "B": 0.5}}, {"env": {"A": "2", "B": "0.5"}}),
    ({"build-arg": ["A=1"]}, {"build_args": {"A": "1"}}),
    ({"m": "2g"}, {"memory": "2g"}),
    ({"memory": "1073741824"}, {"memory": 1073741824}),
    ({"memory-swap": "4g"}, {"memory_swap": "4g"}),
    ({"shm-size": "1g"}, {"shm_size": "1g"}),
    ({"shm_size": "1g"}, {"shm_size": "1g"}),
    ({"cpus": "1.5"}, {"cpus": 1.5}),
    ({"cpus": "2"}, {"cpus": 2}),
    ({"pids-limit": "100"}, {"pids_limit": 100}),
    ({"platform": "linux/amd64"}, {"platform": "linux/amd64"}),
    ({"pull": "always"}, {"pull": "always"}),
    ({"ulimit": "nofile=1024:2048"}, {"ulimits": {"nofile": {"soft": 1024, "hard": 2048}}}),
    ({"ulimit": ["nofile=1024", "core=-1"]}, {"ulimits": {"nofile": 1024, "core": -1}}),
    ({"w": "/work"}, {"workdir": "/work"}),
    ({"workdir": "/work"}, {"workdir": "/work"}),
    ({"u": 1000}, {"user": "1000"}),
    ({"user": "app:staff"}, {"user": "app:staff"}),
    ({"label": ["team=a", "b=c"]}, {"labels": {"team": "a", "b": "c"}}),
    ({"net": "host"}, {"network": "host"}),
    ({"network": "default"}, {"network": "bridge"}),
    (
        {"volume": ["/data:/in:ro", "/out:/out"]},
        {
            "mounts": [
                {"source": "/data", "target": "/in", "read_only": True},
                {"source": "/out", "target": "/out", "read_only": False},
            ]
        },
    ),
    ({"v": "/a:/b:rw"}, {"mounts": [{"source": "/a", "target": "/b", "read_only": False}]}),
    (
        {"mount": "type=bind,src=/a,dst=/b,readonly"},
        {"mounts": [{"source": "/a", "target": "/b", "read_only": True}]},
    ),
    (
        {"mounts": [{"source": "/a", "target": "/b"}]},
        {"mounts": [{"source": "/a", "target": "/b", "read_only": True}]},
    ),
    ({"device": "/dev/fuse"}, {"devices": ["/dev/fuse"]}),
    ({"device": ["/dev/fuse:/dev/fuse:rwm"]}, {"devices": ["/dev/fuse"]}),
    ({"read-only": True}, {"read_only": True}),
    ({"init": "true"}, {"init": True}),
    ({"tmpfs": "/scratch:size=64m"}, {"tmpfs": {"/scratch": "64m"}}),
    ({"h": "box"}, {"hostname": "box"}),
    ({"stop-timeout": 30}, {"grace_s": 30}),
    ({"rm": True}, {}),
    (
        {"builder": {"cuda": {"base_image": "nvidia/cuda:12"}}},
        {"builder": {"cuda": {"base_image": "nvidia/cuda:12"}}},
    ),
]


@pytest.mark.parametrize(("written", "own"), ACCEPTED)
def test_an_option_of_docker_has_one_spelling_of_ours(
    written: dict[str, Any], own: dict[str, Any]
) -> None:
    assert own_options(written) == own
    assert own_options(own) == own
    read_container_args(own)


@pytest.mark.parametrize("name", sorted(NEVER))
def test_what_is_never_passed_on_is_refused_with_the_reason(name: str) -> None:
    for key in {name, name.replace("-", "_"), f"--{name}"}:
        with pytest.raises(Invalid) as refused:
            own_options({key: "x"})
        assert refused.value.details["field"] == f"resource_args.local-container.{key}"
        assert NEVER[name] in refused.value.message


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"colour": 1}, "colour is no argument of a container (known: env, cpus,"),
        ({"rm": False}, "rm is no argument"),
        ({"e": ["HOME"]}, "has 'HOME': write NAME=VALUE"),
        ({"e": ["A=1", "A=2"]}, "has 'A' twice"),
        ({"m": "1g", "memory": "2g"}, "gives 'memory' twice, as 'm' and as 'memory'"),
        ({"v": "models:/models"}, "volumes with names are not passed on"),
        ({"v": "/a:/b:ro,z"}, "write /FOLDER:/PATH"),
        ({"mount": "type=volume,source=a,target=/b"}, "write type=bind,source=/FOLDER"),
        ({"mount": "type=bind,source=/a,target=/b,bind-propagation=shared"}, "type=bind"),
        ({"device": "/dev/fuse:/dev/sda"}, "under its own path"),
        ({"device": "/dev/fuse:/dev/fuse:r"}, "under its own path"),
        ({"tmpfs": "/run"}, "write /PATH:size=64m"),
        ({"tmpfs": "/run:size=1m,exec"}, "write /PATH:size=64m"),
    ],
)
def test_what_has_no_meaning_here_is_refused_with_what_would_do(
    written: dict[str, Any], said: str
) -> None:
    with pytest.raises(Invalid) as refused:
        own_options(written)
    assert said in refused.value.message


def test_what_a_variable_is_to_fill_is_left_until_then() -> None:
    args = {"cpus": "{{n}}", "e": ["N={{n}}"], "gpus": "{{n}}", "ulimit": "nofile={{n}}"}
    assert own_options(args) == {
        "cpus": "{{n}}", "env": {"N": "{{n}}"}, "gpus": "{{n}}", "ulimits": {"nofile": "{{n}}"},
    }  # fmt: skip


def test_a_null_removes_what_lies_below_in_any_spelling() -> None:
    assert own_options({"shm-size": None, "privileged": None}) == {"shm_size": None}


def test_a_draft_holds_our_spelling_alone_and_leaves_the_caller_s() -> None:
    given = {"local-container": {"shm-size": "1g"}, "ray": {"shm-size": "1g"}}
    made = draft(docker_image="box:1", config={"resource_args": given})
    assert made.resource_args == {
        "local-container": {"shm_size": "1g"}, "ray": {"shm-size": "1g"},
    }  # fmt: skip
    assert given["local-container"] == {"shm-size": "1g"}
    assert own_spelling({"local-container": None}) == {"local-container": None}
