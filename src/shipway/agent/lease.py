"""The lease: what the server gave this agent to see through, read from the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Event, Failure

GRACE_S = 10.0  # between SIGTERM and SIGKILL, unless an item says otherwise

REPORT_BYTES = 1_024  # more than a report has beside its handle and failure

# Of the item as JSON, what an agent goes by; the journal keeps no more of it.
FACTS = (
    "resource", "run_id", "name", "entity", "project", "queue", "sweep_id", "author", "lock", "spec"
)  # fmt: skip

Key = str  # an attempt's name, `<item>.<attempt>`: also that of its folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One attempt at one item, and the proof that it is ours."""

    key: Key
    item: ItemId
    attempt: int
    token: Token
    job_key: str  # the program's own key
    term_ms: int
    resource: str
    is_started: bool = False  # it passed the start gate in the lease's own transaction
    grace_s: float = GRACE_S
    start_limit_s: float | None = None  # from the lease to the start gate
    run_limit_s: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # of the item as JSON
    spec: Mapping[str, Any] = field(default_factory=dict)  # of it: the launch spec
    args: Mapping[str, Any] = field(default_factory=dict)  # of that: the resource's arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a lease, as the server is told."""

    key: Key  # the attempt's, for the agent alone
    item: ItemId
    token: Token
    event: Event
    handle: str | None = None
    exit_code: int | None = None
    failure: Failure | None = None
    log_sizes: Mapping[str, int] = field(default_factory=dict)

    def to_json(self, at: int) -> dict[str, Any]:
        """Return the report as the wire has it."""
        value: dict[str, Any] = {
            "item": self.item,
            "token": self.token,
            "event": self.event,
            "at": at,
        }
        if self.handle is not None:
            value["handle"] = self.handle
        if self.exit_code is not None:
            value["exit_code"] = self.exit_code
        if self.failure is not None:
            failure = self.failure.to_json()
            del failure["remedy"]
            value["failure"] = failure
        if self.log_sizes:
            value["log_sizes"] = dict(self.log_sizes)
        return value

    def weight(self) -> int:
        """Return at least as many bytes as the report has on the wire."""
        weight = REPORT_BYTES + 6 * len(self.handle or "")  # no character takes more than 6
        if self.failure is not None:
            weight += len(json.dumps(self.failure.to_json()))
        return weight


def read_lease(value: Mapping[str, Any], *, grace_s: float = GRACE_S) -> Lease:
    """Read a lease from the wire, or from the journal; `grace_s` is for items that name none."""
    item = value["item_json"]
    resource = str(item["resource"])
    spec = item["spec"]
    args = (spec.get("resource_args") or {}).get(resource) or {}
    return Lease(
        key=f"{value['item']}.{value['attempt']}",
        item=value["item"],
        attempt=value["attempt"],
        token=value["token"],
        job_key=value["job_key"],
        term_ms=value["term_ms"],
        resource=resource,
        is_started=bool(value.get("started")),
        grace_s=_seconds(args.get("grace_s"), grace_s),
        start_limit_s=args.get("start_limit_s"),
        run_limit_s=args.get("run_limit_s"),
        facts={name: item[name] for name in FACTS if item.get(name) is not None},
        spec=spec,
        args=args,
    )


def write_lease(lease: Lease) -> dict[str, Any]:
    """Return what `read_lease` reads."""
    return {
        "item": lease.item,
        "attempt": lease.attempt,
        "token": lease.token,
        "job_key": lease.job_key,
        "term_ms": lease.term_ms,
        "started": lease.is_started,
        "item_json": lease.facts,
    }


def _seconds(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
