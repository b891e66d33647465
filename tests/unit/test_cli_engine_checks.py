"""What `shipway doctor` makes of what container engines say of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipway.cli.engine_checks import Machine, away, check_engines, judge_docker, judge_podman
from shipway.cli.finding import Verdict

ROOMY = Machine(has_both_cgroups=False, files=1 << 20, tasks=1000, may_raise=True)
DOCKER = {
    "ServerVersion": "27.1", "LiveRestoreEnabled": True, "MemoryLimit": True, "SwapLimit": True,
    "CpuCfsQuota": True, "PidsLimit": True, "SecurityOptions": ["name=seccomp"],
}  # fmt: skip


def podman(**host: Any) -> dict[str, Any]:
    said = {
        "cgroupVersion": "v2", "cgroupControllers": ["cpu", "memory", "pids"],
        "security": {"rootless": False}, "ociRuntime": {"name": "crun"},
    }  # fmt: skip
    return {"host": {**said, **host}, "version": {"Version": "5.2"}}


def test_an_engine_that_is_as_it_should_be_is_named() -> None:
    found = judge_docker(DOCKER, "/usr/bin/docker")
    assert (found.name, found.verdict, found.remedy) == ("docker", Verdict.GOOD, "")
    assert found.text == "docker 27.1 at /usr/bin/docker answers, as root"
    found = judge_podman(podman(security={"rootless": True}), "/p", ROOMY, has_ulimits=False)
    assert found.text == "podman 5.2 at /p with crun answers, rootless"
    assert found.verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        ({"LiveRestoreEnabled": False}, "containers end with it", '{"live-restore": true}'),
        ({"SwapLimit": False}, "no limit of memory_swap is held", "swapaccount=1"),
        ({"MemoryLimit": False}, "no limit of memory is held", "unified_cgroup_hierarchy=1"),
        (
            {"CpuCfsQuota": False, "PidsLimit": False, "SecurityOptions": ["name=rootless"]},
            "rootless; no limit of cpus, pids_limit is held",
            "Delegate=cpu cpuset io memory pids",
        ),
        ({"ServerErrors": ["Cannot connect to X"]}, "cannot be used: Cannot", "systemctl start"),
        ({"ServerErrors": ["permission denied: X"]}, "cannot be used", "usermod -aG docker"),
    ],
)
def test_what_docker_lacks_is_said_with_what_mends_it(
    changes: dict[str, Any], what: str, remedy: str
) -> None:
    found = judge_docker({**DOCKER, **changes}, "/usr/bin/docker")
    assert found.verdict is Verdict.ODD
    assert what in found.text
    assert remedy in found.remedy


def test_what_podman_lacks_is_said_with_what_mends_it() -> None:
    first = {"cgroupVersion": "v1"}
    both = replace(ROOMY, has_both_cgroups=True)
    tight = replace(ROOMY, files=20_000, may_raise=False)
    for said, machine, what, remedy in (
        (podman(cgroupControllers=["cpu"]), ROOMY, "no limit of memory, pids_limit", "unified"),
        (podman(**first, security={"rootless": True}), ROOMY, "memory, cpus, pids", "Delegate="),
        (podman(**first), both, "its crun starts nothing", 'runtime = "runc"'),
        (podman(), tight, "may have 20000", '["nofile=20000:20000", "nproc=1000:1000"]'),
    ):
        found = judge_podman(said, "/usr/bin/podman", machine, has_ulimits=False)
        assert found.verdict is Verdict.ODD
        assert what in found.text
        assert remedy in found.remedy
    runc = podman(**first, ociRuntime={"name": "runc"})
    for said, machine in ((runc, both), (podman(**first), ROOMY), (podman(), tight)):
        found = judge_podman(said, "/p", machine, has_ulimits=True)
        assert found.verdict is Verdict.GOOD


def test_without_engines_local_processes_go_on(tmp_path: Path) -> None:
    (found,) = check_engines({"PATH": str(tmp_path)})
    assert (found.name, found.verdict) == ("engines", Verdict.GOOD)
    assert "not needed for local processes" in found.text
    assert "apt-get install" in found.remedy
    assert "podman info" in away("podman", "what\n is\tit").remedy


def test_an_engine_that_prints_nonsense_is_away(tmp_path: Path) -> None:
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\necho no json\n")
    fake.chmod(0o755)
    (found,) = check_engines({"PATH": str(tmp_path)})
    assert "cannot be used: what its info command prints is no JSON" in found.text
