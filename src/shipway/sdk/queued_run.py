"""The handle of a launch: waits for it, stops it, says why it waits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from shipway.client import Client
from shipway.domain.errors import Code, LaunchError
from shipway.sdk.connection import Connection, connect
from shipway.sdk.line import ASK_AGAIN_S, Line
from shipway.sdk.refusal import as_launch_error, deleted, not_started

# `launch_add` needs the handle and none of these: 10 ms of its 80 to the first byte.
if TYPE_CHECKING:
    from shipway.domain.item import Failure
    from shipway.domain.log_lines import LogLine
    from shipway.sdk.event import Event
    from shipway.sdk.explanation import Explanation
    from shipway.sdk.run import Run

POLL_S = 20.0  # how long the server holds one question for an item's state

_ENDED = frozenset({"finished", "failed", "stopped"})  # `TERMINAL`, as the wire has it

T = TypeVar("T")


class QueuedRun:
    """A launch on a queue; made by `launch_add`, or opened again by its id from any process.

    Source: `GET /api/v1/items/ID`. Every method raises `LaunchError` with the server's code.
    No wait hangs: a launch that failed, was stopped or was deleted ends it at once, an away server
    after two minutes, and `timeout` (seconds) ends it with `TimeoutError`.
    """

    def __init__(self, line: Line, item: Mapping[str, Any], *, notes: tuple[str, ...] = ()) -> None:
        self._line = line
        self._item = dict(item)
        self._notes = notes

    @classmethod
    def open(cls, id: str, *, base_url: str | None = None, api_key: str | None = None) -> QueuedRun:
        """Return the handle of an item by its id."""
        with as_launch_error():
            return cls._open(connect(base_url=base_url, api_key=api_key), id)

    @classmethod
    def _open(cls, connection: Connection, id: str) -> QueuedRun:
        line = Line(connection)
        return cls(line, line.ask(lambda client: client.items.get(id)))

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self._item["id"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of how it was added, one sentence each; mostly nothing."""
        return self._notes

    @property
    def queue_name(self) -> str:
        """The queue that it was added to."""
        return str(self._item["queue"])

    @property
    def project_queue(self) -> str:
        """The project that the queue belongs to."""
        return str(self._item["project_queue"])

    @property
    def entity(self) -> str:
        """Where its run goes."""
        return str(self._item["entity"])

    @property
    def project(self) -> str:
        """The project of its run."""
        return str(self._item["project"])

    @property
    def run_id(self) -> str:
        """The id of its run, fixed from the start."""
        return str(self._item["run_id"])

    @property
    def url(self) -> str:
        """The address of the item's page."""
        return str(self._item.get("url") or "")

    @property
    def priority(self) -> str:
        """`critical`, `high`, `medium` or `low`."""
        return str(self._now()["priority"])

    @property
    def state(self) -> str:
        """`pending`, `leased`, `running`, `finished`, `failed` or `stopped`."""
        return str(self._now()["state"])

    @property
    def error(self) -> Failure | None:
        """Why it failed (stage, failure_class, reason, exit_code, log_tail), or None."""
        from shipway.domain.item import Failure  # noqa: PLC0415 - see above

        error = self._now().get("error")
        return Failure.from_json(error) if error else None

    @property
    def run(self) -> Run | None:
        """Its run; None before an agent took the item."""
        item = self._now()
        if item["attempt"] == 0:
            return None
        try:
            return self._load_run()
        except LaunchError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise

    def wait_until_started(self, timeout: float | None = None) -> Run:
        """Return the run once its program has started; at once when it had.

        Raises `LaunchError`: code `failed` with `stage`, `failure_class`, `exit_code` and
        `log_tail` when it failed before, `stopped` or `deleted` when somebody ended it.
        """
        return self._await("started", timeout)

    def wait_until_running(self, timeout: float | None = None) -> Run:
        """Do what `wait_until_started` does, under wandb's name."""
        return self.wait_until_started(timeout)

    def wait_until_finished(self, timeout: float | None = None) -> Run:
        """Return the run once its program has ended, however it ended.

        Raises as `wait_until_started` does where the program never started.
        """
        return self._await("ended", timeout)

    def cancel(self, grace: float | None = None) -> None:
        """Ask for its end: SIGTERM to all its processes, SIGKILL after `grace` seconds."""
        self._ask(lambda client: client.items.stop(self.id, grace_s=grace))

    def delete(self) -> None:
        """Stop it and take it out of all lists; waits for it end with code `deleted`."""
        self._ask(lambda client: client.items.delete(self.id))

    def retry(self) -> QueuedRun:
        """Queue the same launch again as a new item with a run of its own."""
        key = os.urandom(16).hex()
        made = self._ask(lambda client: client.items.retry(self.id, idempotency_key=key))
        return QueuedRun(self._line, made)

    def logs(
        self,
        follow: bool = False,  # noqa: FBT001, FBT002 - the signature is fixed
        *,
        name: str = "program",
    ) -> Iterator[LogLine]:
        """Yield the log of the newest attempt, line by line, both streams by time.

        With `follow` it goes on, through later attempts too, until the item has ended. `name` is
        `program` or `build` (fetching the source and making the environment).
        """
        from shipway.sdk.log_reader import read_log  # noqa: PLC0415 - see above

        if name == "program" and self._now().get("log") == "run":  # a client's agent started it
            return self._load_run().logs(follow)
        return read_log(self._line, self.id, is_followed=follow, name=name)

    def events(self) -> list[Event]:
        """Return what happened to it, oldest first."""
        from shipway.sdk.event import Event  # noqa: PLC0415 - see above

        found = self._ask(lambda client: client.items.events(self.id))
        return [Event.from_json(value) for value in found]

    def explain(self) -> Explanation:
        """Return why it waits, who is ahead, and what would let it run."""
        from shipway.sdk.explanation import Explanation  # noqa: PLC0415 - see above

        return Explanation.from_json(self._ask(lambda client: client.items.explain(self.id)))

    def to_json(self) -> dict[str, Any]:
        """Return the item as the server last showed it."""
        return dict(self._item)

    def __repr__(self) -> str:
        return f"<QueuedRun {self.queue_name} ({self.id})>"

    def _await(self, until: str, timeout: float | None) -> Run:
        end = None if timeout is None else self._line.now() + timeout
        while True:
            began = self._line.now()
            item = self._poll(until, end)
            if item.get("deleted_at") is not None:
                raise deleted(self.id)
            has_ended = item["state"] in _ENDED
            if _has_come_to_be(item) and (until == "started" or has_ended):
                return self._load_run()
            if has_ended:
                raise not_started(item)
            if end is not None and self._line.now() >= end:
                raise TimeoutError(
                    f"launch {self.id} has not {until} within {timeout:g} s: it is {item['state']}"
                )
            if self._line.now() - began < ASK_AGAIN_S:
                self._line.pause(ASK_AGAIN_S)  # a server that does not hold questions

    def _poll(self, until: str, end: float | None) -> dict[str, Any]:
        """Return the item as it is when the condition holds, or a while later."""

        def question(client: Client) -> dict[str, Any]:
            left = POLL_S if end is None else max(0.0, min(POLL_S, end - self._line.now()))
            return client.items.wait(self.id, until=until, timeout_s=left, patience_s=0)

        try:
            with as_launch_error():
                self._item = self._line.ask(question, until=end)
        except LaunchError as error:
            if error.code is Code.DELETED:
                raise deleted(self.id) from error
            raise
        return self._item

    def _load_run(self) -> Run:
        from shipway.sdk.run import load_run  # noqa: PLC0415 - see above

        return load_run(self._line, self.entity, self.project, self.run_id)

    def _now(self) -> dict[str, Any]:
        self._item = self._ask(lambda client: client.items.get(self.id))
        return self._item

    def _ask(self, question: Callable[[Client], T]) -> T:
        with as_launch_error():
            return self._line.ask(question)


def _has_come_to_be(item: Mapping[str, Any]) -> bool:
    """Tell whether the item's run is past the start gate, in this attempt or an earlier one."""
    if item.get("started_at") is not None or item["state"] in ("running", "finished"):
        return True
    return (item.get("error") or {}).get("stage") == "run"
