"""What to launch: a submitter's draft, completed into an immutable spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shipway.domain.docker_options import own_spelling
from shipway.domain.draft import (
    DEFAULT_ENTRY_POINT,
    SIZE_LIMIT,
    Draft,
    check_size,
    draft,
    encode_canonical,
    fields_to_json,
    known_fields,
)
from shipway.domain.draft_fields import check_field
from shipway.domain.errors import Invalid
from shipway.domain.ids import RunId
from shipway.domain.job import Job
from shipway.domain.json_value import merge
from shipway.domain.names import DEFAULT_PROJECT
from shipway.domain.parameters import to_args, to_config
from shipway.domain.platform import check_asked_platform
from shipway.domain.queue import ANY_RESOURCE, LOCAL_CONTAINER, LOCAL_PROCESS, Priority, Queue
from shipway.domain.source import SourceKind
from shipway.domain.template import choose_values, fill, read_variables, templated

__all__ = [
    "DEFAULT_ENTRY_POINT",
    "SIZE_LIMIT",
    "Draft",
    "LaunchSpec",
    "complete",
    "draft",
    "encode_canonical",
]


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
    template_variables: Mapping[str, Any] = field(default_factory=dict)  # the values used
    entry_point: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    run_config: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    dockerfile: str | None = None
    repository: str | None = None  # where an image is pushed to that is built of it
    python: str | None = None
    refresh: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values; lists are always there, absent values are left out."""
        return {"entry_point": [], "args": [], **fields_to_json(self, self.__slots__)}

    def dumps(self) -> str:
        """Return the canonical JSON text, sorted keys, no spaces; `TooLarge` over the limit."""
        text = encode_canonical(self.to_json())
        if len(text) > SIZE_LIMIT:
            check_size(self.to_json(), "the completed launch spec")
        return text

    @classmethod
    def from_json(cls, value: object) -> LaunchSpec:
        """Read what `to_json` wrote; raise `Invalid` naming the field."""
        known = known_fields(cls.__slots__, value, "spec")
        entry_point = tuple(known.pop("entry_point", ()))  # empty for an image
        checked = {name: check_field(name, given) for name, given in known.items()}
        try:
            return cls(entry_point=entry_point, **checked)
        except TypeError as error:
            raise Invalid(f"the spec lacks a field: {error}", field="spec") from None


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
    asked = (
        draft.resource
        or (below.resource if below else None)
        or _implied(draft, queue, known_resources)
    )
    entry_point = draft.entry_point or (below.entry_point if below else None)
    args = draft.args if draft.args is not None else (below.args if below else ())
    run_config = merge(merge({}, below.run_config if below else {}), draft.run_config)
    values = _template_values(draft, original, queue)
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
        resource_args=_resource_args(draft, below, queue, values),
        template_variables=values,
        entry_point=tuple(entry_point or (() if is_image else DEFAULT_ENTRY_POINT)),
        args=(*args, *to_args(draft.parameters)),
        run_config=merge(run_config, to_config(draft.parameters)),
        files=merge(original.files if original else {}, draft.files),
        artifacts=merge(original.artifacts if original else {}, draft.artifacts),
        dockerfile=draft.dockerfile or (original.dockerfile if original else None),
        repository=draft.repository or (original.repository if original else None),
        python=draft.python or (below.python if below else None),
        refresh=draft.refresh,
    )
    _check_resource_args(spec.resource_args, known_resources)
    if is_image:
        check_asked_platform(source, spec.resource_args)
    return spec


def _template_values(draft: Draft, original: LaunchSpec | None, queue: Queue) -> dict[str, Any]:
    """Return the values of the queue's variables; a run that is launched again keeps its own."""
    if not queue.template_variables and not draft.template_variables:
        return {}
    variables = read_variables(queue.template_variables)
    before = original.template_variables if original is not None else {}
    kept = {name: value for name, value in before.items() if name in variables}
    return choose_values(variables, {**kept, **draft.template_variables}, queue=queue.name)


def _resource_args(
    draft: Draft, below: Job | LaunchSpec | None, queue: Queue, values: Mapping[str, Any]
) -> dict[str, Any]:
    config = own_spelling(queue.config.get("resource_args") or {}, field="config.resource_args")
    merged = merge({}, own_spelling(fill(config, values)) if values else config)
    merged = merge(merged, own_spelling(below.resource_args) if below else {})
    if isinstance(below, LaunchSpec) and draft.template_variables:
        # what the original run had of the queue's config holds its values: these are newer
        newer = fill(templated(config, list(draft.template_variables)), values)
        merged = merge(merged, own_spelling(newer))
    return merge(merged, draft.resource_args)


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


def _implied(draft: Draft, queue: Queue, known: Sequence[str]) -> str | None:
    """Return the one resource that a submitter gives arguments for, on a queue of any."""
    given = [name for name, args in draft.resource_args.items() if args is not None]
    is_clear = queue.resource == ANY_RESOURCE and len(given) == 1 and given[0] in known
    return given[0] if is_clear else None


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
