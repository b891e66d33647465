"""Checks of the container engines of one machine."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.cli.finding import Finding, Verdict
from shipway.engines.engine import NAMES, Engine, named
from shipway.plugins.errors import PluginError

INFO_LIMIT_S = 10.0
ROOT_CGROUP = Path("/sys/fs/cgroup")
PID_MAX = Path("/proc/sys/kernel/pid_max")
PODMAN_FILES = 1_048_576  # open files that podman gives a container unless told otherwise
_CAP_SYS_RESOURCE = 24

# What docker's own words about itself mean for a launch: a limit that is asked for and not held.
_DOCKER_LIMITS = {
    "MemoryLimit": "memory",
    "SwapLimit": "memory_swap",
    "CpuCfsQuota": "cpus",
    "PidsLimit": "pids_limit",
}
_PODMAN_LIMITS = {"memory": "memory", "cpu": "cpus", "pids": "pids_limit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of this machine decides whether an engine's containers start."""

    has_both_cgroups: bool  # version 1 and version 2 side by side
    files: int  # the most open files that a process may be given
    tasks: int  # the most processes of a user
    may_raise: bool  # these numbers, by CAP_SYS_RESOURCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What of an engine does not work, and what mends it."""

    what: str
    remedy: str


def check_engines(env: Mapping[str, str]) -> list[Finding]:
    """Say of each engine that is there whether it answers, and what of it does not work."""
    found = []
    for name in NAMES:
        try:
            engine = named(env, name)
        except PluginError:
            continue  # it is not there, which only matters if none is
        found.append(_check(engine, env))
    if found:
        return found
    text = "no docker or podman: not needed for local processes, but for images"
    return [
        Finding(
            name="engines",
            verdict=Verdict.GOOD,
            text=text,
            remedy="install one, for example: apt-get install docker.io, or podman runc",
        )
    ]


def judge_docker(said: Mapping[str, Any], program: str) -> Finding:
    """Judge what `docker info` says."""
    errors = said.get("ServerErrors") or []
    if errors:
        return away("docker", str(errors[0]))
    is_rootless = any("rootless" in str(option) for option in said.get("SecurityOptions") or ())
    lacking = [ours for theirs, ours in _DOCKER_LIMITS.items() if said.get(theirs) is False]
    faults = _limit_faults(lacking, is_rootless=is_rootless)
    if said.get("LiveRestoreEnabled") is False:
        what = "its containers end with it, since live-restore is off"
        remedy = (
            'write {"live-restore": true} into its daemon.json (in /etc/docker, or in '
            "~/.config/docker where it is rootless), and: systemctl reload docker"
        )
        faults.append(Fault(what=what, remedy=remedy))
    version = f"docker {said.get('ServerVersion')} at {program}"
    return _found("docker", version, faults, is_rootless=is_rootless)


def judge_podman(
    said: Mapping[str, Any], program: str, machine: Machine, *, has_ulimits: bool
) -> Finding:
    """Judge what `podman info` says; `has_ulimits`: its configuration names default ones."""
    host = said.get("host") or {}
    is_rootless = bool((host.get("security") or {}).get("rootless"))
    is_first = host.get("cgroupVersion") == "v1"
    controllers = () if is_rootless and is_first else host.get("cgroupControllers") or ()
    lacking = [ours for theirs, ours in _PODMAN_LIMITS.items() if theirs not in controllers]
    faults = _limit_faults(lacking, is_rootless=is_rootless)
    runtime = str((host.get("ociRuntime") or {}).get("name"))
    if runtime == "crun" and is_first and machine.has_both_cgroups:
        what = "its crun starts nothing where cgroups of both versions are in use"
        remedy = 'apt-get install runc, and runtime = "runc" below [engine] in containers.conf'
        faults.append(Fault(what=what, remedy=remedy))
    may_ask = is_rootless or has_ulimits or machine.may_raise
    if not may_ask and machine.files < PODMAN_FILES:
        what = (
            f"it asks for {PODMAN_FILES} open files, may have {machine.files}, and starts nothing"
        )
        limits = (
            f'"nofile={machine.files}:{machine.files}", "nproc={machine.tasks}:{machine.tasks}"'
        )
        remedy = f"default_ulimits = [{limits}] below [containers] in containers.conf"
        faults.append(Fault(what=what, remedy=remedy))
    version = f"podman {(said.get('version') or {}).get('Version')} at {program} with {runtime}"
    return _found("podman", version, faults, is_rootless=is_rootless)


