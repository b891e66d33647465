"""A program whose project knows nothing of shipway sees nothing of the agent that runs it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway import LaunchError, Run, launch_add
from tests.support.embedded import Embedded, embedded
from tests.support.locked import lock
from tests.support.shell import shell_of

PROJECT = Path(__file__).parent / "programs" / "cleanroom"
REPOSITORY = Path(__file__).parents[2]
CANARY = "a-secret-of-the-agent"
# What product.md lists; the last two are what Python and the environment set by themselves.
PASSED = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONUNBUFFERED"}
ALWAYS = {"LC_CTYPE", "VIRTUAL_ENV"}
NETWORK = ("_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "_CA_BUNDLE", "GIT_SSL_CAINFO")
DEVICES = ("_VISIBLE_DEVICES", "JAX_PLATFORMS")
WAIT_S = 240.0

needs_pypy = pytest.mark.skipif(
    shutil.which("pypy3") is None and os.environ.get("CI") != "true",
    reason="pypy3 is not on this machine",
)


@pytest.fixture(scope="module")
def shipway() -> Iterator[Embedded]:
    """Give an embedded shipway whose agent has variables that are nobody else's business."""
    canaries = dict.fromkeys(("CANARY", "WANDB_CANARY", "UV_CANARY", "PYTHONPATH"), CANARY)
    with embedded(**canaries) as made, shell_of(made.env):
        made.up()
        yield made


@pytest.fixture
def project(shipway: Embedded, tmp_path: Path) -> Path:
    """Give a copy of the clean-room project with a lock of its own."""
    copy = tmp_path / "project"
    shutil.copytree(PROJECT, copy)
    lock(copy)
    assert "shipway" not in (copy / "uv.lock").read_text()
    return copy


def seen_by(project: Path, python: str | None) -> tuple[Run, dict[str, Any]]:
    """Run the project's console script and return what it saw."""
    asked = {} if python is None else {"local-process": {"python": python}}
    item = launch_add(uri=project, entry_point=["cleanroom-train"], resource_args=asked)
    run = item.wait_until_finished(timeout=WAIT_S)
    log = [str(line) for line in item.logs()]
    assert run.state == "finished", log
    assert log == ["hello from the console script"]
    seen: dict[str, Any] = run.summary["seen"]
    return run, seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("python", "implementation"),
    [
        pytest.param(None, "cpython", id="of-the-project"),
        pytest.param("pypy3", "pypy", id="pypy3", marks=needs_pypy),
    ],
)
def test_a_program_sees_its_own_project_and_nothing_of_the_agent(
    shipway: Embedded, project: Path, python: str | None, implementation: str
) -> None:
    """Earns: no job needs shipway in its lock, and none can lean on the agent's packages."""
    run, seen = seen_by(project, python)
    assert [(row["_step"], row["squared"]) for row in run.history()] == [(0, 0), (1, 1), (2, 4)]
    assert (seen["implementation"], seen["six"]) == (implementation, "1.17.0")
    assert seen["packages"] == [], "packages that are not in the project's lock"
    check_places(shipway, seen)
    check_variables(seen["environ"])


def check_places(shipway: Embedded, seen: dict[str, Any]) -> None:
    """Check that interpreter, project and run side are the attempt's, the run side last."""
    runside = seen["environ"]["SHIPWAY_RUNSIDE"]
    assert seen["path"][-1] == runside, "the job's own packages come first"
    assert Path(seen["shipway"]).parent.parent == Path(runside)
    assert Path(runside).is_relative_to(shipway.home)
    assert Path(seen["prefix"]).is_relative_to(shipway.home), "an environment of the job's own"
    assert Path(seen["project"]).is_relative_to(seen["cwd"]), "the attempt's own copy"
    for folder in (*seen["path"], *seen["environ"]["PATH"].split(os.pathsep)):
        assert not Path(folder or ".").is_relative_to(REPOSITORY), "the agent's own folder"


def check_variables(environ: dict[str, str]) -> None:
    """Check that each variable is one that product.md lists."""
    assert CANARY not in environ.values()
    assert "SHIPWAY_HOME" not in environ, "where the embedded server keeps its key"
    known = PASSED | ALWAYS
    others = {name for name in environ if not name.startswith(("SHIPWAY_", "WANDB_"))}
    unknown = {name for name in others - known if not name.upper().endswith((*NETWORK, *DEVICES))}
    assert not unknown


@pytest.mark.slow
def test_a_python_that_is_not_there_fails_at_build_and_names_those_found(
    shipway: Embedded, project: Path
) -> None:
    """Earns: the person learns what to ask for, in the error itself."""
    item = launch_add(
        uri=project,
        entry_point=["cleanroom-train"],
        resource_args={"local-process": {"python": "3.77"}},
    )
    with pytest.raises(LaunchError) as failed:
        item.wait_until_finished(timeout=WAIT_S)
    assert (failed.value.code, failed.value.stage) == ("failed", "build")
    assert "no Python '3.77'" in str(failed.value)
    assert f"CPython {platform.python_version()}" in str(failed.value)
