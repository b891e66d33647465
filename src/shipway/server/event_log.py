"""Writes the server's log: one JSON event a line."""

from __future__ import annotations

import json
import logging
import sys
import time


class EventFormatter(logging.Formatter):
    """Turns a record into an event; its fields come from `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        event: dict[str, object] = {
            "event": record.getMessage(),
            "at": time.time_ns() // 1_000_000,
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            event |= fields
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


def start_logging() -> None:
    """Send every logger of this process to stderr as events."""
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(EventFormatter())
    root = logging.getLogger()
    root.handlers[:] = [out]
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