def away(name: str, said: str) -> Finding:
    """Say that an engine is there and does not answer, and what would mend it."""
    low = said.lower()
    if "permission denied" in low:
        remedy = f"let this user speak to it: sudo usermod -aG {name} $USER, and log in again"
    elif name == "docker":
        remedy = "start it: sudo systemctl start docker; or name another one in DOCKER_HOST"
    else:
        remedy = f"see what it says: {name} info"
    text = f"{name} is there and cannot be used: {' '.join(said.split())}"
    return Finding(name=name, verdict=Verdict.ODD, text=text, remedy=remedy)


def machine_of() -> Machine:
    """Look at this machine."""
    return Machine(
        has_both_cgroups=(ROOT_CGROUP / "unified").exists(),
        files=_most(resource.RLIMIT_NOFILE, PODMAN_FILES),
        tasks=_most(resource.RLIMIT_NPROC, _task_ids()),
        may_raise=_has_capability(_CAP_SYS_RESOURCE),
    )


def _check(engine: Engine, env: Mapping[str, str]) -> Finding:
    try:
        text = engine.run("info", "--format", "{{json .}}", timeout_s=INFO_LIMIT_S)
        said = json.loads(text)
    except PluginError as error:
        return away(engine.name, str(error))
    except ValueError:
        return away(engine.name, "what its info command prints is no JSON")
    if engine.name == "docker":
        return judge_docker(said, engine.program)
    has_ulimits = any(_says_ulimits(path) for path in _podman_files(env))
    return judge_podman(said, engine.program, machine_of(), has_ulimits=has_ulimits)


def _found(name: str, version: str, faults: Sequence[Fault], *, is_rootless: bool) -> Finding:
    text = f"{version} answers, {'rootless' if is_rootless else 'as root'}"
    return Finding(
        name=name,
        verdict=Verdict.ODD if faults else Verdict.GOOD,
        text="; ".join([text, *(fault.what for fault in faults)]),
        remedy="; ".join(fault.remedy for fault in faults),
    )


def _limit_faults(lacking: Sequence[str], *, is_rootless: bool) -> list[Fault]:
    if not lacking:
        return []
    if is_rootless:
        remedy = (
            "cgroups of version 2, and for the user's service: systemctl edit user@.service, with "
            "Delegate=cpu cpuset io memory pids below [Service]"
        )
    elif lacking == ["memory_swap"]:
        remedy = "boot with swapaccount=1, or with cgroups of version 2"
    else:
        remedy = "boot with cgroups of version 2: systemd.unified_cgroup_hierarchy=1"
    return [Fault(what=f"no limit of {', '.join(lacking)} is held", remedy=remedy)]


def _most(kind: int, otherwise: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return otherwise if hard == resource.RLIM_INFINITY else min(hard, otherwise)


def _task_ids() -> int:
    try:
        return int(PID_MAX.read_text())
    except OSError:
        return 32_768


def _has_capability(bit: int) -> bool:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return True  # not Linux: engines run in a machine of their own
    found = [line.split()[1] for line in lines if line.startswith("CapEff:")]
    return not found or bool(int(found[0], 16) >> bit & 1)


def _podman_files(env: Mapping[str, str]) -> list[Path]:
    if env.get("CONTAINERS_CONF"):
        return [Path(env["CONTAINERS_CONF"])]
    folder = Path(env.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    places = [Path("/usr/share/containers"), Path("/etc/containers"), folder / "containers"]
    mains = [place / "containers.conf" for place in places]
    return [*mains, *(path for place in places for path in place.glob("containers.conf.d/*.conf"))]


def _says_ulimits(path: Path) -> bool:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.strip().startswith("default_ulimits") for line in lines)
