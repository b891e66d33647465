"""An agent's policy beside real engines: what is allowed is so inside, what is not never starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.attempt import LogStream
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.errors import PermanentError
from shipway.plugins.source import FetchRequest
from shipway.sources.image import ImageSource
from tests.support.contained import Stage, staged
from tests.support.engines import BASE, ENGINES, TestEngine, an_engine

LOOK = """\
cat /in/a.txt
touch /in/b.txt || echo refused
touch /out/b.txt && echo written
touch /x || echo refused
id -u
stat -f -c '%b*%S' /scratch
cat /proc/sys/kernel/hostname
ls /sys/class/net
"""


@pytest.fixture(scope="module", params=ENGINES)
def lent(request: pytest.FixtureRequest) -> Iterator[TestEngine]:
    with an_engine(request.param) as engine:
        yield engine
        assert engine.containers() == []


@pytest.fixture
def stage(lent: TestEngine, tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path, lent) as stage:
        yield stage


def allow(stage: Stage, **policy: Any) -> None:
    stage.runner._context = replace(stage.runner._context, policy=ContainerPolicy(**policy))


def test_what_queue_and_owner_allow_is_so_inside(stage: Stage, tmp_path_factory: Any) -> None:
    shelf = tmp_path_factory.mktemp("shelf")  # not below the agent's home
    for name in ("sets", "out"):
        (shelf / name).mkdir()
        (shelf / name).chmod(0o777)
    (shelf / "sets/a.txt").write_text("seen\n")
    (shelf / "link").symlink_to(shelf / "sets")
    allow(stage, mounts=(f"{shelf}/*",), users=("1000",))
    args = {
        "mounts": [
            {"source": f"{shelf}/link", "target": "/in", "read_only": True},
            {"source": f"{shelf}/out", "target": "/out", "read_only": False},
        ],
        "user": "1000", "tmpfs": {"/scratch": "1Mi"}, "hostname": "box", "read_only": True,
        "memory": "128 MiB", "cpus": 0.5,
    }  # fmt: skip
    handle = stage.start("sh", "-c", LOOK, args=args)
    assert stage.ended(handle).exit_code == 0, stage.out(handle, LogStream.STDERR)
    assert stage.out(handle).decode().split() == [
        "seen", "refused", "written", "refused", "1000", "256*4096", "box", "lo",
    ]  # fmt: skip
    assert (shelf / "out/b.txt").exists()


def test_what_the_owner_does_not_allow_never_starts(stage: Stage) -> None:
    home = stage.root / "sets"
    home.mkdir()
    wide = {"mounts": ("/*",), "devices": (), "users": ("1000",), "network": "none"}
    for args, why in (
        ({"mounts": [{"source": str(home), "target": "/in"}], "user": "1000"}, "agent itself"),
        ({"mounts": [{"source": "/", "target": "/in"}], "user": "1000"}, "opens the machine"),
        ({"devices": ["/dev/null"], "user": "1000"}, "container.devices"),
        ({"network": "host", "user": "1000"}, "network host is not allowed"),
        ({"user": "0"}, "user '0' is not allowed"),
        ({}, "user 'root' is not allowed"),  # the image's own
        ({"privileged": True}, "unknown key 'privileged'"),
    ):
        allow(stage, **wide)
        with pytest.raises(PermanentError, match=why):
            stage.start("true", args=args)
    assert stage.lent.containers() == []


def test_an_image_that_the_owner_does_not_allow_is_not_asked_for(
    lent: TestEngine, tmp_path: Path
) -> None:
    def fetch(images: tuple[str, ...]) -> str:
        request = FetchRequest(
            source={"kind": "image", "image": BASE}, options={"pull": "never"}, cache=tmp_path,
            blobs=None, containers=ContainerPolicy(images=images), env=lent.env,  # type: ignore[arg-type] # an image has none
            print=lambda _: None,
        )  # fmt: skip
        return (
            ImageSource()
            .fetch(replace(request, env={"PATH": str(Path(lent.program).parent), **lent.env}))
            .image
        )

    assert fetch(("localhost/*",)).startswith("sha256:")
    with pytest.raises(PermanentError, match="the image localhost/shipway-test-base is not all"):
        fetch(("docker.io/*",))
