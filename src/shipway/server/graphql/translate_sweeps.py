"""Puts sweeps into wandb's words, and its words into ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from shipway.domain.errors import Invalid
from shipway.domain.sweep import SweepState
from shipway.server.graphql import ids
from shipway.service.sweep_agents import Command, Order
from shipway.service.sweeps import SweepAsk

CONFIG_LIMIT = 256 << 10  # characters of a config
DEPTH_LIMIT = 100  # of lists and mappings within one another

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def ask_of(asked: Mapping[str, Any]) -> SweepAsk:
    """Read what `upsertSweep` asks for; null means: as it is."""
    entity, project, sweep_id = asked.get("entityName"), asked.get("projectName"), None
    if asked.get("id") is not None:
        sweep_id, project, entity = ids.read_sweep_node(asked["id"])
    source = asked.get("config")
    return SweepAsk(
        id=sweep_id,
        entity=entity or None,
        project=project or None,
        given=None if source is None else config_from(source),
        source=source or "",
        name=asked.get("displayName") or None,
        description=asked.get("description") or None,
        state=None if asked.get("state") is None else state_from(asked["state"]),
        controller=asked.get("controller"),
        prior_runs=_prior_runs(asked.get("priorRunsFilters")),
    )


def config_from(text: str) -> dict[str, Any]:
    """Return what a config's YAML says."""
    if len(text) > CONFIG_LIMIT:
        raise Invalid(
            f"config has {len(text)} characters, more than {CONFIG_LIMIT}", field="config"
        )
    try:
        _check_events(text)
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).replace("\n", " ")
        raise Invalid(f"config is no YAML: {said}", field="config", value=text) from None
    if not isinstance(value, dict):
        raise Invalid("config must be a mapping, with method and parameters", field="config")
    return value


def state_from(word: str) -> SweepState:
    """Read a state."""
    try:
        return SweepState(word.lower())
    except ValueError:
        known = ", ".join(state.upper() for state in SweepState)
        raise Invalid(
            f"state {word!r} is none of a sweep (there are: {known})", field="state", value=word
        ) from None


def running_of(text: str | None) -> frozenset[str]:
    """Read which runs a worker says that it has."""
    if text is None:
        return frozenset()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid("runState must be a JSON object", field="runState", value=text)
    return frozenset(run_id for run_id, is_there in value.items() if is_there)


def commands_of(commands: Sequence[Command]) -> str:
    """Return orders as the worker reads them: JSON in a text."""
    return json.dumps([_command(command) for command in commands])


def _command(command: Command) -> dict[str, Any]:
    if command.order is Order.EXIT:
        return {"type": "exit"}
    if command.order is Order.STOP:
        return {"type": "stop", "run_id": command.run_id}
    return {
        "type": "run",
        "run_id": command.run_id,
        "program": command.program,
        "args": {name: {"value": value} for name, value in command.values.items()},
        "logs": [],
    }


def _prior_runs(text: str | None) -> list[str]:
    """Read the one filter that the client makes: any of these names."""
    if not text:
        return []
    try:
        named = json.loads(text)["$or"]
        found = [one["name"] for one in named]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = [None]
    if not all(isinstance(name, str) for name in found):
        raise Invalid(
            'priorRunsFilters must name runs, as {"$or": [{"name": "abc"}]} does',
            field="priorRunsFilters",
            value=text,
        )
    return found


def _check_events(text: str) -> None:
    """Refuse what grows when it is read: names for parts, and depth without end."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise Invalid(
                f"config uses the alias *{event.anchor}: write out what it stands for",
                field="config",
                value=event.anchor,
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_LIMIT:
            raise Invalid(f"config is nested deeper than {DEPTH_LIMIT} levels", field="config")
