"""Puts launches on a queue."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec

from shipway.domain.draft import Draft
from shipway.domain.draft import draft as draft_of
from shipway.domain.errors import Invalid, NotAvailable
from shipway.domain.queue import LOCAL_CONTAINER
from shipway.sdk.connection import Connection, connect, known_address
from shipway.sdk.home import choose_home
from shipway.sdk.line import Line
from shipway.sdk.queued_run import QueuedRun
from shipway.sdk.refusal import as_launch_error
from shipway.sdk.settings import Settings, here

if TYPE_CHECKING:
    from pathlib import Path

    from shipway.sdk.capsule import Capsule
    from shipway.sdk.run import Run  # `launch` alone needs it, at its end

KEY_LIMIT = 255  # characters of an idempotency key

P = ParamSpec("P")
Paths = Sequence[str | os.PathLike[str]]
_OURS = frozenset({"queue", "idempotency_key", "dry_run", "include"})  # not the draft's


def launch_add(  # noqa: PLR0917 - the signature is fixed
    uri: str | os.PathLike[str] | None = None,
    job: str | None = None,
    config: Mapping[str, Any] | None = None,
    template_variables: Mapping[str, Any] | None = None,
    project: str | None = None,
    entity: str | None = None,
    queue_name: str | None = None,
    resource: str | None = None,
    entry_point: Sequence[str] | None = None,
    name: str | None = None,
    version: str | None = None,
    docker_image: str | None = None,
    project_queue: str | None = None,
    resource_args: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    build: bool = False,  # noqa: FBT001, FBT002 - the signature is fixed
    repository: str | None = None,
    sweep_id: str | None = None,
    author: str | None = None,
    priority: int | str | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    queue: str | None = None,
    idempotency_key: str | None = None,
    dry_run: bool = False,
    include: Paths = (),
    refresh: bool = False,
) -> QueuedRun:
    """Put a launch on a queue and return its handle, once the launch is stored durably.

    Exactly one of `uri` (a directory, a git repository, a run), `job` and `docker_image`.
    `config` holds spec keys and values of the run's config; the keywords rank over it.
    An image is pinned by its digest where its registry says it (`QueuedRun.notes` says why not).
    `parameters` become `--name value` arguments and run config. `priority` is 0 critical, 1 high,
    2 medium (default), 3 low. `include` names files that a directory's packing would leave out;
    `refresh` resolves an unlocked environment anew. `build` makes the code's image first, with this
    machine's container engine, pushes it to `repository` if that is given, stores it as a job and
    queues that. The call may be repeated with the same
    `idempotency_key`: it returns the same item.

    Raises `LaunchError` with a `code`; then nothing was stored. Source: `POST /api/v1/items`.
    """
    given = dict(locals())
    with as_launch_error():
        given["uri"] = os.fspath(uri) if isinstance(uri, os.PathLike) else uri
        given["queue_name"] = _one_queue(queue_name, queue)
        if dry_run:
            raise NotAvailable(
                "dry_run is not available in this release: leave it out",
                details={"field": "dry_run"},
            )
        draft = draft_of(**{name: given[name] for name in given if name not in _OURS})
        return _add(draft, include, _checked_key(idempotency_key), build=build)


def _waiting(add: Callable[P, QueuedRun]) -> Callable[P, Run]:
    @functools.wraps(add)
    def launch(*args: P.args, **kwargs: P.kwargs) -> Run:
        """Launch as `launch_add` does, wait for the end, and return the run.

        Raises `LaunchError` also where the program never started. An interrupt ends the wait, not
        the run.
        """
        return add(*args, **kwargs).wait_until_finished()

    launch.__name__ = launch.__qualname__ = "launch"
    return launch


launch = _waiting(launch_add)


def _add(draft: Draft, include: Paths, key: str, *, build: bool) -> QueuedRun:
    settings = here()
    cache = choose_home(os.environ, explicit=settings.home).path / "cache"
    draft, capsule = _pinned(draft, settings, include, cache)
    notes: tuple[str, ...] = ()
    if draft.docker_image is not None and settings.is_image_pinned:
        draft, notes = _pin_image(draft)
    draft = _with_defaults(draft, settings)
    connection = connect(settings=settings)
    if build:
        draft, capsule = _built(draft, capsule, connection, cache)
    if capsule is not None:
        from shipway.sdk.capsule import upload  # noqa: PLC0415 - a job or an image needs none

        # the queue's agents must be able to read it, whoever submits
        blobs = connection.client.blobs.of(draft.queue_entity or draft.entity)
        upload(capsule, blobs, check=lambda: _check(draft, connection, key))
    return _post(draft, connection, key, notes)


def _pin_image(draft: Draft) -> tuple[Draft, tuple[str, ...]]:
    """Return the draft with its image's digest, or as it is with the note that says why."""
    from shipway.domain.platform import check_asked_platform  # noqa: PLC0415 - for images alone
    from shipway.sdk.pinned_image import pin_image  # noqa: PLC0415 - as above

    assert draft.docker_image is not None
    pinned = pin_image(draft.docker_image, os.environ)
    if pinned.note:
        return draft, (pinned.note,)
    check_asked_platform(pinned.source, draft.resource_args)
    return replace(draft, docker_image=None, source=pinned.source), ()


