"""What to launch: the submitter's draft, completed into an immutable spec."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shipway.domain.config_keys import read_config
from shipway.domain.draft_fields import check_field
from shipway.domain.errors import Invalid, NotAvailable, TooLarge
from shipway.domain.ids import RunId
from shipway.domain.job import Job
from shipway.domain.json_value import merge, overlay, plain_mapping
from shipway.domain.names import DEFAULT_PROJECT
from shipway.domain.parameters import check_parameters, to_args, to_config
from shipway.domain.queue import ANY_RESOURCE, Priority, Queue
from shipway.domain.source import SourceKind

SIZE_LIMIT = 1 << 20  # bytes of a draft or a spec as JSON
DEFAULT_ENTRY_POINT = ("main.py",)
LOCAL_PROCESS = "local-process"
LOCAL_CONTAINER = "local-container"

_MERGED = frozenset({"resource_args", "run_config", "parameters", "files", "artifacts"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a submitter asks for: checked by itself, not yet against queue, job and server.

    Nulls inside the dicts stay: they remove a key of what lies below.
    """

    queue: str | None = None
    project_queue: str | None = None
    queue_entity: str | None = None
    source: Mapping[str, Any] | None = None  # pinned
    job: str | None = None  # entity/project/name:alias
    run: str | None = None  # entity/project/id, to be launched again
    docker_image: str | None = None
    uri: str | None = None  # as it was given
    version: str | None = None  # the branch, tag or commit asked for
    entity: str | None = None
    project: str | None = None
    name: str | None = None
    run_id: str | None = None
    author: str | None = None
    sweep_id: str | None = None
    priority: Priority | None = None
    resource: str | None = None
    resource_args: Mapping[str, Any] = field(default_factory=dict)  # by resource
    entry_point: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    run_config: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)  # in order
    files: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    dockerfile: str | None = None
    python: str | None = None
    refresh: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the draft as JSON values; what was not given is left out."""
        return _to_json(self)

    @classmethod
    def from_json(cls, value: object) -> Draft:
        """Read and check a draft; raise `Invalid` or `TooLarge` naming the field."""
        return _draft_of(_known_fields(cls, value, "draft"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """What will run: complete, canonical, immutable once queued."""

    queue: str
    project_queue: str
    queue_entity: str
    source: Mapping[str, Any]
    job: str | None = None  # where it came from: entity/project/name:vN
    run: str | None = None  # where it came from: entity/project/id
    uri: str | None = None
    version: str | None = None
    entity: str
    project: str
    name: str | None = None
    run_id: RunId
    author: str
    sweep_id: str | None = None
    priority: Priority = Priority.MEDIUM
    resource: str
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    entry_point: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    run_config: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    dockerfile: str | None = None
    python: str | None = None
    refresh: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values; lists are always there, absent values are left out."""
        return {"entry_point": [], "args": [], **_to_json(self)}

    def dumps(self) -> str:
        """Return the canonical JSON text: sorted keys, no spaces."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, value: object) -> LaunchSpec:
        """Read what `to_json` wrote; raise `Invalid` naming the field."""
        known = _known_fields(cls, value, "spec")
        entry_point = tuple(known.pop("entry_point", ()))  # empty for an image
        checked = {name: check_field(name, given) for name, given in known.items()}
        try:
            return cls(entry_point=entry_point, **checked)
        except TypeError as error:
            raise Invalid(f"the spec lacks a field: {error}", field="spec") from None


def draft(  # noqa: PLR0917 - the signature is fixed
    uri: str | None = None,
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
    refresh: bool = False,
) -> Draft:
    """Merge the keywords over `config` into a checked draft; arguments are never changed.

    Raises `Invalid` or `TooLarge` naming the field, `NotAvailable` for what this release does
    not do.
    """
    _refuse_unavailable(queue_name, template_variables, build=build, repository=repository)
    keywords = {
        "uri": uri,
        "job": job,
        "project": project,
        "entity": entity,
        "queue": queue_name,
        "resource": resource,
        "entry_point": entry_point,
        "name": name,
        "version": version,
        "docker_image": docker_image,
        "project_queue": project_queue,
        "run_id": run_id,
        "sweep_id": sweep_id,
        "author": author,
        "priority": priority,
        "refresh": refresh,
    }
    merged = read_config(config)
    merged.update({key: value for key, value in keywords.items() if value is not None})
    merged["resource_args"] = overlay(
        merged.get("resource_args", {}), plain_mapping(resource_args, "resource_args")
    )
    merged["parameters"] = plain_mapping(parameters, "parameters")
    return _draft_of(merged)


def complete(
    draft: Draft,
    *,
    job: Job | None,
    original: LaunchSpec | None,
    queue: Queue,
    run_id: RunId,
    entity: str,
    project: str | None,
    author: str,
    known_resources: Sequence[str],
) -> LaunchSpec:
    """Complete a draft: it ranks over its job or original run, that over the queue's defaults.

    `entity`, `project` and `author` are the defaults where neither draft nor job names one.
    """
    below: Job | LaunchSpec | None = job or original
    source = _source(draft, below)
    is_image = source["kind"] == SourceKind.IMAGE
    asked = draft.resource or (below.resource if below else None)
    entry_point = draft.entry_point or (below.entry_point if below else None)
    args = draft.args if draft.args is not None else (below.args if below else ())
    run_config = merge({}, below.run_config if below else {})
    defaults = merge({}, queue.config.get("resource_args") or {})
    resource_args = merge(merge(defaults, below.resource_args if below else {}), {})
    spec = LaunchSpec(
        queue=queue.name,
        project_queue=queue.project,
        queue_entity=queue.entity,
        source=source,
        job=job.address if job else None,
        run=draft.run,
        uri=draft.uri,
        version=draft.version,
        entity=draft.entity or (below.entity if below else entity),
        project=draft.project or (below.project if below else project) or DEFAULT_PROJECT,
        name=draft.name,
        run_id=run_id,
        author=draft.author or author,
        sweep_id=draft.sweep_id,
        priority=draft.priority if draft.priority is not None else Priority.MEDIUM,
        resource=_resource(asked, queue, is_image=is_image, known=known_resources),
        resource_args=merge(resource_args, draft.resource_args),
        entry_point=tuple(entry_point or (() if is_image else DEFAULT_ENTRY_POINT)),
        args=(*args, *to_args(draft.parameters)),
        run_config=merge(merge(run_config, draft.run_config), to_config(draft.parameters)),
        files=merge(original.files if original else {}, draft.files),
        artifacts=merge(original.artifacts if original else {}, draft.artifacts),
        dockerfile=draft.dockerfile or (original.dockerfile if original else None),
        python=draft.python or (below.python if below else None),
        refresh=draft.refresh,
    )
    _check_resource_args(spec.resource_args, known_resources)
    _check_size(spec.to_json(), "the completed launch spec")
    return spec


def _source(draft: Draft, below: Job | LaunchSpec | None) -> Mapping[str, Any]:
    if draft.source is not None:
        return draft.source
    if draft.docker_image is not None:
        return {"kind": SourceKind.IMAGE.value, "image": draft.docker_image}
    if below is not None:
        return below.source
    raise Invalid(
        f"the uri {draft.uri!r} is not resolved: send the pinned commit as `source`, as "
        "launch_add and the shipway command do",
        field="uri",
        value=draft.uri,
    )


def _resource(asked: str | None, queue: Queue, *, is_image: bool, known: Sequence[str]) -> str:
    if asked is not None and asked not in known:
        raise Invalid(
            f"no resource is named {asked!r} (known: {', '.join(sorted(known))})",
            field="resource",
            value=asked,
        )
    if queue.resource != ANY_RESOURCE:
        if asked not in (None, queue.resource):
            raise Invalid(
                f"queue {queue.name!r} has the resource {queue.resource!r}, "
                f"the launch asks for {asked!r}: leave resource out, or use another queue",
                field="resource",
                value=asked,
            )
        asked = queue.resource
    if asked is None:
        asked = LOCAL_CONTAINER if is_image else LOCAL_PROCESS
    if is_image and asked == LOCAL_PROCESS:
        raise Invalid(
            "an image cannot run as the resource 'local-process': use 'local-container'",
            field="resource",
            value=asked,
        )
    return asked


def _check_resource_args(resource_args: Mapping[str, Any], known: Sequence[str]) -> None:
    for name, args in resource_args.items():
        if name not in known:
            raise Invalid(
                f"resource_args has {name!r}, which is no resource "
                f"(known: {', '.join(sorted(known))})",
                field=f"resource_args.{name}",
                value=name,
            )
        if not isinstance(args, Mapping):
            raise Invalid(
                f"resource_args.{name} must be a dict, not {type(args).__name__}",
                field=f"resource_args.{name}",
                value=args,
            )


def _draft_of(values: Mapping[str, Any]) -> Draft:
    checked = {name: check_field(name, value) for name, value in values.items()}
    made = Draft(**{name: value for name, value in checked.items() if value is not None})
    _check_sources(made)
    check_parameters(made.parameters)
    _check_size(made.to_json(), "the launch")
    return made


def _check_sources(made: Draft) -> None:
    given = {
        "source": made.source is not None,
        "job": made.job is not None,
        "run": made.run is not None,
        "docker_image": made.docker_image is not None,
    }
    named = [name for name, is_given in given.items() if is_given]
    is_pinned = named in (["source"], ["run"])  # a uri was resolved into one of these
    if made.uri is not None and not is_pinned:
        named.insert(0, "uri")
    if len(named) != 1:
        found = " and ".join(named) if named else "none"
        raise Invalid(
            f"exactly one of uri, job and docker_image must be given, not {found}",
            field="uri",
            value=found,
        )
    if made.version is not None and named[0] in ("job", "docker_image"):
        raise Invalid(
            f"version {made.version!r} goes with a uri, not with {named[0]}",
            field="version",
            value=made.version,
        )


def _refuse_unavailable(
    queue_name: object, template_variables: object, *, build: object, repository: object
) -> None:
    refused = {
        "template_variables": template_variables,
        "build": build,
        "repository": repository,
    }
    for name, value in refused.items():
        if value:
            raise NotAvailable(
                f"{name} is not available in this release: leave it out",
                details={"field": name},
            )
    if isinstance(queue_name, list | tuple):
        raise NotAvailable(
            "a list of queues is not available in this release: name one",
            details={"field": "queue_name"},
        )


def _check_size(value: Mapping[str, Any], what: str) -> None:
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size <= SIZE_LIMIT:
        return
    large = {name: len(json.dumps(part)) for name, part in value.items()}
    largest = max(large, key=lambda name: large[name])
    raise TooLarge(
        f"{what} is {size:,} bytes of JSON, the limit is {SIZE_LIMIT:,} (1 MiB); most of it is "
        f"{largest} with {large[largest]:,}: put data into files of the source instead",
        details={"field": largest, "size": size, "limit": SIZE_LIMIT},
    )


def _known_fields(cls: type[Draft | LaunchSpec], value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Invalid(f"the {what} must be an object, not {type(value).__name__}", field=what)
    for name in value:
        if name not in cls.__slots__:
            raise Invalid(
                f"the {what} has the unknown field {name!r} (known: {', '.join(cls.__slots__)})",
                field=str(name),
                value=value[name],
            )
    return {name: given for name, given in value.items() if given is not None}


def _to_json(made: Draft | LaunchSpec) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in made.__slots__:
        value = getattr(made, name)
        if value is None or value is False or (name in _MERGED and not value):
            continue
        if isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Priority):
            value = int(value)
        out[name] = value
    return out
