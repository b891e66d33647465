"""Decides what a program finds: its argv, and every variable of its environment."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shipway.agent.lease import Lease
from shipway.domain.entry_point import PYTHON_SUFFIXES, SUFFIXES
from shipway.domain.macros import fill

# What a program gets of the agent's own variables, and nothing else but its `pass_env`.
PASSED = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "FTP_PROXY")
CERTIFICATES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
)
DEVICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "JAX_PLATFORMS")
CONFIG_CHUNK = 32_670  # characters of one variable; wandb cuts at the same length
JOB_SLOT = "_wandb_job"  # where wandb looks for the job of its run
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOCKS = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml")
_PYTHONS = ("python", "python3", "pypy", "pypy3", "ipython", "pytest", "torchrun", "accelerate")
_OF_FACTS = (  # an item's facts, and the variables that tell a program of them
    ("run_id", ("SHIPWAY_RUN_ID", "WANDB_RUN_ID")),
    ("name", ("SHIPWAY_RUN_NAME", "WANDB_NAME")),
    ("entity", ("SHIPWAY_ENTITY", "WANDB_ENTITY")),
    ("project", ("SHIPWAY_PROJECT", "WANDB_PROJECT")),
    ("queue", ("SHIPWAY_QUEUE", "WANDB_LAUNCH_QUEUE_NAME")),
    ("sweep_id", ("SHIPWAY_SWEEP_ID", "WANDB_SWEEP_ID")),
    ("author", ("SHIPWAY_AUTHOR", "WANDB_USERNAME")),
)


class Which(Protocol):
    """Finds a program in folders; `shutil.which`, or a memory of it."""

    def __call__(self, program: str, /, *, path: str) -> str | None:
        """Return its path, or None."""


class NoProgram(Exception):
    """The entry point names a file or program that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is the same for every program of an agent."""

    base_url: str
    runside: Path
    own: Mapping[str, str]  # the agent's variables, as `surroundings` picked them


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one attempt's program runs, and what its environment adds."""

    folder: Path
    start: Path  # inside the work directory: where the program starts
    python: Path | None
    path: tuple[Path, ...] = ()  # the overlay's and the environment's own scripts
    env: Mapping[str, str] = field(default_factory=dict)  # the overlay's and the source's


def surroundings(
    env: Mapping[str, str],
    *,
    base_url: str,
    runside: Path,
    pass_env: Sequence[str],
    own_bin: str | None,
) -> Surroundings:
    """Pick what programs may see of the agent's variables.

    `own_bin` has the scripts of the agent's own packages: no program finds them.
    """
    names = (*PASSED, *CERTIFICATES, *DEVICES, *pass_env)
    own = {name: env[name] for name in names if name in env}
    for name in PROXIES:
        own |= {case: env[case] for case in (name, name.lower()) if case in env}
    folders = env.get("PATH", DEFAULT_PATH).split(os.pathsep)
    own["PATH"] = os.pathsep.join(folder for folder in folders if folder and folder != own_bin)
    own.setdefault("LANG", "C.UTF-8")
    own["PYTHONUNBUFFERED"] = "1"
    own["SHIPWAY_BASE_URL"] = own["WANDB_BASE_URL"] = base_url
    own["SHIPWAY_RUNSIDE"] = str(runside)
    own["WANDB_LAUNCH"] = "True"
    return Surroundings(base_url=base_url, runside=runside, own=own)


def common_env(lease: Lease, around: Surroundings) -> dict[str, str]:
    """Return those variables that are the same for all attempts at a launch spec."""
    spec = lease.spec
    env = {**around.own, **_cut("WANDB_CONFIG", spec.get("run_config") or {})}
    for name, value in (
        ("WANDB_ARTIFACTS", _artifacts(spec)),
        ("WANDB_LAUNCH_FILE_OVERRIDES", spec.get("files")),
    ):
        if value:
            env |= _cut(name, value)
    if spec.get("queue_entity"):
        env["WANDB_LAUNCH_QUEUE_ENTITY"] = str(spec["queue_entity"])
    return env


def _artifacts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands for artifacts; wandb's run notes that it uses a job of its entity."""
    overrides = spec.get("artifacts") or {}
    job = spec.get("job")
    if not job or job.partition("/")[0].casefold() != str(spec.get("entity")).casefold():
        return dict(overrides)
    return {JOB_SLOT: job, **overrides}


def build_env(lease: Lease, common: Mapping[str, str], place: Place) -> dict[str, str]:
    """Return the whole environment of an attempt's program; `common` is `common_env`'s."""
    facts, folder = lease.facts, str(place.folder)
    env = {
        **common,
        "TMPDIR": folder + os.sep + "tmp",
        "SHIPWAY_ITEM_ID": lease.item,
        "SHIPWAY_ATTEMPT": str(lease.attempt),
        "SHIPWAY_API_KEY": lease.job_key,
        "SHIPWAY_RECORDS": f"{folder}/records.jsonl",
        "SHIPWAY_FILES": f"{folder}/files",
        "SHIPWAY_CONFIG": f"{folder}/config.json",
        "WANDB_API_KEY": lease.job_key,
        "WANDB_LAUNCH_TRACE_ID": lease.item,
    }
    for fact, names in _OF_FACTS:
        value = facts.get(fact)
        if value:
            for name in names:
                env[name] = str(value)
    if lease.attempt > 1:
        env["WANDB_RESUME"] = "allow"
    env |= place.env
    env |= asked_env(lease)
    if place.path:
        env["PATH"] = os.pathsep.join([*map(str, place.path), env["PATH"]])
    return env


def asked_env(lease: Lease) -> dict[str, str]:
    """Return the item's own variables, macros filled."""
    asked = lease.args.get("env")
    if not asked:
        return {}
    if any("${" in str(value) for value in asked.values()):
        asked = fill(asked, _macros(lease))
    return {str(name): str(value) for name, value in asked.items()}


def build_argv(
    lease: Lease, place: Place, env: Mapping[str, str], which: Which = shutil.which
) -> tuple[str, ...]:
    """Return the program's argv; raise `NoProgram` for one that is not there.

    Argv[0] ending in `.py` runs under the environment's Python, `.ipynb` under the run side's
    `notebook` there, `.sh` under `sh`; else it is looked up in the environment, in the
    source, then in PATH.
    """
    spec = lease.spec
    entry = [str(word) for word in spec.get("entry_point") or ()]
    args = [str(word) for word in spec.get("args") or ()]
    if not entry:
        raise NoProgram("the launch has no entry point")
    check_scripts(entry, place.start)
    program = entry[0]
    if program.endswith(PYTHON_SUFFIXES):
        python = place.python or which("python3", path=env["PATH"])
        if python is None:
            raise NoProgram("no Python was found to run the entry point with")
        if program.endswith(".ipynb"):
            runs = f"{env['SHIPWAY_RUNSIDE']}/shipway/notebook.py"
            return (str(python), runs, *entry, *args)
        return (str(python), *entry, *args)
    if program.endswith(".sh"):
        return (which("sh", path=env["PATH"]) or "/bin/sh", *entry, *args)
    return (_find(program, place, env, which), *entry[1:], *args)


def check_scripts(entry: Sequence[str], tree: Path) -> None:
    """Raise `NoProgram` unless each relative script of an entry point exists in the source."""
    for word in entry:
        is_script = word.endswith(SUFFIXES) and not word.startswith(("-", "/"))
        if is_script and " " not in word and not (tree / word).is_file():
            raise NoProgram(f"the entry point {word!r} does not exist in the source")


def needs_python(
    entry: Sequence[str], spec: Mapping[str, Any], args: Mapping[str, Any], folders: Sequence[Path]
) -> bool:
    """Tell whether a program needs an environment to be built.

    It does if it is a Python script or a Python tool, if somebody asked for a Python, extras or
    groups, or if its source has a lock, requirements or a project between where it starts and
    the root. `true`, a binary or a shell script in a plain folder does not.
    """
    if any(str(word).endswith(PYTHON_SUFFIXES) for word in entry):
        return True
    name = Path(entry[0]).name if entry else ""
    if name in _PYTHONS or name.startswith("python"):
        return True
    asked = spec.get("python") or args.get("python") or args.get("extras") or args.get("groups")
    return bool(asked) or any((folder / lock).exists() for folder in folders for lock in LOCKS)


def _find(program: str, place: Place, env: Mapping[str, str], which: Which) -> str:
    if program.startswith("/"):
        if os.access(program, os.X_OK):
            return program
        raise NoProgram(f"the program {program!r} is not there, or may not be executed")
    if place.path and "/" not in program:
        found = shutil.which(program, path=os.pathsep.join(map(str, place.path)))
        if found is not None:
            return found
    own = f"{place.start}/{program}"
    if os.access(own, os.X_OK) and os.path.isfile(own):  # noqa: PTH113 - a Path costs ten times more
        return own
    found = None if "/" in program else which(program, path=env["PATH"])
    if found is None:
        raise NoProgram(
            f"no program {program!r} was found in the environment, the source or the agent's PATH"
        )
    return found


def _macros(lease: Lease) -> dict[str, str | None]:
    facts = lease.facts
    return {
        "project_name": facts.get("project"),
        "entity_name": facts.get("entity"),
        "run_id": facts.get("run_id"),
        "run_name": facts.get("name"),
        "author": facts.get("author"),
    }


def _cut(name: str, value: Mapping[str, Any]) -> dict[str, str]:
    """Return a JSON value as one variable, or as numbered ones where it is long."""
    if not value:
        return {name: "{}"}
    text = json.dumps(value)
    if len(text) <= CONFIG_CHUNK:
        return {name: text}
    parts = range(0, len(text), CONFIG_CHUNK)
    return {f"{name}_{number}": text[at : at + CONFIG_CHUNK] for number, at in enumerate(parts)}
