"""Knows the resources: those shipped with shipway, and those that live agents brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shipway.domain.config_schema import check_work, checkable
from shipway.domain.container import read_container_args
from shipway.domain.errors import Invalid
from shipway.domain.job import Job
from shipway.domain.launch_spec import LaunchSpec
from shipway.domain.queue import LOCAL_CONTAINER
from shipway.service.ports import Tx

BUILT_IN = ("local-process", "local-container", "kubernetes", "slurm", "ray")

# Raises `Invalid` with the path of the bad key; given the schema and the value.
Check = Callable[[Mapping[str, Any], Any, str], None]


class Resources:
    """The closed list of resources with the schemas of their arguments."""

    def __init__(self, *, schemas: Mapping[str, Mapping[str, Any]], check: Check) -> None:
        self._schemas = dict(schemas)
        self._check = check

    def known(self, tx: Tx, wanted: str | None = None) -> set[str]:
        """Return the resources that may be asked for; agents are asked only for a rare one."""
        shipped = {*BUILT_IN, *self._schemas}
        if wanted is None or wanted in shipped:
            return shipped
        return shipped | {name for agent in tx.agents.find() for name in agent.resources}

    def schema(self, resource: str) -> Mapping[str, Any] | None:
        """Return the JSON Schema of a resource's arguments, if it has one."""
        return self._schemas.get(resource)

    def learn(self, schemas: Mapping[str, Any]) -> None:
        """Take over the schemas that an agent's runners brought; the shipped ones stay."""
        for name, schema in schemas.items():
            if isinstance(schema, Mapping):
                self._schemas.setdefault(name, schema)

    def check_inputs(self, job: Job, spec: LaunchSpec) -> None:
        """Raise `Invalid` with the path of a value that a job's schemas do not allow."""
        asked: dict[str, tuple[Mapping[str, Any] | None, Any]] = {
            "run_config": (job.config_schema, spec.run_config)
        }
        for path, schema in job.file_schemas.items():
            asked[f"files.{path}"] = (schema, spec.files.get(path))
        for field, (schema, values) in asked.items():
            if schema is not None and values:
                checked = checkable(schema, field=field)
                check_work(checked, values, field=field)
                self._check(checked, values, field)

    def check_args(self, resource: str, values: object, *, path: str) -> None:
        """Raise `Invalid` with the path of the bad key."""
        if not isinstance(values, Mapping):
            raise Invalid(f"{path} must be a mapping, not {values!r}", field=path, value=values)
        if resource == LOCAL_CONTAINER:
            read_container_args(values, path=path)  # says in words what the schema has as patterns
        schema = self._schemas.get(resource)
        if schema is not None:
            self._check(schema, values, path)
