"""What an agent's owner lets containers be, whatever a server says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shipway.agent.config import parse_config
from shipway.domain.container import Mount, Network, read_container_args
from shipway.domain.errors import Invalid
from shipway.domain.image_ref import ImageRef
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.container_refusal import (
    Wish,
    image_refusal,
    matched_image,
    network_of,
    real_mounts,
    refusal,
)

SERVER = "https://shipway.example.org"
LOOPBACK = "http://127.0.0.1:8123"


def a_wish(args: dict[str, Any] | None = None, **changes: Any) -> Wish:
    said: dict[str, Any] = {
        "image": ImageRef.parse("box:1"), "args": read_container_args(args or {}),
        "server_url": SERVER, "own": ("/home/ann/.shipway", "/srv/engine.sock"), **changes,
    }  # fmt: skip
    return Wish(**said)


def a_mount(source: str, target: str = "/in") -> dict[str, Any]:
    return {"mounts": [{"source": source, "target": target}]}


def why(policy: ContainerPolicy, wish: Wish) -> str:
    return refusal(policy, wish, real=str)


def test_a_policy_that_says_nothing_allows_an_ordinary_container() -> None:
    args = {"cpus": 1, "gpus": "all", "user": "0", "network": "bridge", "tmpfs": {"/t": "1m"}}
    assert why(ContainerPolicy(), a_wish(args, entry_point=["python", "-m", "x"])) == ""


@pytest.mark.parametrize(
    ("pattern", "image"),
    [
        ("*", "anything.example.org:5000/a/b"),
        ("docker.io/library/python", "python:3.12"),
        ("docker.io/python", "python"),
        ("docker.io/*", "docker.io/library/python"),
        ("docker.io/*", "index.docker.io/ann/box"),
        ("docker.io/ann/*", "ann/box"),
        ("ghcr.io", "ghcr.io/a/b/c"),
        ("GHCR.io/a/*", "ghcr.io/a/b/c"),
        ("*.example.org/team/*", "hub.example.org/team/box"),
        ("127.0.0.1:*/box", "127.0.0.1:5000/box:1"),
        ("localhost/shipway/*", "localhost/shipway/train:abc"),
    ],
)
def test_images_are_matched_by_host_and_repository(pattern: str, image: str) -> None:
    assert image_refusal(ContainerPolicy(images=(pattern,)), ImageRef.parse(image)) == ""


@pytest.mark.parametrize(
    ("pattern", "image"),
    [
        ("*.example.org/*", "evil.test/x.example.org/box"),
        ("docker.io/library/*", "ann/box"),
        ("docker.io/ann/*", "evil.test/docker.io/ann/box"),
        ("ghcr.io/a/*", "ghcr.io/b/a/box"),
        ("ghcr.io/a", "ghcr.io/a/b"),
        ("ghcr.io", "python"),
        ("hub:5000/*", "hub:5001/box"),
        ("quay.io/python", "quay.io/library/python"),
        ("quay.io/library/python", "quay.io/python"),
    ],
)
def test_no_pattern_reaches_beyond_its_host_and_path(pattern: str, image: str) -> None:
    said = image_refusal(ContainerPolicy(images=(pattern,)), ImageRef.parse(image))
    assert said.endswith(f"container.images of its config allows {pattern}")


def test_an_image_that_is_refused_is_named_as_a_pattern_would_have_it() -> None:
    said = image_refusal(ContainerPolicy(images=()), ImageRef.parse("python:3"))
    assert said == (
        "the image docker.io/library/python is not allowed on this agent: container.images of its "
        "config allows none"
    )
    policy = ContainerPolicy(images=("ghcr.io/*",))
    assert "the image docker.io/library/box" in why(policy, a_wish())
    assert why(policy, a_wish(image=None)) == ""


@pytest.mark.parametrize(
    ("images", "image", "told"),
    [
        (("*",), "python:3", "python:3"),
        (("docker.io/*",), "python:3", "docker.io/library/python:3"),
        (("docker.io/*",), "ann/box", "docker.io/ann/box"),
        (("ghcr.io/*",), "ghcr.io/a/b@sha256:" + "0" * 64, "ghcr.io/a/b@sha256:" + "0" * 64),
    ],
)
def test_an_engine_is_told_the_name_that_was_matched(
    images: tuple[str, ...], image: str, told: str
) -> None:
    """Earns: podman looks short names up in registries of its own list."""
    found = matched_image(ContainerPolicy(images=images), ImageRef.parse(image))
    assert str(found) == told


def test_mounts_are_allowed_by_pattern() -> None:
    policy = ContainerPolicy(mounts=("/data", "/home/*/sets"))
    for good in ("/data", "/home/bob/sets"):
        assert why(policy, a_wish(a_mount(good))) == ""
    for bad in ("/data/x", "/datax", "/etc", "/home/bob/sets/x"):
        assert f"the mount of {bad} is not allowed on this agent: container.mounts" in why(
            policy, a_wish(a_mount(bad))
        )
    assert "allows none" in why(ContainerPolicy(), a_wish(a_mount("/data")))


@pytest.mark.parametrize(
    "source",
    [
        "/", "/proc", "/proc/1/root", "/sys/kernel", "/dev", "/dev/disk", "/run",
        "/run/docker.sock", "/run/user/1000/podman/podman.sock", "/var", "/var/lib",
        "/var/lib/docker/overlay2", "/srv", "/srv/engine.sock", "/opt/x/docker.sock",
        "/home", "/home/ann", "/home/ann/.shipway", "/home/ann/.shipway/agent/key",
    ],
)  # fmt: skip
def test_what_opens_the_machine_or_the_agent_is_mounted_only_by_its_very_name(source: str) -> None:
    wish = a_wish(a_mount(source))
    said = why(ContainerPolicy(mounts=("/*", "*", f"{source}*")), wish)
    assert "it opens the machine or the agent itself; only" in said
    assert repr(source) in said
    assert why(ContainerPolicy(mounts=(source,)), wish) == ""
    assert why(ContainerPolicy(mounts=("/*",)), a_wish(a_mount("/home/annette"))) == ""


def test_a_link_is_judged_by_where_it_leads_and_mounted_from_there(tmp_path: Path) -> None:
    data, secret = tmp_path / "data", tmp_path / "secret"
    data.mkdir()
    secret.mkdir()
    (data / "link").symlink_to(secret)
    (data / "sock").symlink_to("/run/docker.sock")
    policy = ContainerPolicy(mounts=(f"{data}/*",))
    out = read_container_args(a_mount(f"{data}/link"))
    said = refusal(policy, a_wish(a_mount(f"{data}/link")))
    assert f"the mount of {data}/link, which is really {secret}, is not allowed" in said
    assert "which is really /run/docker.sock" in refusal(policy, a_wish(a_mount(f"{data}/sock")))
    allowed = ContainerPolicy(mounts=(str(secret),))
    assert refusal(allowed, a_wish(a_mount(f"{data}/link"))) == ""
    assert real_mounts(out) == (Mount(source=str(secret), target="/in"),)
    home = tmp_path / "home"
    home.symlink_to(secret)
    wish = a_wish(a_mount(f"{secret}/agent"), own=(str(home),))
    assert "opens the machine or the agent" in refusal(ContainerPolicy(mounts=("/*",)), wish)


def test_devices_are_allowed_by_pattern_and_by_where_they_lead() -> None:
    policy = ContainerPolicy(devices=("/dev/fuse", "/dev/dri/*"))
    for good in ("/dev/fuse", "/dev/dri/card0"):
        assert why(policy, a_wish({"devices": [good]})) == ""
    said = why(policy, a_wish({"devices": ["/dev/fuse", "/dev/sda"]}))
    assert said == (
        "the device /dev/sda is not allowed on this agent: container.devices of its config allows "
        "/dev/fuse, /dev/dri/*"
    )
    links = {"/dev/fuse": "/dev/sda", "/dev/dri/x": "/etc/shadow"}
    for device, real in links.items():
        wish = a_wish({"devices": [device]})
        assert f"which is really {real}" in refusal(policy, wish, real=lambda p: links.get(p, p))
    every = ContainerPolicy(devices=("/dev/*",))
    wish = a_wish({"devices": ["/dev/dri/x"]})
    assert refusal(every, wish, real=lambda p: links.get(p, p)) != ""


@pytest.mark.parametrize(
    ("users", "asked", "image_user", "is_allowed"),
    [
        (("*",), None, None, True),
        (("*",), "root", None, True),
        (("1000",), "1000", None, True),
        (("1000",), "1000:1000", "root", True),
        (("1000",), None, "1000", True),
        (("1000",), None, None, False),
        (("1000",), None, "", False),
        (("1000",), None, "root", False),
        (("1000",), "1001", None, False),
        (("1000",), "1000:0", None, False),
        (("1000",), None, "1000:root", False),
        (("1000", "root"), "1000:0", None, True),
        (("0",), None, "", True),
        (("root",), None, "00", True),
        (("[1-9]*",), None, "+0", False),
        (("app*",), "app", None, True),
    ],
)
def test_users_are_held_to_those_allowed_an_image_s_own_too(
    users: tuple[str, ...], asked: str | None, image_user: str | None, *, is_allowed: bool
) -> None:
    args = {"user": asked} if asked else {}
    said = why(ContainerPolicy(users=users), a_wish(args, image_user=image_user))
    assert (said == "") is is_allowed
    assert is_allowed or "container.users of its config allows" in said


@pytest.mark.parametrize(
    ("network", "url", "default"),
    [
        (None, SERVER, "bridge"),
        (None, LOOPBACK, "host"),
        (None, "http://localhost:80", "host"),
        (None, "http://[::1]:80", "host"),
        (None, "http://127.example.org", "bridge"),
        (None, "http://127.0.0.1.example.org", "bridge"),
        ("none", LOOPBACK, "none"),
        ("host", SERVER, "host"),
    ],
)
def test_the_network_is_what_reaches_the_server_and_no_more(
    network: str | None, url: str, default: str
) -> None:
    policy = ContainerPolicy(network=network)
    assert network_of(policy, None, url) == default
    allowed = True
    for one in Network:
        said = why(policy, a_wish({"network": one.value}, server_url=url))
        assert (said == "") is allowed
        assert allowed or f"network {one} is not allowed" in said
        assert network_of(policy, one, url) is one
        allowed = allowed and one != default


def test_a_strict_agent_leaves_a_launch_less_of_its_own() -> None:
    strict = ContainerPolicy(
        is_strict=True, mounts=("/data",), devices=("/dev/fuse",), network="host"
    )
    for wish, what in (
        (a_wish(entry_point=["sh"]), "no entry_point"),
        (a_wish(a_mount("/data")), "no mounts"),
        (a_wish({"devices": ["/dev/fuse"]}), "no devices"),
        (a_wish({"network": "host"}), "no network host"),
    ):
        assert what in why(strict, wish)
        assert (
            why(ContainerPolicy(mounts=("/data",), devices=("/dev/fuse",), network="host"), wish)
            == ""
        )
    assert why(strict, a_wish({"network": "none", "cpus": 1})) == ""


def test_the_section_of_an_agent_s_config_is_its_policy() -> None:
    said = {
        "engine": "podman", "network": "none", "images": ["ghcr.io/*"], "mounts": ["/data/*"],
        "devices": ["/dev/fuse"], "users": ["1000"],
    }  # fmt: skip
    config = parse_config({"container": said, "secure_mode": True}, where="a test")
    assert config.container == ContainerPolicy(
        engine="podman", network="none", images=("ghcr.io/*",), mounts=("/data/*",),
        devices=("/dev/fuse",), users=("1000",), is_strict=True,
    )  # fmt: skip
    assert parse_config({}, where="a test").container == ContainerPolicy()
    assert parse_config({"container": {"engine": None}}, where="a test").container.engine is None


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"container": ["x"]}, r"container must be a mapping"),
        ({"container": {"volumes": []}}, r"'container.volumes' is no known key \(known: container"),
        ({"container": {"engine": "crane"}}, "container.engine must be docker, podman"),
        ({"container": {"network": "container:x"}}, "container.network must be one of none, br"),
        ({"container": {"mounts": "/data"}}, "container.mounts must be a list of patterns"),
        ({"container": {"mounts": ["data"]}}, r"container.mounts\[0\] must be one of patterns"),
        ({"container": {"devices": ["/etc"]}}, r"container.devices\[0\] must"),
        ({"container": {"users": [1000]}}, r"container.users\[0\] must.*numbers as text"),
        ({"container": {"images": [""]}}, r"container.images\[0\] must"),
        ({"secure_mode": "true"}, "secure_mode must be true or false, not 'true'"),
    ],
)
def test_what_is_wrong_in_it_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        parse_config(values, where="a test")
