"""The run that a program is part of."""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, MutableMapping  # noqa: UP035 - a base class with [ ] on Python 3.8

from .records import Records
from .values import plain

SUMMARY_EVERY_S = 10.0  # how old the last logged values in the summary may be after a kill


class Config(MutableMapping[str, Any]):
    """The run's config: what it was launched with, and what the program adds."""

    def __init__(self, values: Mapping[str, Any], records: Records) -> None:
        self._values = dict(values)
        self._records = records

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"{key!r} cannot be taken out of a run's config; set it to None")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self._values!r})"

    def update(self, *args: Any, **values: Any) -> None:
        """Set several values at once."""
        new = plain(dict(*args, **values), "config")
        if new:
            self._records.write({"kind": "config", "values": new})
            self._values.update(new)


class Summary(MutableMapping[str, Any]):
    """The run's result: each value as it was logged last, or as it was set here."""

    def __init__(self, records: Records) -> None:
        self._values: dict[str, Any] = {}
        self._unwritten: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._written_at = 0.0
        self._records = records

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"{key!r} cannot be taken out of a run's summary; set it to None")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Summary({self._values!r})"

    def update(self, *args: Any, **values: Any) -> None:
        """Set several values at once."""
        new = plain(dict(*args, **values), "summary")
        if new:
            self._records.write({"kind": "summary", "values": new})
            with self._lock:
                self._values.update(new)
                for key in new:
                    self._unwritten.pop(key, None)

    def _logged(self, values: Mapping[str, Any], now: float) -> None:
        with self._lock:
            self._values.update(values)
            self._unwritten.update(values)
        if now - self._written_at >= SUMMARY_EVERY_S:
            self._flush(now)

    def _flush(self, now: float) -> None:
        with self._lock:
            values, self._unwritten = self._unwritten, {}
        if values:
            self._records.write({"kind": "summary", "values": values})
            self._written_at = now

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._unwritten = {}  # the parent's to write


class Run:
    """The run: `config`, `log`, `summary`, `save`.

    Outside of a launch it keeps what it is given in memory, so that a program runs anywhere.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.id = environ.get("SHIPWAY_RUN_ID", "local")
        self.name = environ.get("SHIPWAY_RUN_NAME") or self.id
        self.entity = environ.get("SHIPWAY_ENTITY", "")
        self.project = environ.get("SHIPWAY_PROJECT", "")
        base = environ.get("SHIPWAY_BASE_URL", "").rstrip("/")
        self.url = f"{base}/{self.entity}/{self.project}/runs/{self.id}" if base else ""
        self._records = Records(environ.get("SHIPWAY_RECORDS") or None)
        self._folder = environ.get("SHIPWAY_FILES") or None
        self._lock = threading.RLock()
        self._step = -1
        self._is_finished = False
        self.config = Config(_launched_with(environ), self._records)
        self.summary = Summary(self._records)

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row to the run's history, and its values to the summary.

        Without `step` it is one more than the last; a given one may not be smaller than the last.
        Raises `TypeError` for what is no JSON value, `OSError` where the disk is full.
        """
        row = plain(values, "log")
        with self._lock:
            if self._is_finished:
                raise RuntimeError("the run is finished; call shipway.init() to go on with it")
            at = self._next_step(step)
            record = {"kind": "history", "step": at, "at": time.time_ns() // 1_000_000}
            self._records.write({**record, "values": row})
            self._step = at
            self.summary._logged(row, time.monotonic())  # noqa: SLF001 - the same module

    def save(self, path: str | os.PathLike[str]) -> list[str]:
        """Keep a file, or all files of a folder, with the run; return their names there.

        The file is copied now: it may be changed or removed after the call.
        """
        from .files import expand, name_of, store  # noqa: PLC0415 - costs 8 ms, for few programs

        files = [(name_of(one), one) for one in expand(Path(path))]
        for name, one in files:
            if self._folder is None:
                one.stat()  # what is missing is missing outside of a launch too
                continue
            stored = store(one, Path(self._folder))
            self._records.write({"kind": "file", "path": name, "stored": stored})
        return [name for name, _ in files]

    def finish(self) -> None:
        """Write what is not written yet; a second call does nothing."""
        with self._lock:
            if not self._is_finished:
                self._is_finished = True
                self.summary._flush(time.monotonic())  # noqa: SLF001 - the same module
                self._records.close()

    def __enter__(self) -> Run:  # noqa: PYI034 - typing.Self is of Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()

    def __repr__(self) -> str:
        return f"Run({self.entity}/{self.project}/{self.id})"

    def _next_step(self, step: int | None) -> int:
        if step is None:
            return self._step + 1
        if isinstance(step, bool) or not hasattr(step, "__index__"):
            raise TypeError(f"step {step!r} is not a whole number")
        given = step.__index__()
        if given < max(self._step, 0):
            raise ValueError(f"step {given} is smaller than the last one, {max(self._step, 0)}")
        return given

    def _go_on(self) -> None:
        with self._lock:
            self._is_finished = False

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self.summary._forked()  # noqa: SLF001 - the same module


# One program is part of one run: this is the one place where a process keeps that.
_current: list[Run] = []
_guard = threading.Lock()


def init() -> Run:
    """Return the run that this program is part of; the same object at each call."""
    with _guard:
        if not _current:
            run = Run(os.environ)
            if not os.environ.get("SHIPWAY_RECORDS"):
                # On stderr, once: the program's own output stays as it is.
                print(  # noqa: T201 - a word to a person, in their program
                    "shipway: not started by a launch; what this program logs stays in memory",
                    file=sys.stderr,
                )
            _current.append(run)
            atexit.register(_at_exit)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_at_fork)
        _current[0]._go_on()  # noqa: SLF001 - the same module
        return _current[0]


def _at_exit() -> None:
    for run in _current:
        try:
            run.finish()
        except OSError as error:
            print(f"shipway: the summary was not written: {error}", file=sys.stderr)  # noqa: T201 - nobody is left to raise to


def _at_fork() -> None:
    global _guard  # noqa: PLW0603 - the parent's lock may be held by a thread that is not here
    _guard = threading.Lock()
    for run in _current:
        run._forked()  # noqa: SLF001 - the same module


def _launched_with(environ: Mapping[str, str]) -> dict[str, Any]:
    path = environ.get("SHIPWAY_CONFIG")
    if not path:
        return {}
    values = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise TypeError(f"{path} does not hold a run's config")
    return values
