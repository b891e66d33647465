"""The one table of REST routes: address, handler, roles and what it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.domain.actor import Role
from shipway.server.body import BodyRule
from shipway.server.rest import (
    adds,
    agents,
    blobs,
    items,
    jobs,
    leases,
    logs,
    people,
    queues,
    runs,
    status,
    sweeps,
)
from shipway.server.settings import Limits

API = "/api/v1"

NOBODY: frozenset[Role] = frozenset()  # no key is needed
EVERYBODY = frozenset(Role)
PEOPLE = frozenset({Role.ADMIN, Role.MEMBER, Role.VIEWER})
SUBMITTERS = frozenset({Role.ADMIN, Role.MEMBER})
ADMINS = frozenset({Role.ADMIN})
AGENTS = SUBMITTERS | {Role.AGENT}  # a person's own key may drive an agent
WATCHERS = PEOPLE | {Role.AGENT}
REPORTERS = SUBMITTERS | {Role.JOB}  # a running program writes to its own run
READERS = EVERYBODY  # each sees only what the service lets it see


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address with a method."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    roles: frozenset[Role]
    summary: str
    status: int = 200
    body: type | None = None  # of a hot route, which FastAPI does not read
    is_raw: bool = False  # the body is bytes
    is_hot: bool = False  # served by plain Starlette
    limit: str = "body"  # the limit of its body: a field of `Limits`


def _table() -> Sequence[Route]:
    return (
        *_item_routes(),
        *_lease_routes(),
        *_log_routes(),
        *_blob_routes(),
        *_queue_routes(),
        *_job_routes(),
        *_run_routes(),
        *_sweep_routes(),
        *_agent_routes(),
        *_people_routes(),
        Route(method="GET", path="/healthz", handler=status.health, roles=NOBODY,
              summary="Say that the server answers"),
        Route(method="GET", path=f"{API}/openapi.json", handler=status.describe, roles=EVERYBODY,
              summary="This description of every route"),
        Route(method="GET", path="/metrics", handler=status.metrics, roles=WATCHERS,
              summary="Numbers for Prometheus"),
    )  # fmt: skip


def _item_routes() -> Sequence[Route]:
    path = f"{API}/items"
    one = path + "/{item_id}"
    return (
        Route(method="POST", path=path, handler=adds.add, roles=SUBMITTERS, status=201,
              summary="Add an item", body=dict, is_hot=True),
        Route(method="POST", path=path + "/batch", handler=adds.add_batch, roles=SUBMITTERS,
              summary="Add up to 1,000 items, each for itself", body=adds.BatchBody, is_hot=True,
              limit="batch_body"),
        Route(method="GET", path=path, handler=items.find, roles=PEOPLE,
              summary="List items, newest first"),
        Route(method="GET", path=one, handler=items.get, roles=READERS,
              summary="Return an item"),
        Route(method="GET", path=one + "/wait", handler=items.wait, roles=WATCHERS,
              summary="Wait until an item started or ended"),
        Route(method="GET", path=one + "/events", handler=items.events, roles=WATCHERS,
              summary="What happened to an item; also as server-sent events"),
        Route(method="GET", path=one + "/explain", handler=items.explain, roles=WATCHERS,
              summary="Why an item stands as it does"),
        Route(method="POST", path=one + "/stop", handler=items.stop, roles=SUBMITTERS,
              summary="Ask for an item's end"),
        Route(method="POST", path=one + "/retry", handler=items.retry, roles=SUBMITTERS,
              status=201, summary="Add an ended item again"),
        Route(method="POST", path=one + "/priority", handler=items.set_priority,
              roles=SUBMITTERS, summary="Change a waiting item's priority"),
        Route(method="DELETE", path=one, handler=items.delete, roles=SUBMITTERS,
              summary="Stop an item and leave a tombstone"),
    )  # fmt: skip


def _lease_routes() -> Sequence[Route]:
    return (
        Route(method="POST", path=f"{API}/leases", handler=leases.lease, roles=AGENTS,
              summary="Lease items, with reports; a long poll", body=leases.LeasesBody,
              is_hot=True),
        Route(method="POST", path=f"{API}/leases/renew", handler=leases.renew, roles=AGENTS,
              summary="Renew leases", body=leases.RenewBody, is_hot=True),
        Route(method="POST", path=f"{API}/leases/report", handler=leases.report, roles=AGENTS,
              summary="Report on leases", body=leases.ReportsBody, is_hot=True),
        Route(method="POST", path=API + "/items/{item_id}/pin", handler=leases.pin, roles=AGENTS,
              summary="Pin an item's resolved lock", body=leases.PinBody, is_hot=True),
    )  # fmt: skip


def _log_routes() -> Sequence[Route]:
    return (
        Route(method="POST", path=API + "/items/{item_id}/log/{name}", handler=logs.append,
              roles=AGENTS, summary="Append a zlib-compressed chunk to a log", is_raw=True,
              is_hot=True, limit="log_body"),
        Route(method="GET", path=API + "/items/{item_id}/logs", handler=logs.read, roles=READERS,
              summary="Read a log: raw frames, or lines as server-sent events"),
    )  # fmt: skip


def _blob_routes() -> Sequence[Route]:
    path = f"{API}/blobs"
    keepers = AGENTS | {Role.JOB}
    return (
        Route(method="POST", path=path + "/missing", handler=blobs.missing, roles=keepers,
              summary="Which blobs are not stored yet"),
        Route(method="POST", path=path + "/pack", handler=blobs.put_pack, roles=keepers,
              status=201, summary="Store many small blobs", is_raw=True, limit="pack_body"),
        Route(method="POST", path=path + "/fetch", handler=blobs.fetch, roles=READERS,
              summary="Return many small blobs"),
        Route(method="PUT", path=path + "/{digest}", handler=blobs.put, roles=keepers,
              status=201, summary="Store a blob", is_raw=True, limit="blob_body"),
        Route(method="GET", path=path + "/{digest}", handler=blobs.get, roles=READERS,
              summary="Return a blob"),
    )  # fmt: skip


def _queue_routes() -> Sequence[Route]:
    path = f"{API}/queues"
    one = path + "/{name}"
    return (
        Route(method="POST", path=path, handler=queues.create, roles=SUBMITTERS, status=201,
              summary="Make a queue"),
        Route(method="GET", path=path, handler=queues.find, roles=PEOPLE, summary="List queues"),
        Route(method="GET", path=one, handler=queues.get, roles=PEOPLE, summary="Return a queue"),
        Route(method="PATCH", path=one, handler=queues.update, roles=SUBMITTERS,
              summary="Change a queue's settings"),
        Route(method="DELETE", path=one, handler=queues.delete, roles=SUBMITTERS,
              summary="Delete a queue in which nothing waits or runs"),
        Route(method="POST", path=one + "/pause", handler=queues.pause, roles=SUBMITTERS,
              summary="Lease nothing more from a queue"),
        Route(method="POST", path=one + "/resume", handler=queues.resume, roles=SUBMITTERS,
              summary="Let a paused queue go on"),
    )  # fmt: skip


def _job_routes() -> Sequence[Route]:
    path = f"{API}/jobs"
    return (
        Route(method="POST", path=path, handler=jobs.create, roles=SUBMITTERS, status=201,
              summary="Store a job's next version"),
        Route(method="GET", path=path, handler=jobs.find, roles=PEOPLE, summary="List jobs"),
        Route(method="GET", path=path + "/{entity}/{project}/{address}", handler=jobs.get,
              roles=WATCHERS, summary="Return a job by NAME:ALIAS"),
    )  # fmt: skip


def _run_routes() -> Sequence[Route]:
    path = f"{API}/runs"
    one = path + "/{entity}/{project}/{run_id}"
    return (
        Route(method="GET", path=path, handler=runs.find, roles=PEOPLE, summary="List runs"),
        Route(method="GET", path=one, handler=runs.get, roles=READERS, summary="Return a run"),
        Route(method="PATCH", path=one, handler=runs.update, roles=REPORTERS,
              summary="Merge values into a run's config and summary"),
        Route(method="GET", path=one + "/history", handler=runs.history, roles=READERS,
              summary="Rows of a run's history"),
        Route(method="POST", path=one + "/history", handler=runs.add_history, roles=REPORTERS,
              summary="Append rows to a run's history"),
        Route(method="GET", path=one + "/console", handler=runs.console, roles=READERS,
              summary="Lines that a run's own client saw; a launch has its item's log"),
        Route(method="POST", path=one + "/stop", handler=runs.stop, roles=SUBMITTERS,
              summary="Ask for a run's end"),
        Route(method="GET", path=one + "/files", handler=runs.files, roles=READERS,
              summary="List a run's files"),
        Route(method="GET", path=one + "/files/{path:path}", handler=runs.file, roles=READERS,
              summary="Return a file's bytes"),
    )  # fmt: skip


def _sweep_routes() -> Sequence[Route]:
    path = f"{API}/sweeps"
    one = path + "/{entity}/{project}/{sweep_id}"
    return (
        Route(method="GET", path=path, handler=sweeps.find, roles=PEOPLE,
              summary="List a project's sweeps, newest first"),
        Route(method="GET", path=one, handler=sweeps.get, roles=PEOPLE, summary="Return a sweep"),
        Route(method="PATCH", path=one, handler=sweeps.update, roles=SUBMITTERS,
              summary="Let a sweep go on, pause or end"),
        Route(method="GET", path=one + "/runs", handler=sweeps.runs, roles=PEOPLE,
              summary="List a sweep's runs in the order in which they were made"),
    )  # fmt: skip


def _agent_routes() -> Sequence[Route]:
    path = f"{API}/agents"
    one = path + "/{agent_id}"
    return (
        Route(method="POST", path=path, handler=agents.register, roles=AGENTS, status=201,
              summary="Register an agent"),
        Route(method="GET", path=path, handler=agents.find, roles=PEOPLE, summary="List agents"),
        Route(method="GET", path=one, handler=agents.get, roles=WATCHERS,
              summary="Return an agent"),
        Route(method="POST", path=one + "/drain", handler=agents.drain, roles=AGENTS,
              summary="Ask an agent to take nothing new"),
        Route(method="POST", path=one + "/resume", handler=agents.resume, roles=AGENTS,
              summary="Let a draining agent take work again"),
        Route(method="POST", path=one + "/stop", handler=agents.stop, roles=AGENTS,
              summary="Ask an agent to end"),
        Route(method="POST", path=one + "/facts", handler=agents.tell, roles=AGENTS,
              summary="Change facts of an agent"),
        Route(method="POST", path=one + "/goodbye", handler=agents.leave, roles=AGENTS,
              summary="Say that an agent has ended"),
    )  # fmt: skip


def _people_routes() -> Sequence[Route]:
    return (
        Route(method="POST", path=f"{API}/users", handler=people.create_user, roles=ADMINS,
              status=201, summary="Add a user"),
        Route(method="GET", path=f"{API}/users", handler=people.find_users, roles=ADMINS,
              summary="List users"),
        Route(method="POST", path=API + "/users/{name}/disable", handler=people.disable_user,
              roles=ADMINS, summary="Disable a user with all their keys"),
        Route(method="POST", path=API + "/users/{name}/enable", handler=people.enable_user,
              roles=ADMINS, summary="Enable a user again"),
        Route(method="POST", path=f"{API}/keys", handler=people.create_key, roles=PEOPLE,
              status=201, summary="Make a key, shown once"),
        Route(method="GET", path=f"{API}/keys", handler=people.find_keys, roles=PEOPLE,
              summary="List keys"),
        Route(method="DELETE", path=API + "/keys/{key_id}", handler=people.revoke_key,
              roles=PEOPLE, summary="Revoke a key"),
        Route(method="GET", path=f"{API}/me", handler=people.me, roles=EVERYBODY,
              summary="Who the key belongs to"),
        Route(method="POST", path=f"{API}/signin-links", handler=people.make_link, roles=PEOPLE,
              status=201, summary="Make a one-time sign-in address"),
        Route(method="GET", path=f"{API}/resources", handler=people.resources, roles=WATCHERS,
              summary="The resources with their schemas"),
    )  # fmt: skip


ROUTES: Sequence[Route] = _table()


def body_rule(limits: Limits, method: str, path: str) -> BodyRule:
    """Return what an address takes, before its route is looked for."""
    rest = path.removeprefix(API)
    if rest == "/items/batch":
        return BodyRule(limit=limits.batch_body, is_json=True)
    if rest == "/blobs/pack":
        return BodyRule(limit=limits.pack_body, is_json=False)
    if rest.startswith("/blobs/") and method == "PUT":
        return BodyRule(limit=limits.blob_body, is_json=False)
    if "/log/" in rest:
        return BodyRule(limit=limits.log_body, is_json=False)
    return BodyRule(limit=limits.body, is_json=True)
