"""Looks at and sets up what is on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from shipway.client import Client
from shipway.domain.draft_fields import check_job, check_run
from shipway.sdk.connection import Connection, connect
from shipway.sdk.job import Job
from shipway.sdk.line import Line
from shipway.sdk.queue import Agent, Queue
from shipway.sdk.queued_run import QueuedRun
from shipway.sdk.refusal import as_launch_error
from shipway.sdk.run import Run, load_run

PAGE = 100  # things asked for at once

T = TypeVar("T")


class Api:
    """A server's items, queues, runs, jobs and agents.

    Without arguments, the server that the settings name or the embedded one. Every method raises
    `LaunchError` with the server's code.
    """

    def __init__(self, *, base_url: str | None = None, api_key: str | None = None) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._connection: Connection | None = None

    @property
    def client(self) -> Client:
        """The client below: one method per REST route, JSON in and out."""
        return self._connect().client

    def item(self, id: str) -> QueuedRun:
        """Return the handle of an item."""
        item = self._ask(lambda client: client.items.get(id))
        return QueuedRun(Line(self._connect()), item)

    def items(
        self,
        queue: str | None = None,
        state: str | None = None,
        *,
        entity: str | None = None,
        project: str | None = None,
    ) -> Iterator[QueuedRun]:
        """Yield items, newest first."""
        line = Line(self._connect())
        ask = partial(_items_page, queue=queue, state=state, entity=entity, project=project)
        return (QueuedRun(line, item) for item in self._pages(ask))

    def queue(self, name: str, *, entity: str | None = None, project: str | None = None) -> Queue:
        """Return a queue."""
        return Queue.from_json(
            self._ask(lambda client: client.queues.get(name, entity=entity, project=project))
        )

    def queues(self, *, entity: str | None = None) -> list[Queue]:
        """Return the queues that this key may see."""
        found = self._ask(lambda client: client.queues.find(entity=entity))
        return [Queue.from_json(value) for value in found]

    def create_queue(  # noqa: PLR0917 - the signature is fixed
        self,
        name: str,
        resource: str,
        config: Mapping[str, Any] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        priorities: bool = False,  # noqa: FBT001, FBT002 - the signature is fixed
        entity: str | None = None,
        on_lost: str = "fail",
        lost_after_s: int = 900,
        max_attempts: int = 6,
    ) -> Queue:
        """Create a queue; `config` is `{"resource_args": {RESOURCE: {…}}}`, times in seconds."""
        asked = {
            "name": name,
            "resource": resource,
            "config": config,
            "template_variables": template_variables,
            "priorities": priorities,
            "entity": entity,
            "on_lost": on_lost,
            "lost_after_s": lost_after_s,
            "max_attempts": max_attempts,
        }
        return Queue.from_json(self._ask(lambda client: client.queues.create(_given(asked))))

    def run(self, path: str) -> Run:
        """Return a run by `entity/project/id`."""
        with as_launch_error():
            entity, project, run_id = check_run(path, field="path").split("/")
        return load_run(Line(self._connect()), entity, project, run_id)

    def runs(self, project: str | None = None, *, entity: str | None = None) -> Iterator[Run]:
        """Yield runs, newest first."""
        line = Line(self._connect())
        ask = partial(_runs_page, project=project, entity=entity)
        return (Run(line, run) for run in self._pages(ask))

    def job(self, name: str) -> Job:
        """Return one version of a job by `entity/project/name:alias`."""
        with as_launch_error():
            path, _, alias = check_job(name, field="name").rpartition(":")
        entity, project, short = path.split("/")
        return Job.from_json(
            self._ask(lambda client: client.jobs.get(entity, project, short, alias))
        )

    def create_job(
        self,
        name: str,
        kind: str,
        source: Mapping[str, Any],
        *,
        entry_point: Sequence[str] | None = None,
        args: Sequence[str] | None = None,
        run_config: Mapping[str, Any] | None = None,
        resource: str | None = None,
        resource_args: Mapping[str, Any] | None = None,
        python: str | None = None,
        config_schema: Mapping[str, Any] | None = None,
        description: str = "",
        aliases: Sequence[str] = (),
        entity: str | None = None,
        project: str | None = None,
    ) -> Job:
        """Store the next version of a job; `kind` is `git`, `code` or `image`.

        `config_schema` is a JSON Schema: a launch whose run config does not fit it is refused.
        """
        asked = {
            "name": name,
            "kind": kind,
            "source": source,
            "entry_point": entry_point,
            "args": args,
            "run_config": run_config,
            "resource": resource,
            "resource_args": resource_args,
            "python": python,
            "config_schema": config_schema,
            "description": description,
            "aliases": list(aliases),
            "entity": entity,
            "project": project,
        }
        return Job.from_json(self._ask(lambda client: client.jobs.create(_given(asked))))

    def agents(self) -> list[Agent]:
        """Return the agents that this key may see."""
        return [Agent.from_json(value) for value in self._ask(lambda client: client.agents.find())]

    def _connect(self) -> Connection:
        if self._connection is None:
            with as_launch_error():
                self._connection = connect(base_url=self._base_url, api_key=self._api_key)
        return self._connection

    def _ask(self, question: Callable[[Client], T]) -> T:
        with as_launch_error():
            return question(self._connect().client)

    def _pages(self, ask: Callable[..., dict[str, Any]]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = self._ask(partial(ask, cursor=cursor))
            yield from page["items"]
            cursor = page.get("next")
            if cursor is None:
                return


def _items_page(client: Client, cursor: str | None, **query: str | None) -> dict[str, Any]:
    return client.items.find(
        queue=query["queue"],
        state=query["state"],
        entity=query["entity"],
        project=query["project"],
        cursor=cursor,
        limit=PAGE,
    )


def _runs_page(client: Client, cursor: str | None, **query: str | None) -> dict[str, Any]:
    return client.runs.find(
        project=query["project"], entity=query["entity"], cursor=cursor, limit=PAGE
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
