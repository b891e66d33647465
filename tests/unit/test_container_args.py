"""What a launch may say of its container, by type and by schema."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.container import (
    KEYS,
    PATH,
    ContainerArgs,
    Mount,
    Network,
    Pull,
    read_container_args,
    read_size,
)
from shipway.domain.errors import Invalid
from shipway.domain.image_ref import ImageRef
from shipway.schemas import check, shipped

SCHEMA = shipped()["local-container"]
WHOLE: dict[str, Any] = {
    "env": {"A": "1", "_b": "two words --privileged"},
    "run_limit_s": 60,
    "start_limit_s": 1.5,
    "grace_s": 0,
    "python": "3.12",
    "extras": ["gpu"],
    "groups": ["dev"],
    "submodules": True,
    "lfs": False,
    "cpus": 1.5,
    "memory": "512Mi",
    "memory_swap": 1 << 30,
    "shm_size": "1.5 GB",
    "pids_limit": 100,
    "gpus": ["0", "GPU-1a:2"],
    "user": "1000:app",
    "workdir": "/a b",
    "labels": {"org.example/team": "a, b"},
    "pull": "never",
    "platform": "linux/arm64/v8",
    "network": "none",
    "mounts": [{"source": "/data", "target": "/in", "read_only": False}],
    "devices": ["/dev/fuse", "/dev/bus/usb/001"],
    "read_only": True,
    "init": True,
    "ulimits": {"nofile": 1024, "core": {"soft": 0, "hard": -1}},
    "tmpfs": {"/scratch": "64m"},
    "hostname": "box-1.lan",
    "base_image": "127.0.0.1:5000/a/b:1",
    "builder": {"accelerator": {"base_image": "nvidia/cuda:12"}},
    "build_args": {"VERSION": "1"},
}


def test_every_argument_is_read_into_its_type() -> None:
    check(SCHEMA, WHOLE, PATH)
    assert read_container_args(WHOLE) == ContainerArgs(
        env={"A": "1", "_b": "two words --privileged"}, cpus=1.5, memory=512 << 20,
        memory_swap=1 << 30, shm_size=3 << 29, pids_limit=100, gpus=("0", "GPU-1a:2"),
        user="1000:app", workdir="/a b", labels={"org.example/team": "a, b"}, pull=Pull.NEVER,
        platform="linux/arm64/v8", network=Network.NONE,
        mounts=(Mount(source="/data", target="/in", is_read_only=False),),
        devices=("/dev/fuse", "/dev/bus/usb/001"), read_only=True, init=True,
        ulimits={"nofile": (1024, 1024), "core": (0, -1)}, tmpfs={"/scratch": 64 << 20},
        hostname="box-1.lan", base_image=ImageRef.parse("127.0.0.1:5000/a/b:1"),
        builder_image=ImageRef.parse("nvidia/cuda:12"), build_args={"VERSION": "1"},
    )  # fmt: skip
    assert read_container_args({}) == ContainerArgs()


def test_schema_and_reader_know_the_same_arguments() -> None:
    assert set(SCHEMA["properties"]) == set(KEYS) == set(WHOLE)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1, 1), ("1", 1), ("512m", 512 << 20), ("2g", 2 << 30), ("2Gi", 2 << 30), ("1kB", 1024),
        ("1.5t", 3 << 39), ("64 MiB", 64 << 20), ("7b", 7),
    ],
)  # fmt: skip
def test_sizes_are_bytes_or_text_as_docker_and_kubernetes_write_them(text: Any, size: int) -> None:
    assert read_size(text, "memory") == size
    check(SCHEMA, {"memory": text}, PATH)


@pytest.mark.parametrize(
    "size", [0, -1, True, 1.5, "", "-1", "0", "1e9", "g", "1 2", "2g\n", "1x", " 1g", 1 << 61, None]
)
def test_what_is_no_size_is_named_with_what_would_do(size: object) -> None:
    with pytest.raises(Invalid, match="memory must be a size above 0: bytes, or text such as"):
        read_size(size, "memory")


def test_one_builder_image_may_be_said_in_both_words_if_it_is_one() -> None:
    one, other = {"base_image": "a:1"}, {"base_image": "a:2"}
    both = read_container_args({"builder": {"accelerator": one, "cuda": one}})
    assert str(both.builder_image) == "a:1"
    with pytest.raises(Invalid, match=r"builder\.cuda\.base_image must be one image with a:1"):
        read_container_args({"builder": {"accelerator": one, "cuda": other}})
