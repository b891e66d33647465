"""Reads what a client streams of a run into the lines that are stored."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shipway.domain.console import STDERR, STDOUT, ConsoleLine, pack
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest
from shipway.domain.run import ConsoleChunk, StreamLine
from shipway.service.tracked_runs import StreamReport

HISTORY, SYSTEM = "wandb-history.jsonl", "wandb-events.jsonl"
SUMMARY, CONSOLE = "wandb-summary.json", "output.log"
ERROR = "ERROR "  # before a line of stderr
OFFSET_LIMIT = 1 << 40
STEP_LIMIT = (1 << 62) - 1

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A report, and the console's bytes that have to be stored before it."""

    report: StreamReport
    console: bytes = b""


def read_stream(body: bytes, *, at: int) -> Sent:
    """Read a request's body; what is no line of its file is left out, its number stays free."""
    value = _object(body)
    files = value.get("files") or {}
    if not isinstance(files, dict):
        raise Invalid("files must be an object", field="files")
    chunk, console = _console(files.get(CONSOLE), at=at)
    exit_code = value.get("exitcode")
    report = StreamReport(
        history=_lines(files.get(HISTORY)),
        system=_lines(files.get(SYSTEM)),
        console=chunk,
        summary=_summary(files.get(SUMMARY)),
        is_complete=value.get("complete") is True,
        exit_code=exit_code if isinstance(exit_code, int) and abs(exit_code) < 1 << 31 else 0,
    )
    return Sent(report=report, console=console)


def _lines(file: Any) -> tuple[StreamLine, ...]:
    offset, content = _part(file)
    found = []
    for number, text in enumerate(content, offset):
        row = _row(text)
        if row is not None:
            found.append(StreamLine(number=number, step=_step(row, number), text=_ENCODE(row)))
    return tuple(found)


def _summary(file: Any) -> dict[str, Any] | None:
    _, content = _part(file)
    return _row(content[-1]) if content else None


def _console(file: Any, *, at: int) -> tuple[ConsoleChunk | None, bytes]:
    offset, content = _part(file)
    if not content:
        return None, b""
    data = pack([_console_line(line) for line in content])
    chunk = ConsoleChunk(
        number=0,
        first_line=offset,
        line_count=len(content),
        digest=Digest(hashlib.sha256(data).hexdigest()),
        at=at,
    )
    return chunk, data


def _console_line(line: Any) -> ConsoleLine:
    """Read `[ERROR ]TIME text`, as the client writes what it saw."""
    text = line if isinstance(line, str) else _ENCODE(line)
    rest = text.removeprefix(ERROR)
    time, _, shown = rest.partition(" ")
    try:
        at = int(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp() * 1_000)
    except (ValueError, OverflowError):
        return ConsoleLine(stream=STDOUT, at=0, text=text)
    return ConsoleLine(stream=STDOUT if rest == text else STDERR, at=at, text=shown)


def _part(file: Any) -> tuple[int, list[Any]]:
    if file is None:
        return 0, []
    offset, content = file.get("offset", 0), file.get("content") or []
    is_whole = isinstance(offset, int) and not isinstance(offset, bool)
    if not is_whole or not 0 <= offset <= OFFSET_LIMIT or not isinstance(content, list):
        raise Invalid(
            "a file has an offset from 0 up and a list of lines", field="offset", value=offset
        )
    return offset, content


def _row(text: Any) -> dict[str, Any] | None:
    """Return a line's object; the client writes NaN and Infinity as they are."""
    try:
        row = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _step(row: dict[str, Any], number: int) -> int:
    step = row.get("_step")
    if isinstance(step, float) and math.isfinite(step):
        step = int(step)
    if not isinstance(step, int) or isinstance(step, bool):
        return number
    return step if abs(step) <= STEP_LIMIT else number


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", field="body") from None
    if not isinstance(value, dict):
        raise Invalid("the body must be a JSON object", field="body")
    return value
