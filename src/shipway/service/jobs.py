"""Stores jobs, each change a new version of an artifact."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.artifact import (
    JOB_TYPE,
    LATEST,
    Artifact,
    ArtifactState,
    Collection,
    check_alias,
)
from shipway.domain.artifact_job import is_runnable, job_of, values_of
from shipway.domain.config_schema import checkable
from shipway.domain.docker_options import own_spelling
from shipway.domain.errors import Invalid, NotFound
from shipway.domain.job import Job, JobKind
from shipway.domain.names import DEFAULT_PROJECT, check_name
from shipway.domain.source import check_source
from shipway.service.access import READERS, WRITERS, check_sees, missing, own_entity, require
from shipway.service.artifact_collections import collection_for
from shipway.service.artifact_views import version_named, view_of
from shipway.service.ports import Clock, Tx
from shipway.service.uploads import FRESH_MS, check_uploaded

LIST_LIMIT = 1_000
ALIASES_LIMIT = 20
NAMED = 10  # jobs or aliases that a refusal names
DESCRIPTION_LIMIT = 2_000  # characters

_ADDRESS = re.compile(r"([^/:]+)/([^/:]+)/([^/:]+):([^/:]+)\Z")
_KINDS = {"git": JobKind.GIT, "capsule": JobKind.CODE, "image": JobKind.IMAGE}


class Jobs:
    """Use cases of jobs."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def create(self, tx: Tx, actor: Actor, values: Mapping[str, Any]) -> Job:
        """Store the next version of a job from its JSON values.

        Its files, which only clients of artifacts read, are made when one asks for them.
        """
        require(actor, WRITERS, "make jobs")
        now = self._clock.now()
        job = _read(values, entity=own_entity(actor, values.get("entity")))
        check_uploaded(tx, job.entity, job.source, since=now - FRESH_MS)
        collection = collection_for(
            tx,
            Collection(
                seq=0,
                entity=job.entity,
                project=job.project,
                name=job.name,
                type=JOB_TYPE,
                created_at=now,
                created_by=actor.label,
            ),
        )
        made = tx.artifacts.insert(
            Artifact(
                seq=0,
                collection=collection.seq,
                state=ArtifactState.PENDING,
                digest="",
                description=job.description or None,
                created_by=actor.user,
                created_at=now,
                updated_at=now,
            )
        )
        version = replace(
            made,
            state=ArtifactState.COMMITTED,
            version=tx.collections.number(collection.seq),
            job=values_of(job),
        )
        tx.artifacts.amend(version)
        for alias in job.aliases:
            tx.aliases.put(collection.seq, alias, version.seq)
        return job_of(view_of(tx, version))

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
        collection = tx.collections.named(entity, project, name)
        if collection is not None and collection.type == JOB_TYPE:
            view = version_named(tx, collection, alias)
            if view is not None:
                return job_of(view)
            there = tx.aliases.of_collection(collection.seq, limit=NAMED + 1)
            hint = f"{name} has: {_named([one for one, _ in there])}"
        else:
            others = tx.collections.find(entity, project, type=JOB_TYPE, limit=NAMED + 1)
            hint = f"{entity}/{project} has: {_named([one.name for one in others])}"
        raise NotFound(
            f"{missing(f'job {address!r}')} ({hint})", details={"field": "job", "value": address}
        )

    def find(
        self, tx: Tx, actor: Actor, *, entity: str | None, project: str | None, limit: int = 100
    ) -> list[Job]:
        """Return the latest version of each job that the actor sees and an agent can run."""
        require(actor, READERS, "list jobs")
        if actor.role is not Role.ADMIN:
            if entity is not None:
                check_sees(actor, entity, f"entity {entity!r}")
            entity = actor.entity
        wanted = min(limit, LIST_LIMIT)
        found = tx.collections.find(entity, project, type=JOB_TYPE, limit=wanted)
        views = [version_named(tx, one, LATEST) for one in found]
        return [job_of(view) for view in views if view is not None and is_runnable(view)]


def _named(names: Sequence[str]) -> str:
    more = ", …" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more if names else "none"


def _read(values: Mapping[str, Any], *, entity: str) -> Job:
    """Read a job's JSON values; `Invalid` names the bad field."""
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
        check_alias(check_name(alias, field="aliases"), field="aliases")
    return Job(
        entity=entity,
        project=check_name(values.get("project") or DEFAULT_PROJECT, field="project"),
        name=check_name(values.get("name"), field="name"),
        version=0,
        aliases=tuple(dict.fromkeys((*aliases[:ALIASES_LIMIT], LATEST))),
        kind=JobKind(kind),
        source=dict(source),
        entry_point=_strings(values, "entry_point"),
        args=_strings(values, "args") or (),
        run_config=_mapping(values, "run_config"),
        resource=values.get("resource"),
        resource_args=own_spelling(_mapping(values, "resource_args")),
        python=values.get("python"),
        config_schema=_schema(values),
        is_partial=True,
        description=str(values.get("description") or "")[:DESCRIPTION_LIMIT],
    )


def _schema(values: Mapping[str, Any]) -> dict[str, Any] | None:
    schema = values.get("config_schema")
    if schema is None:
        return None
    checkable(schema, field="config_schema")
    return dict(schema)


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
