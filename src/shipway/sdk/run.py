"""A run: what one launch's program reported, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from shipway.client import Client
from shipway.domain.console import STDERR
from shipway.domain.log_lines import LogLine
from shipway.sdk.line import Line
from shipway.sdk.log_reader import read_log
from shipway.sdk.refusal import as_launch_error

FOLLOW_S = 2.0  # between two questions for new lines of a client's console
HISTORY_PAGE = 10_000  # rows asked for at once

_ENDED = frozenset({"finished", "failed", "crashed", "stopped"})


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that a run saved: its relative path, size in bytes, SHA-256 and time (ms UTC)."""

    path: str
    size: int
    digest: str
    at: int
    _run: Run = field(repr=False, compare=False)

    def read(self) -> bytes:
        """Return the file's bytes."""
        return self._run._read_file(self.path)  # noqa: SLF001 - two halves of one thing

    def download(self, root: str | Path = ".") -> Path:
        """Write the file below a folder and return its path."""
        target = Path(root) / self.path
        if not target.resolve().is_relative_to(Path(root).resolve()):
            raise ValueError(f"the file {self.path!r} would lie outside of {str(root)!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.read())
        return target


def load_run(line: Line, entity: str, project: str, run_id: str) -> Run:
    """Return a run as it is now."""
    with as_launch_error():
        return Run(line, line.ask(lambda client: client.runs.get(entity, project, run_id)))


class Run:
    """One execution with its config, summary, history, files and log.

    While the program runs, each property asks the server; once it has ended the answers are kept
    (`refresh()` asks again). Source: `GET /api/v1/runs/ENTITY/PROJECT/ID`. Errors: `LaunchError`.
    """

    def __init__(self, line: Line, values: Mapping[str, Any]) -> None:
        self._line = line
        self._values = dict(values)

    @property
    def id(self) -> str:
        """The run's id, unique in its project."""
        return str(self._values["id"])

    @property
    def name(self) -> str | None:
        """The display name, if one was given."""
        return self._now().get("name")

    @property
    def entity(self) -> str:
        """Whose run it is."""
        return str(self._values["entity"])

    @property
    def project(self) -> str:
        """The project it belongs to."""
        return str(self._values["project"])

    @property
    def path(self) -> str:
        """`entity/project/id`."""
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def url(self) -> str:
        """The address of its page."""
        return str(self._values.get("url") or "")

    @property
    def item_id(self) -> str | None:
        """The id of the item that it came from."""
        return self._values.get("item_id")

    @property
    def state(self) -> str:
        """`pending`, `running`, `finished`, `failed`, `crashed` or `stopped`."""
        return str(self._now()["state"])

    @property
    def exit_code(self) -> int | None:
        """The program's exit code; None while it runs and where a signal ended it."""
        return self._now().get("exit_code")

    @property
    def config(self) -> dict[str, Any]:
        """The run's config: the launch's values, and what the program added."""
        return dict(self._now().get("config") or {})

    @property
    def summary(self) -> dict[str, Any]:
        """What the program reported as its result, and the last value of each metric."""
        return dict(self._now().get("summary") or {})

    def history(
        self, keys: Sequence[str] | None = None, samples: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows that the program logged, oldest first, each with `_step`.

        `keys` keeps the rows that have all of these, and of them only these (and `_step`,
        `_timestamp`); `samples` keeps at most so many rows, evenly spread, first and last among
        them. Values may be NaN or infinite.
        """
        if samples is not None and samples < 1:
            raise ValueError(f"samples must be 1 or more, not {samples}")
        rows = [row for row in self._rows() if keys is None or all(key in row for key in keys)]
        if keys is not None:
            shown = {"_step", "_timestamp", *keys}
            rows = [{key: row[key] for key in row if key in shown} for row in rows]
        if samples is None or len(rows) <= samples:
            return rows
        if samples == 1:
            return rows[-1:]
        last = len(rows) - 1
        return [rows[round(index * last / (samples - 1))] for index in range(samples)]

    def files(self) -> list[File]:
        """Return the files that the program saved, in order of path."""
        with as_launch_error():
            found = self._line.ask(
                lambda client: client.runs.files(self.entity, self.project, self.id)
            )
        return [
            File(
                path=str(file["path"]),
                size=int(file["size"]),
                digest=str(file["digest"]),
                at=int(file.get("at") or 0),
                _run=self,
            )
            for file in found
        ]

    def logs(self, follow: bool = False) -> Iterator[LogLine]:  # noqa: FBT001, FBT002 - as named
        """Yield the program's log, line by line; see `QueuedRun.logs`."""
        if self.item_id is None or self._values.get("log") == "run":
            return self._console(is_followed=follow)
        return read_log(self._line, self.item_id, is_followed=follow)

    def refresh(self) -> Run:
        """Ask the server how the run is now, and return the run itself."""
        with as_launch_error():
            self._values = self._line.ask(
                lambda client: client.runs.get(self.entity, self.project, self.id)
            )
        return self

    def __repr__(self) -> str:
        return f"<Run {self.path} ({self._values.get('state')})>"

    def _now(self) -> dict[str, Any]:
        if self._values.get("state") not in _ENDED:
            self.refresh()
        return self._values

    def _rows(self) -> Iterator[dict[str, Any]]:
        after = 0
        while True:
            with as_launch_error():
                page = self._line.ask(partial(self._history_page, after=after))
            yield from page["items"]
            after += len(page["items"])
            if not page["items"] or page.get("next") is None:
                return

    def _history_page(self, client: Client, *, after: int) -> dict[str, Any]:
        return client.runs.history(
            self.entity, self.project, self.id, after=after, limit=HISTORY_PAGE
        )

    def _console(self, *, is_followed: bool) -> Iterator[LogLine]:
        """Yield what the run's own client saw; a line written again later stays as it was."""
        after = 0
        while True:
            is_over = not is_followed or self.state in _ENDED
            with as_launch_error():
                page = self._line.ask(partial(self._console_page, after=after))
            for row in page["items"]:
                after = int(row["number"]) + 1
                stream = "stderr" if row["stream"] == STDERR else "stdout"
                yield LogLine(stream=stream, at=int(row["at"]), text=str(row["text"]))
            if page.get("next") is None:
                if is_over:
                    return
                self._line.pause(FOLLOW_S)

    def _console_page(self, client: Client, *, after: int) -> dict[str, Any]:
        return client.runs.console(self.entity, self.project, self.id, after=after)

    def _read_file(self, path: str) -> bytes:
        with as_launch_error():
            return self._line.ask(
                lambda client: client.runs.file(self.entity, self.project, self.id, path)
            )
