"""Formats log records: the event, then its fields."""

from __future__ import annotations

import logging

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldFormatter(logging.Formatter):
    """`time level event field=value …`, on one line but for a traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return the line, with the fields that the event carries."""
        fields = [f"{k}={v!r}" for k, v in vars(record).items() if k not in _STANDARD]
        return " ".join([super().formatMessage(record), *fields])
