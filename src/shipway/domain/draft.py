"""What a submitter asks for, merged from keywords and `config`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shipway.domain.config_keys import read_config
from shipway.domain.docker_options import own_spelling
from shipway.domain.draft_fields import check_field
from shipway.domain.errors import Invalid, NotAvailable, TooLarge
from shipway.domain.json_value import overlay, plain_mapping
from shipway.domain.parameters import check_parameters
from shipway.domain.queue import LOCAL_PROCESS, Priority

SIZE_LIMIT = 1 << 20  # bytes of a draft or a spec as JSON
DEFAULT_ENTRY_POINT = ("main.py",)

encode_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class _Written:
    """Keeps the text of what never changes: it is asked for more than once."""

    __slots__ = ("_text",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(_Written):
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
    template_variables: Mapping[str, Any] = field(default_factory=dict)  # values, by name
    entry_point: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    run_config: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)  # in order
    files: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    dockerfile: str | None = None
    repository: str | None = None  # where an image is pushed to that is built of it
    python: str | None = None
    refresh: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the draft as JSON values; what was not given is left out."""
        return fields_to_json(self, self.__slots__)

    def dumps(self) -> str:
        """Return the canonical JSON text: sorted keys, no spaces, ASCII."""
        text: str | None = getattr(self, "_text", None)
        if text is None:
            text = encode_canonical(self.to_json())
            object.__setattr__(self, "_text", text)
        return text

    @classmethod
    def from_json(cls, value: object) -> Draft:
        """Read and check a draft; raise `Invalid` or `TooLarge` naming the field."""
        return _draft_of(known_fields(cls.__slots__, value, "draft"))


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

    `build` is only checked: whoever submits builds. Raises `Invalid` or `TooLarge` naming the
    field, `NotAvailable` for what this release does not do.
    """
    _refuse_unavailable(queue_name)
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
        "repository": repository,
        "refresh": refresh,
    }
    merged = read_config(config)
    merged.update({key: value for key, value in keywords.items() if value is not None})
    merged["resource_args"] = overlay(
        merged.get("resource_args", {}), plain_mapping(resource_args, "resource_args")
    )
    merged["template_variables"] = {
        **merged.get("template_variables", {}),
        **plain_mapping(template_variables, "template_variables"),
    }
    merged["parameters"] = plain_mapping(parameters, "parameters")
    made = _draft_of(merged)
    if build:
        _check_build(made)
    return made


def _draft_of(values: Mapping[str, Any]) -> Draft:
    checked = {name: check_field(name, value) for name, value in values.items()}
    if checked.get("resource_args"):
        checked["resource_args"] = own_spelling(checked["resource_args"])
    made = Draft(**{name: value for name, value in checked.items() if value is not None})
    _check_sources(made)
    check_parameters(made.parameters)
    if len(made.dumps()) > SIZE_LIMIT:  # as ASCII, which is never shorter
        check_size(made.to_json(), "the launch")
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


def _check_build(made: Draft) -> None:
    """Raise `Invalid` where no image can be built at submit: that needs code, and containers."""
    if made.resource == LOCAL_PROCESS:
        raise Invalid(
            f"build makes an image, which cannot run as the resource {LOCAL_PROCESS!r}: "
            "leave build out, or use 'local-container'",
            field="build",
            value=made.resource,
        )
    if made.uri is None and made.source is None:
        raise Invalid("build goes with a uri: there is no code to build from", field="build")


def _refuse_unavailable(queue_name: object) -> None:
    if isinstance(queue_name, list | tuple):
        raise NotAvailable(
            "a list of queues is not available in this release: name one",
            details={"field": "queue_name"},
        )


def check_size(value: Mapping[str, Any], what: str) -> None:
    """Raise `TooLarge` for JSON over the limit, naming its largest part."""
    size = len(_encode(value).encode())
    if size <= SIZE_LIMIT:
        return
    large = {name: len(_encode(part)) for name, part in value.items()}
    largest = max(large, key=lambda name: large[name])
    raise TooLarge(
        f"{what} is {size:,} bytes of JSON, the limit is {SIZE_LIMIT:,} (1 MiB); most of it is "
        f"{largest} with {large[largest]:,}: put data into files of the source instead",
        details={"field": largest, "size": size, "limit": SIZE_LIMIT},
    )


def known_fields(names: Sequence[str], value: object, what: str) -> dict[str, Any]:
    """Return the fields that are given; raise `Invalid` for one that is unknown."""
    if not isinstance(value, Mapping):
        raise Invalid(f"the {what} must be an object, not {type(value).__name__}", field=what)
    for name in value:
        if name not in names:
            raise Invalid(
                f"the {what} has the unknown field {name!r} (known: {', '.join(names)})",
                field=str(name),
                value=value[name],
            )
    return {name: given for name, given in value.items() if given is not None}


def fields_to_json(made: object, names: Sequence[str]) -> dict[str, Any]:
    """Return a dataclass's fields as JSON values; what says nothing is left out."""
    out: dict[str, Any] = {}
    for name in names:
        value = getattr(made, name)
        if value is None or value is False or (not value and isinstance(value, dict)):
            continue
        if isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Priority):
            value = int(value)
        out[name] = value
    return out