def _pinned(
    draft: Draft, settings: Settings, include: Paths, cache: Path
) -> tuple[Draft, Capsule | None]:
    """Resolve what a draft's uri means, where it has one."""
    if draft.uri is not None:
        from shipway.sdk.pinned_source import pin  # noqa: PLC0415 - a job or an image needs none

        base_url = known_address(settings)
        found = pin(draft, base_url=base_url, include=include, env=os.environ, cache=cache)
        return found.draft, found.capsule
    if include:
        raise Invalid("include names files of a directory: give its path as uri", field="include")
    return draft, None


def _built(
    draft: Draft, capsule: Capsule | None, connection: Connection, cache: Path
) -> tuple[Draft, Capsule | None]:
    """Build the image here and now and return the draft of its job; or leave it to an agent."""
    from shipway.sdk import image_build  # noqa: PLC0415 - only for those who build
    from shipway.sdk.autostart import say_on_stderr  # noqa: PLC0415 - as above

    if not image_build.can_build(os.environ):
        say_on_stderr("shipway: no container engine here: the agent that takes it builds the image")
        return replace(draft, resource=draft.resource or LOCAL_CONTAINER), capsule
    image = image_build.build_image(draft, capsule, cache=cache, env=os.environ, tell=say_on_stderr)
    return image_build.as_job(draft, image, connection.client), None


def _check(draft: Draft, connection: Connection, key: str) -> None:
    """Let the server refuse the launch before files are sent that nobody would use."""
    try:
        _post(draft, connection, key)
    except Invalid as error:
        if error.details.get("field") != "source.digest":  # the files that are sent next
            raise


def _post(draft: Draft, connection: Connection, key: str, notes: tuple[str, ...] = ()) -> QueuedRun:
    item = connection.client.items.add(draft.to_json(), idempotency_key=key)
    return QueuedRun(Line(connection), item, notes=notes)


def _with_defaults(draft: Draft, settings: Settings) -> Draft:
    """Fill in what the environment says; those of a job or an original run rank over it."""
    has_own = draft.job is not None or draft.run is not None
    return replace(
        draft,
        queue=draft.queue or settings.queue,
        entity=draft.entity or (None if has_own else settings.entity),
        project=draft.project or (None if has_own else settings.project),
    )


def _one_queue(queue_name: str | None, queue: str | None) -> str | None:
    if queue is not None and queue_name is not None and queue != queue_name:
        raise Invalid(
            f"queue {queue!r} and queue_name {queue_name!r} are the same parameter: give one",
            field="queue",
            value=queue,
        )
    return queue_name if queue is None else queue


def _checked_key(key: str | None) -> str:
    """Return the caller's key, or one of this call: a lost answer is asked for again with it."""
    if key is None:
        return os.urandom(16).hex()
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise Invalid(
            "idempotency_key must be printable ASCII text", field="idempotency_key", value=key
        )
    if not 1 <= len(key) <= KEY_LIMIT:
        raise Invalid(
            f"idempotency_key must have 1 to {KEY_LIMIT} characters, not {len(key)}",
            field="idempotency_key",
            value=key,
        )
    return key
