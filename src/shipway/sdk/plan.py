"""What a launch would become, without queueing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The merged launch of `launch_add(…, dry_run=True)`.

    This release makes none: `dry_run` raises `LaunchError` with code `not_available`.
    """

    spec: Mapping[str, Any]  # as it would be queued
    origins: Mapping[str, str]  # where each value came from, by its path
    position: int  # in the queue, 1 is next
    notes: tuple[str, ...] = ()  # what people should know of it, one sentence each
