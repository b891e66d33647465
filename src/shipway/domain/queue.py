"""The queue: where items wait, with the resource and the rules that it gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.ids import QueueId
from shipway.domain.names import check_title

LOCAL_PROCESS = "local-process"
LOCAL_CONTAINER = "local-container"
ANY_RESOURCE = "any"  # code runs as a local process, an image as a local container
LOST_LIMIT = 5  # leases lost before the start gate, then the item fails
MIN_LOST_AFTER_S = 30
LINKS_LIMIT = 20

_ADDRESS = re.compile(r"https?://[!-~]{1,2000}\Z")


class Priority(IntEnum):
    """The class of an item; smaller is sooner."""

    CRITICAL = 0  # before everything else
    HIGH = 1  # soon
    MEDIUM = 2  # the default
    LOW = 3  # when nothing else waits


class OnLost(StrEnum):
    """What becomes of an item whose agent is lost while its program runs."""

    FAIL = "fail"  # it fails with class `lost`
    RETRY = "retry"  # it waits again, at most so many times


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A row of `queues`."""

    id: QueueId
    entity: str
    project: str
    name: str
    resource: str
    config: Mapping[str, Any] = field(default_factory=dict)  # {"resource_args": {...}, ...}
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    has_priorities: bool = False
    is_critical_for_admins: bool = False
    is_paused: bool = False
    on_lost: OnLost = OnLost.FAIL
    on_lost_retries: int = 0
    lost_after_s: int = 900
    max_attempts: int = 6
    created_at: int = 0
    created_by: str = ""
    external_links: Mapping[str, str] = field(default_factory=dict)  # label -> address
    is_personal: bool = False  # its maker's alone


def check_links(value: Mapping[str, Any]) -> dict[str, str]:
    """Return a queue's links, from label to web address; raise `Invalid` naming what is none."""
    if len(value) > LINKS_LIMIT:
        raise Invalid(
            f"a queue has at most {LINKS_LIMIT} external links, not {len(value)}",
            field="external_links",
            value=len(value),
        )
    for label, address in value.items():
        check_title(label, field="external_links")
        if not isinstance(address, str) or not _ADDRESS.match(address):
            raise Invalid(
                f"external_links.{label} must be an address that begins with http:// or https://, "
                f"not {address!r}",
                field=f"external_links.{label}",
                value=address,
            )
    return dict(value)


def parse_priority(value: object) -> Priority:
    """Read 0-3 or one of the four names; raise `Invalid` for anything else, booleans too."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 3:
        return Priority(value)
    if isinstance(value, str) and value.upper() in Priority.__members__:
        return Priority[value.upper()]
    raise Invalid(
        f"priority {value!r} is not one of 0 critical, 1 high, 2 medium, 3 low",
        field="priority",
        value=value,
    )


def parse_on_lost(value: object) -> tuple[OnLost, int]:
    """Read `fail` or `retry:N` with N from 1 to 100."""
    if value == OnLost.FAIL.value:
        return OnLost.FAIL, 0
    if isinstance(value, str) and value.startswith("retry:"):
        count = value.removeprefix("retry:")
        if count.isascii() and count.isdigit() and 1 <= int(count) <= 100:
            return OnLost.RETRY, int(count)
    raise Invalid(
        f"on_lost {value!r} is neither 'fail' nor 'retry:N' with N from 1 to 100",
        field="on_lost",
        value=value,
    )
