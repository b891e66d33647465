"""Makes texts and reports fit to travel, whatever a plugin or a program wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shipway.agent.lease import Report

REASON_LIMIT = 2_000  # characters of a failure's reason
BARE_LIMIT = 200  # characters of one in a report that the server refused before
TAIL_LINES = 20
TAIL_WIDTH = 500  # characters of one line


def a_reason(text: str) -> str:
    """Return a reason that every server can store: no surrogates, no controls, bounded."""
    cut = text if len(text) <= REASON_LIMIT else text[: REASON_LIMIT - 1] + "…"
    if cut.isprintable():
        return cut
    told = cut.encode("utf-8", "backslashreplace").decode()
    told = "".join(char if char.isprintable() or char in "\n\t" else " " for char in told)
    return told[:REASON_LIMIT]


def a_tail(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the last lines, each of them bounded and plain."""
    return tuple(_plain(line).rstrip()[:TAIL_WIDTH] for line in lines[-TAIL_LINES:])


def bare(report: Report) -> Report:
    """Return the report with nothing in it that a server could refuse."""
    handle, failure = report.handle, report.failure
    if handle is not None:
        handle = _ascii(handle)
    if failure is not None:
        failure = replace(failure, reason=_ascii(failure.reason)[:BARE_LIMIT], log_tail=())
    return replace(report, handle=handle, failure=failure)


def _plain(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() or char == "\t" else " " for char in line)


def _ascii(text: str) -> str:
    return _plain(text.encode("ascii", "backslashreplace").decode())
