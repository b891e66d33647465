"""Prints data: as JSON for programs, as a table or as lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

CELL_LIMIT = 60  # characters of one table cell
CLEAR_LINE = "\x1b[K"

as_json = click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")


def emit(value: Any) -> None:
    """Print one JSON document and nothing else."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def emit_list(rows: Sequence[Any], *, next_cursor: str | None = None) -> None:
    """Print a list as JSON: `{"items": […], "next": cursor or null}`."""
    emit({"items": list(rows), "next": next_cursor})


def say(text: str = "") -> None:
    """Print one line for people."""
    print(text, flush=True)


def note(text: str) -> None:
    """Print one line beside the data, on stderr."""
    print(text, file=sys.stderr, flush=True)


def progress(text: str) -> None:
    """Show a line on a terminal's stderr in place of the last one; show nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{CLEAR_LINE}{text}")
        sys.stderr.flush()


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, empty: str) -> None:
    """Print rows: drawn on a terminal, tab-separated elsewhere; columns map key to heading."""
    cells = [[cell(pick(row, key)) for key in columns] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            say("\t".join(row))
        return
    if not cells:
        say(empty)
        return
    _draw(list(columns.values()), cells)


def fields(value: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Print a thing as `name  value` lines; names map key to label, absent values are left out."""
    shown = [(label, pick(value, key)) for key, label in names.items()]
    shown = [(label, found) for label, found in shown if found not in (None, "", {}, [])]
    width = max((len(label) for label, _ in shown), default=0)
    for label, found in shown:
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        say(f"{label:<{width}}  {text}")


def pick(row: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key, or None."""
    found: Any = row
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def cell(value: Any) -> str:
    """Return a value as one short line of text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        text = ", ".join(str(part) for part in value)
    elif isinstance(value, Mapping):
        text = " ".join(f"{key}={part}" for key, part in value.items())
    else:
        text = str(value)
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - 1] + "…"


def own_values(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a summary without what the client adds, whose keys begin with an underscore."""
    return {key: value for key, value in summary.items() if not key.startswith("_")}


def ago(at_ms: int | None, now_ms: int) -> str:
    """Return how long ago a moment was, in one unit."""
    if at_ms is None:
        return ""
    seconds = max(0, (now_ms - at_ms) // 1000)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _draw(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # rich is imported only here: it costs more than the whole of `shipway launch`
    from rich.console import Console  # noqa: PLC0415 - drawn tables alone pay for it
    from rich.table import Table  # noqa: PLC0415 - drawn tables alone pay for it
    from rich.text import Text  # noqa: PLC0415 - drawn tables alone pay for it

    drawn = Table(box=None, pad_edge=False)
    for heading in headings:
        drawn.add_column(heading, no_wrap=heading in {"id", "item"})
    for row in rows:
        drawn.add_row(*(Text(part) for part in row))
    Console().print(drawn)
