"""Rows of jobs, each version a row."""

from __future__ import annotations

import re
from dataclasses import replace

from shipway.domain.job import Job
from shipway.domain.names import fold
from shipway.store.rows import check_text, to_job, to_json
from shipway.store.session import Row, Session, Taken

LATEST = "latest"
_VERSION = re.compile(r"v([0-9]{1,9})\Z")


class Jobs:
    """The port `JobRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, job: Job) -> Job:
        """Store the next version of a job and move its aliases to it."""
        check_text(
            entity=job.entity, project=job.project, name=job.name, resource=job.resource,
            python=job.python, description=job.description, created_by=job.created_by,
        )  # fmt: skip
        for alias in job.aliases:
            check_text(alias=alias)
        key = _key(job.entity, job.project, job.name)
        row = self._session.one(
            "insert_job",
            {
                **key,
                "entity": job.entity,
                "project": job.project,
                "name": job.name,
                "kind": job.kind.value,
                "source": to_json(job.source),
                "entry_point": None if job.entry_point is None else to_json(job.entry_point),
                "args": to_json(job.args),
                "run_config": to_json(job.run_config),
                "resource": job.resource,
                "resource_args": to_json(job.resource_args),
                "python": job.python,
                "description": job.description,
                "created_by": job.created_by,
                "created_at": job.created_at,
            },
        )
        if row is None:
            raise Taken(f"another version of job {job.name!r} was added just now: try again")
        aliases = tuple(sorted({*job.aliases, LATEST}))
        self._session.many(
            "put_alias", [{**key, "alias": alias, "version": row[0]} for alias in aliases]
        )
        return replace(job, version=row[0], aliases=aliases)

    def get(self, entity: str, project: str, name: str, alias: str) -> Job | None:
        """Return a version by `vN` or an alias; names are matched without case."""
        key = _key(entity, project, name)
        numbered = _VERSION.match(alias)
        if numbered is None:
            found = self._session.one("job_version", {**key, "alias": alias})
            if found is None:
                return None
            version = found[0]
        else:
            version = int(numbered[1])
        row = self._session.one("job", {**key, "version": version})
        return None if row is None else self._with_aliases(row)

    def find(self, *, entity: str | None, project: str | None, limit: int) -> list[Job]:
        """Return the latest versions in order of name."""
        params = {
            "entity": None if entity is None else fold(entity),
            "project": None if project is None else fold(project),
            "limit": limit,
        }
        return [self._with_aliases(row) for row in self._session.all("find_jobs", params)]

    def _with_aliases(self, row: Row) -> Job:
        params = {**_key(row[0], row[1], row[2]), "version": row[3]}
        aliases = self._session.all("job_aliases", params)
        return to_job(row, tuple(alias for (alias,) in aliases))


def _key(entity: str, project: str, name: str) -> dict[str, object]:
    return {
        "entity_folded": fold(entity),
        "project_folded": fold(project),
        "name_folded": fold(name),
    }
