"""Reads the schedulers of launched sweeps as wandb clients push them, in our words."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.domain.capsule import Entry, Mode, digest_of, encode
from shipway.domain.client_agent import SCHEDULER_URI
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest
from shipway.domain.launch_spec import Draft, draft
from shipway.domain.sweep import Sweep
from shipway.server.graphql.translate import CLIENT_VERSION

PLACEHOLDER = "WANDB_SWEEP_ID"  # stands for the sweep's id, which only the server chooses
SPEC_LIMIT = 256 << 10  # characters

_CLIENT = re.compile(r"W&B \w+ Client (\d+\.\d+\.\d+)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A capsule with the client in its environment: its source, and the blobs in it."""

    source: Mapping[str, Any]
    blobs: Mapping[Digest, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """A scheduler as it was pushed, its sweep not known yet."""

    said: Mapping[str, Any]  # queue, run_queue_project, run_spec
    variables: Mapping[str, Any]  # values of the queue's template variables
    code: Code | None  # None: a job's

    def plan(self, sweep: Sweep, count: int) -> tuple[Draft, str]:
        """Return the launch for a sweep that had so many schedulers, and its text."""
        spec = json.loads(self.said["run_spec"].replace(PLACEHOLDER, sweep.id))
        if count:  # a run's id is used once
            spec["run_id"] = f"{sweep.id}-{count + 1}"
        text = json.dumps({**self.said, "run_spec": json.dumps(spec)})
        return self._draft(sweep, spec), text

    def _draft(self, sweep: Sweep, spec: Mapping[str, Any]) -> Draft:
        said: dict[str, Any] = {key: value for key, value in spec.items() if value}
        said.pop("uri", None)
        overrides = said.get("overrides", {})
        if isinstance(overrides, Mapping):  # what else it is, is refused as in any launch
            overrides = {**overrides, "args": _args(overrides.get("args"))}
        made = draft(
            config={**said, "overrides": overrides, "queue_entity": sweep.entity},
            uri=None if self.code is None else SCHEDULER_URI,
            queue_name=self.said["queue"],
            project_queue=self.said.get("run_queue_project") or sweep.project,
            template_variables=self.variables or None,
        )
        return made if self.code is None else _with_source(made, self.code)


def scheduler_of(asked: Mapping[str, Any], user_agent: str) -> Scheduler | None:
    """Read the scheduler of `upsertSweep`; None where there is none."""
    if not asked.get("launchScheduler"):
        return None
    said = _object("launchScheduler", asked["launchScheduler"])
    for key in ("queue", "run_spec"):
        if not isinstance(said.get(key), str):
            raise Invalid(f"launchScheduler.{key} must be text", field=f"launchScheduler.{key}")
    spec = _object("launchScheduler.run_spec", said["run_spec"])
    docker, variables = spec.get("docker"), asked.get("templateVariableValues") or "null"
    has_image = isinstance(docker, Mapping) and docker.get("docker_image")
    return Scheduler(
        said=said,
        variables={} if variables == "null" else _object("templateVariableValues", variables),
        code=None if spec.get("job") or has_image else code_of(user_agent),
    )


def code_of(user_agent: str) -> Code:
    """Return the capsule that a scheduler runs in: nothing but the client that pushed it."""
    found = _CLIENT.match(user_agent)
    version = CLIENT_VERSION if found is None else found[1]
    data = f"wandb=={version}\n".encode()
    entry = Entry(path=b"requirements.txt", mode=Mode.FILE, size=len(data), digest=digest_of(data))
    manifest = encode([entry])
    source = {"kind": "capsule", "digest": digest_of(manifest), "size": len(data), "files": 1}
    return Code(source=source, blobs={digest_of(manifest): manifest, entry.digest: data})


def _with_source(made: Draft, code: Code) -> Draft:
    return Draft.from_json({**made.to_json(), "source": dict(code.source)})


def _args(given: object) -> list[str]:
    if not isinstance(given, list | None):
        raise Invalid("overrides.args must be a list of text", field="overrides.args", value=given)
    return [word for text in given or () for word in _words(text)]


def _words(text: object) -> Sequence[str]:
    """Return an argument as programs get it: the client quotes it for a shell that we have not."""
    if not isinstance(text, str):
        raise Invalid(f"overrides.args has {text!r}, which is no text", field="overrides.args")
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    return words if len(words) == 1 else [text]


def _object(field: str, text: object) -> dict[str, Any]:
    value: Any = None
    if isinstance(text, str) and len(text) <= SPEC_LIMIT:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise Invalid(
            f"{field} must be a JSON object of at most {SPEC_LIMIT} characters",
            field=field,
            value=text,
        )
    return value
