"""Puts queues and their items into wandb's words, and its words into ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.item import Item, State
from shipway.domain.json_value import plain_mapping
from shipway.domain.queue import ANY_RESOURCE, Queue
from shipway.domain.run import state_of
from shipway.domain.template import read_variables
from shipway.server.graphql import ids

QUEUE = "RunQueue"
CONFIG = "DefaultResourceConfig"
PRIORITIES = "V0"  # the one way in which a queue of wandb's orders by priority
NO_PRIORITIES = "DISABLED"
PERSONAL = "USER"
SHARED = "PROJECT"

# The client itself looks for `failed` alone; for how a program ended it asks the run.
ITEM_STATES: Mapping[State, str] = {
    State.PENDING: "PENDING",
    State.LEASED: "LEASED",
    State.RUNNING: "CLAIMED",
    State.FINISHED: "FINISHED",
    State.FAILED: "FAILED",
    State.STOPPED: "FAILED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceConfig:
    """What a queue gives its items: wandb keeps it as a thing of its own."""

    resource: str = ANY_RESOURCE
    config: Mapping[str, Any]
    template_variables: Mapping[str, Any]


def queue_id(queue: Queue) -> str:
    """Return a queue's id."""
    return ids.number(QUEUE, queue.id)


def read_queue_id(node: str) -> int:
    """Return the number of a queue's id."""
    return ids.read_number(QUEUE, node)


def config_of(queue: Queue) -> ResourceConfig:
    """Return what a queue gives its items."""
    return ResourceConfig(
        resource=queue.resource,
        config=queue.config,
        template_variables=queue.template_variables,
    )


def config_id(queue: Queue) -> str:
    """Return the id of what a queue gives its items."""
    return ids.number(CONFIG, queue.id)


def config_from(given: Mapping[str, Any]) -> ResourceConfig:
    """Read the input of `createDefaultResourceConfig`."""
    return ResourceConfig(
        resource=given["resource"],
        config=object_in(given, "config"),
        template_variables=object_in(given, "templateVariables"),
    )


def loose_id(config: ResourceConfig) -> str:
    """Return the id of a config that no queue has yet: it holds the config itself.

    The client makes a config first and then a queue that names it, so nothing has to be stored
    that no queue may ever use.
    """
    text = json.dumps(
        [config.resource, config.config, config.template_variables], separators=(",", ":")
    )
    return ids.node(CONFIG, text)


def read_config_id(node: str) -> ResourceConfig | int:
    """Return the config that an id holds, or the number of the queue whose config it is."""
    text = ids.read_node(CONFIG, node)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, int):
        return ids.read_number(CONFIG, node)
    if isinstance(value, list) and len(value) == 3:
        resource, config, variables = value
        if isinstance(resource, str) and isinstance(config, dict) and isinstance(variables, dict):
            read_variables(variables)
            return ResourceConfig(
                resource=resource,
                config=plain_mapping(config, "config"),
                template_variables=plain_mapping(variables, "templateVariables"),
            )
    raise Invalid(f"{node[:80]!r} is no id of a config", field="defaultResourceConfigID")


def variables_of(config: ResourceConfig) -> list[dict[str, str]]:
    """Return template variables, each schema as compact JSON."""
    return [
        {"name": name, "schema": json.dumps(value["schema"], separators=(",", ":"))}
        for name, value in config.template_variables.items()
    ]


def links_of(queue: Queue) -> dict[str, Any]:
    """Return a queue's links."""
    links = [{"label": label, "url": url} for label, url in queue.external_links.items()]
    return {"links": links}


def settings_of(config: ResourceConfig, mode: str | None) -> dict[str, Any]:
    """Return a queue's settings, of a config and a mode of priorities."""
    return {
        "config": config.config,
        "template_variables": config.template_variables,
        "priorities": mode == PRIORITIES,
    }


def upsert_of(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return resource and settings of the input of `upsertRunQueue`; null means none."""
    config = ResourceConfig(
        resource=given["resourceType"],
        config=object_in(given, "resourceConfig"),
        template_variables=object_in(given, "templateVariables"),
    )
    links = _links(object_in(given, "externalLinks"))
    settings = settings_of(config, given.get("prioritizationMode"))
    return config.resource, {**settings, "external_links": links}


def run_of(item: Item) -> str | None:
    """Return the id of an item's run once it has come to be; the client waits until then."""
    return None if state_of(item) is None else item.run_id


def error_of(item: Item) -> dict[str, Any] | None:
    """Return why an item failed."""
    if item.failure is None:
        return None
    failure = item.failure
    return {"message": failure.reason, "stage": failure.stage.value, "filePaths": []}


def object_in(given: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return the object that a field holds as JSON; one that is null is empty."""
    text = given.get(field)
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = text
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(f"{field} must be a JSON object", field=field, value=text)
    return plain_mapping(value, field)  # a text within a body may be nested deeper than a body


def _links(value: Mapping[str, Any]) -> dict[str, Any]:
    links = value.get("links", [])
    if not isinstance(links, list) or set(value) - {"links"}:
        raise Invalid('externalLinks must be {"links": […]}', field="externalLinks", value=value)
    found: dict[str, Any] = {}
    for link in links:
        if not isinstance(link, dict) or not isinstance(link.get("label"), str):
            raise Invalid(
                'externalLinks.links must hold {"label": …, "url": …}', field="externalLinks",
                value=link,
            )  # fmt: skip
        if link["label"] in found:
            raise Invalid(
                f"externalLinks has the label {link['label']!r} twice", field="externalLinks",
                value=link["label"],
            )  # fmt: skip
        found[link["label"]] = link.get("url")
    return found
