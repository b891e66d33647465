"""Stores jobs, each change a new version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.artifact import JOB_TYPE
from shipway.domain.artifact_job import is_runnable, job_of
from shipway.domain.errors import Invalid, NotFound
from shipway.domain.job import Job, JobKind
from shipway.domain.names import DEFAULT_PROJECT, check_name
from shipway.domain.source import check_source
from shipway.service.access import READERS, WRITERS, check_sees, missing, own_entity, require
from shipway.service.artifact_views import version_named
from shipway.service.ports import Clock, Tx
from shipway.service.uploads import FRESH_MS, check_uploaded

LATEST = "latest"
LIST_LIMIT = 1_000
ALIASES_LIMIT = 20

_ADDRESS = re.compile(r"([^/:]+)/([^/:]+)/([^/:]+):([^/:]+)\Z")
_VERSION = re.compile(r"v\d+\Z")


class Jobs:
    """Use cases of jobs."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def create(self, tx: Tx, actor: Actor, values: Mapping[str, Any]) -> Job:
        """Store the next version of a job from its JSON values."""
        require(actor, WRITERS, "make jobs")
        kind = values.get("kind")
        if kind not in list(JobKind):
            kinds = ", ".join(JobKind)
            raise Invalid(f"kind {kind!r} is not one of {kinds}", field="kind", value=kind)
        source = values.get("source")
        if not isinstance(source, Mapping):
            raise Invalid("source must be a mapping", field="source", value=source)
        check_source(source)
        if _KINDS.get(str(source.get("kind"))) != kind:
            raise Invalid(
                f"a job of kind {kind} has no source of kind {source.get('kind')!r}",
                field="source.kind",
                value=source.get("kind"),
            )
        aliases = _strings(values, "aliases") or ()
        for alias in aliases:
            check_name(alias, field="aliases")
            if _VERSION.match(alias):
                raise Invalid(f"alias {alias!r} reads as a version", field="aliases", value=alias)
        entry_point = _strings(values, "entry_point")
        entity = own_entity(actor, values.get("entity"))
        check_uploaded(tx, entity, source, since=self._clock.now() - FRESH_MS)
        return tx.jobs.insert(
            Job(
                entity=entity,
                project=check_name(values.get("project") or DEFAULT_PROJECT, field="project"),
                name=check_name(values.get("name"), field="name"),
                version=0,
                aliases=tuple(dict.fromkeys((*aliases[:ALIASES_LIMIT], LATEST))),
                kind=JobKind(kind),
                source=dict(source),
                entry_point=entry_point,
                args=_strings(values, "args") or (),
                run_config=_mapping(values, "run_config"),
                resource=values.get("resource"),
                resource_args=_mapping(values, "resource_args"),
                python=values.get("python"),
                description=str(values.get("description") or "")[:2_000],
                created_by=actor.label,
                created_at=self._clock.now(),
            )
        )

    def get(self, tx: Tx, actor: Actor, address: str) -> Job:
        """Return the job at `entity/project/name:alias-or-version`."""
        match = _ADDRESS.match(address)
        if match is None:
            raise Invalid(
                f"job {address!r} is not of the form entity/project/name:alias-or-version",
                field="job",
                value=address,
            )
        entity, project, name, alias = match.groups()
        check_sees(actor, entity, f"job {address!r}")
        job = tx.jobs.get(entity, project, name, alias)
        if job is None:
            job = _logged(tx, entity, project, name, alias)
        if job is None:
            raise NotFound(missing(f"job {address!r}"), details={"field": "job", "value": address})
        return job

    def find(
        self, tx: Tx, actor: Actor, *, entity: str | None, project: str | None, limit: int = 100
    ) -> list[Job]:
        """Return the latest version of each job that the actor sees."""
        require(actor, READERS, "list jobs")
        if actor.role is not Role.ADMIN:
            if entity is not None:
                check_sees(actor, entity, f"entity {entity!r}")
            entity = actor.entity
        wanted = min(limit, LIST_LIMIT)
        found = tx.jobs.find(entity=entity, project=project, limit=wanted)
        logged = tx.collections.find(
            entity or actor.entity, project, type=JOB_TYPE, limit=max(0, wanted - len(found))
        )
        views = [version_named(tx, one, LATEST) for one in logged]
        return found + [job_of(view) for view in views if view is not None and is_runnable(view)]


_KINDS = {"git": JobKind.GIT, "capsule": JobKind.CODE, "image": JobKind.IMAGE}


def _logged(tx: Tx, entity: str, project: str, name: str, alias: str) -> Job | None:
    """Return the job that is an artifact of that name."""
    collection = tx.collections.named(entity, project, name)
    if collection is None or collection.type != JOB_TYPE:
        return None
    view = version_named(tx, collection, alias)
    return None if view is None else job_of(view)


def _strings(values: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    value = values.get(key)
    if value is None:
        return None
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or not all(isinstance(part, str) for part in value):
        raise Invalid(f"{key} must be a list of strings, not {value!r}", field=key, value=value)
    return tuple(value)


def _mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key) or {}
    if not isinstance(value, Mapping):
        raise Invalid(f"{key} must be a mapping, not {value!r}", field=key, value=value)
    return dict(value)
