"""Puts items that wandb's launch agents lease into their words, and their words into ours."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from shipway.domain.agent import Agent, AgentState
from shipway.domain.client_agent import SCHEDULER_URI
from shipway.domain.errors import Invalid
from shipway.domain.item import Stage
from shipway.domain.queue import LOCAL_CONTAINER, LOCAL_PROCESS
from shipway.domain.source import SourceKind
from shipway.server.graphql.translate_containers import docker_options
from shipway.service.client_agents import ClientGrant, ClientSays

CLIENT = "wandb"
POLLING, RUNNING, KILLED = "POLLING", "RUNNING", "KILLED"
LOCKED_FACT = "locks_entry_point"  # of an agent: it refuses items that name one
ALONE = ("env", "-u", "WANDB_SERVICE")  # begins a command without the agent's service
SHELL_RESOURCES = frozenset({LOCAL_PROCESS, LOCAL_CONTAINER})
QUOTES_SINCE = (0, 28, 2)  # an agent before this puts words into a shell as they are
_STAGES = {"agent": Stage.AGENT, "build": Stage.BUILD, "run": Stage.RUN}
_VERSION = re.compile(r"wandb@(\d+)\.(\d+)\.(\d+)")


def run_spec_of(grant: ClientGrant, agent: Agent) -> dict[str, Any]:
    """Return what wandb's agent runs; its program gets a key of its own, not the agent's."""
    spec = grant.spec
    is_quoted = spec.resource in SHELL_RESOURCES and not _quotes(agent.version)
    overrides: dict[str, Any] = {
        "args": _words(spec.args, is_quoted=is_quoted),
        "run_config": dict(spec.run_config),
        "artifacts": dict(spec.artifacts),
        "files": dict(spec.files),
    }
    command = _command(grant, is_locked=bool(agent.facts.get(LOCKED_FACT)))
    if command:
        overrides["entry_point"] = _words(command, is_quoted=is_quoted)
    if spec.dockerfile:
        overrides["dockerfile"] = spec.dockerfile
    is_image = spec.source["kind"] == SourceKind.IMAGE and spec.job is None
    said: dict[str, Any] = {
        "job": spec.job,
        "uri": SCHEDULER_URI if spec.uri == SCHEDULER_URI else None,
        "name": spec.name,
        "sweep_id": spec.sweep_id,
        "entity": spec.entity,
        "project": spec.project,
        "run_id": spec.run_id,
        "author": spec.author,
        "resource": spec.resource,
        "resource_args": docker_options(spec.resource_args, is_quoted=is_quoted),
        "docker": {"docker_image": spec.source["image"]} if is_image else {},
        "git": {},
        "overrides": overrides,
        "_wandb_api_key": grant.job_key,
    }
    if grant.item.attempt > 1:
        said["_resume_count"] = grant.item.attempt - 1
    return {key: value for key, value in said.items() if value is not None}


def read_agent_config(agent_config: str | None) -> tuple[int, bool]:
    """Return how many programs an agent runs at once, and whether it locks entry points.

    Nothing else of its config is kept.
    """
    try:
        config = json.loads(agent_config) if agent_config else {}
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, Mapping):
        raise Invalid("agentConfig must be a JSON object", field="agentConfig", value=agent_config)
    jobs = config.get("max_jobs")
    try:
        return 1 if jobs is None else int(jobs), bool(config.get("secure_mode"))
    except (TypeError, ValueError, OverflowError):
        raise Invalid(
            f"max_jobs must be a whole number, not {jobs!r}", field="agentConfig", value=jobs
        ) from None


def status_of(agent: Agent) -> str:
    """Return what an agent would say of itself."""
    if agent.state is AgentState.GONE:
        return KILLED
    return RUNNING if agent.used_slots else POLLING


def says_of(said: Mapping[str, Any]) -> ClientSays:
    """Read a failure or a warning; stages that are none of ours are where programs run."""
    return ClientSays(
        message=said.get("message") or "",
        stage=_STAGES.get(str(said.get("stage") or "agent").lower(), Stage.RUN),
        files=said.get("filePaths") or (),
    )


def _quotes(agent_version: str) -> bool:
    found = _VERSION.match(agent_version)
    return found is None or tuple(map(int, found.groups())) >= QUOTES_SINCE


def _words(words: Sequence[str], *, is_quoted: bool) -> list[str]:
    return [shlex.quote(word) if is_quoted else word for word in words]


def _command(grant: ClientGrant, *, is_locked: bool) -> Sequence[str]:
    """Return the command to run in place of the job's own; none to leave it.

    A local process would join the service that its agent's own run has, and what it does not finish
    by itself would go on there until the agent ends: it has to be started without.
    """
    spec = grant.spec
    if spec.uri == SCHEDULER_URI:  # the agent knows it by its first words
        return spec.entry_point
    if spec.resource == LOCAL_PROCESS and spec.entry_point and not is_locked:
        return (*ALONE, *_python(spec.entry_point))
    return _python(grant.entry_point) if grant.entry_point else ()


def _python(entry_point: Sequence[str]) -> Sequence[str]:
    """Return a command: a script alone is a program of Python's, and so is a notebook's script."""
    head, *rest = entry_point
    if head.endswith(".ipynb"):  # wandb's agent has made it by then
        head = head.replace(".ipynb", ".py")
    return ("python", head, *rest) if head.endswith(".py") else entry_point
