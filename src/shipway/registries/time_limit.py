"""Bounds a call that waits for others: look-ups of names and programs know no common limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

SLACK_S = 0.25  # for the call's own limits, which say more

T = TypeVar("T")


def within(
    timeout_s: float, call: Callable[[], T], *, abort: Callable[[], None], late: Exception
) -> T:
    """Return what a call returns, or raise its error; after the time, abort it and raise `late`."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work, name="registry", daemon=True)
    thread.start()
    is_late = True  # an interrupt ends the wait, too
    try:
        thread.join(timeout_s + SLACK_S)
        is_late = thread.is_alive()
    finally:
        if is_late:
            abort()
    if is_late:
        raise late
    if results:
        return results[0]
    raise errors[0]
