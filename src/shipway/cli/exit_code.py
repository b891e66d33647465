"""Turns the end of an item into the exit code of `shipway launch --follow`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.domain.item import FailureClass

NOT_STARTED = 70
LOST = 75
TIME_LIMIT = 124
INTERRUPTED = 130  # Ctrl-C: the run lives on
STOPPED = 143  # 128 + SIGTERM: somebody asked for its end while it ran
KILLED = 137  # 128 + SIGKILL

_BY_CLASS: Mapping[str, int] = {
    FailureClass.OOM: KILLED,
    FailureClass.OOM_PROBABLE: KILLED,
    FailureClass.TIME_LIMIT: TIME_LIMIT,
    FailureClass.LOST: LOST,
}


def exit_code_of(item: Mapping[str, Any]) -> int:
    """Return the program's own code, 128+n for a signal, or what stands for another end."""
    if item["state"] == "finished":
        return 0
    if item["state"] == "stopped":
        return STOPPED if item.get("started_at") else NOT_STARTED
    error = item.get("error") or {}
    if error.get("failure_class") == FailureClass.EXIT:
        return int(error.get("exit_code") or item.get("exit_code") or 1)
    if error.get("failure_class") == FailureClass.SIGNAL:
        return 128 + int(error.get("signal") or 0)
    return _BY_CLASS.get(str(error.get("failure_class")), NOT_STARTED)
