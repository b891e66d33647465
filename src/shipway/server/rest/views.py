"""Shows domain values as the JSON of the interface."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from shipway.domain.actor import Key, User
from shipway.domain.agent import Agent
from shipway.domain.errors import ShipwayError
from shipway.domain.item import Item, ItemEvent
from shipway.domain.job import Job
from shipway.domain.policy import Explanation
from shipway.domain.queue import OnLost, Priority, Queue
from shipway.domain.run import RunFile, state_of
from shipway.server.errors import error_json
from shipway.service.queues import QueueView
from shipway.service.runs import RunView

_PRIORITIES = {priority.value: priority.name.lower() for priority in Priority}


def item_view(item: Item, base_url: str) -> dict[str, Any]:
    """Return an item; its spec stands as it was stored."""
    state = state_of(item)
    return {
        "id": item.id,
        "seq": item.seq,
        "queue": item.queue,
        "project_queue": item.project_queue,
        "entity": item.entity,
        "project": item.project,
        "run_id": item.run_id,
        "name": item.name,
        "author": item.author,
        "submitted_by": item.submitted_by,
        "sweep_id": item.sweep_id,
        "priority": _PRIORITIES[item.priority],
        "state": item.state.value,
        "attempt": item.attempt,
        "resource": item.resource,
        "spec": msgspec.Raw(item.spec.encode()),
        "lock": item.lock_digest,
        "error": item.failure.to_json() if item.failure else None,
        "exit_code": item.exit_code,
        "stop_requested_at": item.stop_requested_at,
        "stop_requested_by": item.stop_requested_by,
        "deleted_at": item.deleted_at,
        "created_at": item.created_at,
        "leased_at": item.leased_at,
        "started_at": item.started_at,
        "ended_at": item.ended_at,
        "retry_of": item.retry_of,
        "agent": item.lease_agent,
        "url": f"{base_url}/items/{item.id}",
        "run_state": state.value if state else None,
        "log": "run" if item.is_clients else "item",
    }


def item_brief(item: Item) -> dict[str, Any]:
    """Return what a batch says of an item."""
    return {
        "id": item.id,
        "run_id": item.run_id,
        "queue": item.queue,
        "state": item.state.value,
        "entity": item.entity,
        "project": item.project,
    }


def error_brief(error: ShipwayError) -> dict[str, Any]:
    """Return what a batch says of a refused item."""
    return {"error": error_json(error)}


def event_view(event: ItemEvent) -> dict[str, Any]:
    """Return an event."""
    return {
        "seq": event.seq,
        "item": event.item_id,
        "event": event.event,
        "state": event.state.value,
        "attempt": event.attempt,
        "actor": event.actor,
        "at": event.at,
        "data": dict(event.data),
    }


def explanation_view(explanation: Explanation) -> dict[str, Any]:
    """Return why an item stands as it does."""
    return {
        "sentence": explanation.sentence,
        "reasons": [{"code": reason.code, "text": reason.text} for reason in explanation.reasons],
        "position": explanation.position,
        "ahead": explanation.ahead,
    }


def queue_view(view: QueueView, base_url: str) -> dict[str, Any]:
    """Return a queue with its counts."""
    counts = {state.value: count for state, count in view.counts.items()}
    return {**queue_settings(view.queue, base_url), "counts": counts}


def queue_settings(queue: Queue, base_url: str) -> dict[str, Any]:
    """Return a queue without its counts."""
    on_lost = queue.on_lost.value
    if queue.on_lost is OnLost.RETRY:
        on_lost = f"retry:{queue.on_lost_retries}"
    where = f"{quote(queue.entity, safe='')}/{quote(queue.name, safe='')}"
    return {
        "name": queue.name,
        "entity": queue.entity,
        "project": queue.project,
        "resource": queue.resource,
        "config": dict(queue.config),
        "template_variables": dict(queue.template_variables),
        "priorities": queue.has_priorities,
        "critical_for_admins": queue.is_critical_for_admins,
        "is_paused": queue.is_paused,
        "on_lost": on_lost,
        "lost_after_s": queue.lost_after_s,
        "max_attempts": queue.max_attempts,
        "external_links": dict(queue.external_links),
        "personal": queue.is_personal,
        "created_at": queue.created_at,
        "created_by": queue.created_by,
        "counts": {},
        "url": f"{base_url}/queues/{where}",
    }


def job_view(job: Job) -> dict[str, Any]:
    """Return a version of a job."""
    return {
        "address": job.address,
        "entity": job.entity,
        "project": job.project,
        "name": job.name,
        "version": f"v{job.version}",
        "aliases": list(job.aliases),
        "kind": job.kind.value,
        "source": dict(job.source),
        "entry_point": None if job.entry_point is None else list(job.entry_point),
        "args": list(job.args),
        "run_config": dict(job.run_config),
        "resource": job.resource,
        "resource_args": dict(job.resource_args),
        "python": job.python,
        "config_schema": job.config_schema,
        "file_schemas": dict(job.file_schemas),
        "description": job.description,
        "created_by": job.created_by,
        "created_at": job.created_at,
    }


def run_view(view: RunView, base_url: str) -> dict[str, Any]:
    """Return a run; its config and summary may hold NaN and Infinity."""
    run = view.run
    path = "/".join(quote(part, safe="") for part in (run.entity, run.project, "runs", run.id))
    return {
        "id": run.id,
        "name": run.name or run.id,
        "entity": run.entity,
        "project": run.project,
        "state": view.state.value,
        "exit_code": view.exit_code,
        "config": dict(run.config),
        "summary": dict(run.summary),
        "item_id": run.item_id,
        "user": view.user,
        "description": run.facts.description,
        "notes": run.facts.notes,
        "tags": list(run.facts.tags),
        "group": run.facts.group,
        "job_type": run.facts.job_type,
        "sweep_id": view.sweep,
        "host": run.facts.host,
        "program": run.facts.program,
        "commit": run.facts.commit,
        "alerts": [dict(alert) for alert in run.facts.alerts],
        "heard_at": run.heard_at,
        "log": "run" if view.item is None or view.item.is_clients else "item",
        "url": f"{base_url}/{path}",
        "created_at": run.created_at,
        "history_size": run.history_size,
        "seq": run.seq,
    }


def file_view(file: RunFile) -> dict[str, Any]:
    """Return a run's file."""
    return {"path": file.path, "digest": file.digest, "size": file.size, "at": file.at}


def agent_view(agent: Agent) -> dict[str, Any]:
    """Return an agent."""
    return {
        "id": agent.id,
        "user": agent.user,
        "hostname": agent.hostname,
        "version": agent.version,
        "state": agent.state.value,
        "queues": list(agent.queues),
        "resources": list(agent.resources),
        "run_as": agent.run_as.value,
        "slots": agent.slots,
        "used_slots": agent.used_slots,
        "facts": dict(agent.facts),
        "created_at": agent.created_at,
        "seen_at": agent.seen_at,
    }


def user_view(user: User) -> dict[str, Any]:
    """Return a user."""
    return {
        "name": user.name,
        "role": user.role.value,
        "entity": user.entity,
        "is_disabled": user.is_disabled,
        "created_at": user.created_at,
    }


def key_view(key: Key) -> dict[str, Any]:
    """Return a key without its secret."""
    return {
        "id": key.id,
        "user": key.user,
        "role": key.role.value,
        "label": key.label,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }
