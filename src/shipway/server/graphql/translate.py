"""Puts runs into wandb's words, and its words into ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.run import Run, RunState
from shipway.server.graphql import ids
from shipway.service.runs import RunView
from shipway.service.tracked_runs import RunAsk

CLIENT_VERSION = "0.31.0"  # the newest that tests prove
STOPPED_EXIT = 143
HIDDEN_TYPES = frozenset({"sweep-controller", "cli_create_job"})  # runs that clients make for work
OWN_KEY = "_wandb"  # of a config: what the client keeps for itself
LEVELS = {1: "", 2: "error"}  # of a console's lines, by their stream
REASON_KEY = "_shipway"  # of a summary: why a run ended that its program did not end

# wandb's client waits for no other end than these: a stopped run must be one of them.
STATES: Mapping[RunState, str] = {
    RunState.PENDING: "pending",
    RunState.RUNNING: "running",
    RunState.FINISHED: "finished",
    RunState.FAILED: "failed",
    RunState.CRASHED: "crashed",
    RunState.STOPPED: "failed",
}

_FACTS = (  # ours, wandb's
    ("description", "description"),
    ("notes", "notes"),
    ("tags", "tags"),
    ("group", "groupName"),
    ("job_type", "jobType"),
    ("host", "host"),
    ("program", "jobProgram"),
    ("repo", "jobRepo"),
    ("commit", "commit"),
    ("sweep", "sweep"),
)


def ask_of(bucket: Mapping[str, Any]) -> RunAsk:
    """Read what `upsertBucket` asks for; null means: as it is."""
    entity, project, name = bucket.get("entityName"), bucket.get("modelName"), bucket.get("name")
    if bucket.get("id") is not None:
        name, project, entity = ids.read_run_node(bucket["id"])
    facts = {ours: bucket[theirs] for ours, theirs in _FACTS if bucket.get(theirs) is not None}
    config = None
    if bucket.get("config") is not None:
        config, facts["client"] = config_from(_object("config", bucket["config"]))
    summary = bucket.get("summaryMetrics")
    state, host = bucket.get("state"), bucket.get("host")
    is_for_later = bool(bucket.get("sweep")) and not state and not host  # by a scheduler
    return RunAsk(
        entity=entity or None,
        project=project or None,
        id=name or None,
        name=bucket.get("displayName") or None,
        facts=facts,
        config=config,
        summary=None if summary is None else _object("summaryMetrics", summary),
        is_pending=state == "pending" or is_for_later,
        is_begun=bool(host) or state == "running",
        is_hidden=bucket.get("jobType") in HIDDEN_TYPES,
    )


def config_from(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a config's values, and what the client keeps there for itself."""
    values = {key: _value_of(one) for key, one in raw.items()}
    own = values.pop(OWN_KEY, None)
    return values, own if isinstance(own, dict) else {}


def config_of(run: Run) -> str:
    """Return a run's config in wandb's form, as JSON."""
    raw = {key: {"value": value, "desc": None} for key, value in run.config.items()}
    if run.facts.client:
        raw[OWN_KEY] = {"value": dict(run.facts.client), "desc": None}
    return json.dumps(raw)


def summary_of(view: RunView) -> str:
    """Return a run's summary as JSON, with the reason of an end that was not the program's."""
    summary = dict(view.run.summary)
    reason = reason_of(view)
    if reason is not None:
        summary[REASON_KEY] = {"reason": reason}
    return json.dumps(summary)


def reason_of(view: RunView) -> str | None:
    """Return why a run ended, where its program alone does not say it."""
    if view.state is RunState.STOPPED:
        is_deleted = view.item is not None and view.item.deleted_at is not None
        return f"{'deleted' if is_deleted else 'stopped'}: somebody asked for its end"
    if view.item is not None and view.item.failure is not None:
        return view.item.failure.reason
    return None


def exit_code_of(view: RunView) -> int | None:
    """Return a run's exit code; a stopped one has SIGTERM's."""
    if view.state is RunState.STOPPED:
        return STOPPED_EXIT
    return view.exit_code


def time_of(at: int | None) -> str | None:
    """Return a time as wandb writes it."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reader_of(path: str) -> Callable[[RunView], Any]:
    """Return what a filter's or an order's key reads; `Invalid` names an unknown one."""
    head, _, rest = path.partition(".")
    if head == "config" and rest:
        key = rest.removesuffix(".value")
        return lambda view: _within(view.run.config, key)
    if head in {"summary_metrics", "summaryMetrics", "summary"} and rest:
        return lambda view: _within(view.run.summary, rest)
    reader = _FIELDS.get(path)
    if reader is None:
        known = ", ".join(sorted(_FIELDS))
        raise Invalid(
            f"there is no field {path!r} to look for runs by (there are: {known}, config.KEY, "
            "summary_metrics.KEY)",
            field=path,
        )
    return reader


def _duration(view: RunView) -> float | None:
    heard = view.run.heard_at
    return None if heard is None else (heard - view.run.created_at) / 1_000


_FIELDS: Mapping[str, Callable[[RunView], Any]] = {
    "name": lambda view: view.run.id,
    "display_name": lambda view: view.run.name or view.run.id,
    "displayName": lambda view: view.run.name or view.run.id,
    "state": lambda view: STATES[view.state],
    "tags": lambda view: list(view.run.facts.tags),
    "group": lambda view: view.run.facts.group,
    "jobType": lambda view: view.run.facts.job_type,
    "job_type": lambda view: view.run.facts.job_type,
    "host": lambda view: view.run.facts.host,
    "username": lambda view: view.user,
    "user": lambda view: view.user,
    "created_at": lambda view: time_of(view.run.created_at),
    "createdAt": lambda view: time_of(view.run.created_at),
    "heartbeat_at": lambda view: time_of(view.run.heard_at),
    "heartbeatAt": lambda view: time_of(view.run.heard_at),
    "duration": _duration,
    "sweep": lambda view: view.sweep,
    "notes": lambda view: view.run.facts.notes,
    "description": lambda view: view.run.facts.description,
    "commit": lambda view: view.run.facts.commit,
}


def _within(values: Any, path: str) -> Any:
    if isinstance(values, Mapping):
        if path in values:
            return values[path]
        head, dot, rest = path.partition(".")
        if dot and head in values:
            return _within(values[head], rest)
    return None


def _value_of(one: Any) -> Any:
    return one["value"] if isinstance(one, dict) and "value" in one else one


def _object(field: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid(f"{field} must be a JSON object", field=field, value=text)
    return value
