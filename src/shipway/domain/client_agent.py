"""What the agents of clients can run, and the names by which they know their leases."""

from __future__ import annotations

from shipway.domain.errors import Invalid
from shipway.domain.ids import ItemId
from shipway.domain.item import Item
from shipway.domain.launch_spec import LaunchSpec
from shipway.domain.queue import ANY_RESOURCE, LOCAL_PROCESS, Queue
from shipway.domain.source import SourceKind

SCHEDULER_URI = "placeholder-uri-scheduler"  # of a sweep's scheduler that a client pushed


def suits_clients(spec: LaunchSpec) -> bool:
    """Tell whether the agents of clients can run this: a job, an image, or their own scheduler.

    Code of any other kind they cannot fetch. As a local process they know none of our arguments,
    so what asks for a variable or a limit is not theirs.
    """
    is_image = spec.source["kind"] == SourceKind.IMAGE
    is_readable = spec.job is not None or is_image or spec.uri == SCHEDULER_URI
    return is_readable and not (
        spec.resource == LOCAL_PROCESS and spec.resource_args.get(LOCAL_PROCESS)
    )


def resource_of(queue: Queue) -> str:
    """Return what the agents of clients take of a queue; they do not say what they can.

    Where a queue fixes nothing, it is what needs nothing of a machine.
    """
    return LOCAL_PROCESS if queue.resource == ANY_RESOURCE else queue.resource


def lease_name(item: Item) -> str:
    """Return the name of an item's present lease: of the next one it is another."""
    return f"{item.id}.{item.attempt}"


def read_lease_name(name: str) -> tuple[ItemId, int]:
    """Return the item and the attempt of a lease's name."""
    item_id, dot, attempt = name.rpartition(".")
    if not dot or not attempt.isascii() or not attempt.isdigit() or len(attempt) > 9:
        raise Invalid(
            f"{name[:80]!r} is no id of a lease: use the one that the pop answered",
            field="runQueueItemId",
            value=name,
        )
    return ItemId(item_id), int(attempt)
