"""Reads the run specs that wandb clients push, in our words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shipway.domain.client_agent import SCHEDULER_URI
from shipway.domain.draft_fields import check_run
from shipway.domain.errors import Invalid, NotAvailable
from shipway.domain.item import Item
from shipway.domain.launch_spec import Draft, draft
from shipway.domain.queue import Queue
from shipway.server.graphql.translate_queues import object_in

RESUME_KEY = "_resume_count"  # of a spec that an agent of wandb's puts on its queue again
_UNTOLD = frozenset({"template_variables", "_wandb_api_key"})  # in no answer to a push


def read_spec(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run spec of a push; what is null or an empty text says nothing."""
    spec = object_in(given, "runSpec")
    return {key: value for key, value in spec.items() if value is not None and value != ""}


def run_again(spec: Mapping[str, Any]) -> str | None:
    """Return the run that is to wait again, as its agent says; None for a launch of its own."""
    count = spec.get(RESUME_KEY)
    if count is None:
        return None
    names = [spec.get(key) for key in ("entity", "project", "run_id")]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or not all(names):
        raise Invalid(
            f"{RESUME_KEY} is an agent's, for a run that it had: entity, project and run_id go "
            "with it",
            field=RESUME_KEY,
            value=count,
        )
    return check_run("/".join(map(str, names)))


def draft_of(spec: Mapping[str, Any], given: Mapping[str, Any], queue: Queue) -> Draft:
    """Return the launch that a run spec asks for; `Invalid` names what it cannot be.

    Its keys are those of the `config` of `launch_add`, and are read as there: another key is a
    value of the run's config, and what we do not know is refused by name.
    """
    if spec.get("uri") == SCHEDULER_URI:
        raise NotAvailable(
            "the scheduler of a launched sweep is queued with its sweep: use wandb launch-sweep",
            details={"field": "uri"},
        )
    return draft(
        config={**spec, "queue_entity": queue.entity},
        queue_name=queue.name,
        project_queue=queue.project,
        priority=given.get("priority"),
        template_variables=object_in(given, "templateVariableValues"),
    )


def spec_of(spec: Mapping[str, Any], item: Item) -> str:
    """Return a pushed run spec as JSON, with what the queue and we made of it."""
    made = json.loads(item.spec)
    kept = {key: value for key, value in spec.items() if key not in _UNTOLD}
    return json.dumps(
        {
            **kept,
            "entity": item.entity,
            "project": item.project,
            "run_id": item.run_id,
            "author": item.author,
            "resource": item.resource,
            "resource_args": made.get("resource_args", {}),
        }
    )
