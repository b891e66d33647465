"""Decides what a container finds: its variables, its command, what it sees of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shipway.agent.environment import PROXIES, Place, Surroundings, build_env
from shipway.agent.lease import Lease
from shipway.plugins.runner import Bind

INSIDE = "/run/shipway"  # where a container finds what is shipway's
START = "runside-start"  # beside the run side in the agent's home: what Python begins with
WORK = "/workspace"  # where it finds code that is mounted
_PATH = f"{INSIDE}/path"  # of Python: one module that adds the run side, last
_NOT_INSIDE = ("TMPDIR", "PATH")  # those of the image are right

# Python reads it at its start, before any program. It adds the run side to the end of its path,
# and then gives way to the image's own module of that name.
SITE = '''\
"""Adds shipway's run side to the end of sys.path, then reads the sitecustomize that is hidden."""

import os
import sys
from importlib.machinery import PathFinder

_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != _here]
_runside = os.environ.get("SHIPWAY_RUNSIDE")
if _runside and _runside not in sys.path:
    sys.path.append(_runside)
_hidden = PathFinder.find_spec("sitecustomize", sys.path)
if _hidden is not None and _hidden.loader is not None:
    from importlib.util import module_from_spec

    _module = module_from_spec(_hidden)
    sys.modules["sitecustomize"] = _module
    _hidden.loader.exec_module(_module)
'''


def container_surroundings(env: Mapping[str, str], *, base_url: str) -> Surroundings:
    """Pick what containers may see of the agent's variables: proxies, and the time zone."""
    own = {name: env[name] for name in ("TZ",) if name in env}
    for name in PROXIES:
        own |= {case: env[case] for case in (name, name.lower()) if case in env}
    own["PYTHONUNBUFFERED"] = "1"
    own["SHIPWAY_BASE_URL"] = own["WANDB_BASE_URL"] = base_url
    own["SHIPWAY_RUNSIDE"] = f"{INSIDE}/runside"
    own["PYTHONPATH"] = _PATH
    own["WANDB_LAUNCH"] = "True"
    return Surroundings(base_url=base_url, runside=Path(f"{INSIDE}/runside"), own=own)


def env_inside(
    lease: Lease, common: Mapping[str, str], of_source: Mapping[str, str]
) -> dict[str, str]:
    """Return all variables that a container is given beside those of its image."""
    place = Place(folder=Path(INSIDE), start=Path(WORK), python=None, env=of_source)
    env = build_env(lease, common, place)
    for name in _NOT_INSIDE:
        if name not in (lease.args.get("env") or {}):
            env.pop(name, None)
    asked = (lease.args.get("env") or {}).get("PYTHONPATH")
    if asked:
        env["PYTHONPATH"] = f"{_PATH}:{asked}"
    return env


def argv_inside(entry: Sequence[str]) -> tuple[str, ...]:
    """Return an entry point as a container is given it; empty for the image's own."""
    if not entry:
        return ()
    if entry[0].endswith(".py"):
        return ("python3", *entry)
    if entry[0].endswith(".ipynb"):
        return ("python3", f"{INSIDE}/runside/shipway/notebook.py", *entry)
    if entry[0].endswith(".sh"):
        return ("sh", *entry)
    return tuple(entry)


def binds_of(folder: Path, runside: Path, *, is_mounted: bool) -> tuple[Bind, ...]:
    """Return what of an attempt's folder its container sees: never its log or its proofs."""
    binds = [
        Bind(source=folder / "records.jsonl", target=f"{INSIDE}/records.jsonl", is_writable=True),
        Bind(source=folder / "files", target=f"{INSIDE}/files", is_writable=True),
        Bind(source=folder / "config.json", target=f"{INSIDE}/config.json"),
        Bind(source=runside / "shipway", target=f"{INSIDE}/runside/shipway"),
        Bind(source=runside.with_name(START), target=_PATH),
    ]
    if is_mounted:
        binds.append(Bind(source=folder / "work", target=WORK, is_writable=True))
    return tuple(binds)
