"""Makes, names, changes, uses and deletes the versions of artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.artifact import (
    JOB_TYPE,
    LATEST,
    Artifact,
    ArtifactState,
    ArtifactView,
    Collection,
    Part,
    check_alias,
    check_artifact_name,
    split_name,
)
from shipway.domain.errors import Conflict, Forbidden, Invalid, NotFound
from shipway.domain.names import DEFAULT_PROJECT, check_name, fold
from shipway.domain.run import Run
from shipway.service.access import READERS, WRITERS, check_sees, missing, own_entity, require, sees
from shipway.service.artifact_collections import collection_for
from shipway.service.artifact_fields import (
    TAGS_LIMIT,
    check_count,
    check_description,
    check_metadata,
    end_of,
    unique_tags,
)
from shipway.service.artifact_views import version_named, view_of
from shipway.service.ports import Clock, Tx
from shipway.service.queues import known_entity
from shipway.service.tracked_runs import TrackedRuns

ID_LIMIT = 512  # characters of a client's own id, or of a digest
ALIASES_LIMIT = 100  # of one version, or in one call
SAME_LIMIT = 100  # versions of one digest that are looked at
USERS = READERS | {Role.JOB}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactAsk:
    """What a client wants to log."""

    entity: str | None
    project: str | None
    type: str
    name: str
    digest: str
    run: str | None = None
    description: str | None = None
    metadata: str | None = None
    aliases: Sequence[str] = ()
    tags: Sequence[str] = ()
    history_step: int | None = None
    client_id: str | None = None
    distributed_id: str | None = None
    ttl_s: int | None = None  # how long it stays; None: until somebody deletes it


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactEdit:
    """What is to change of a version; None leaves as it is."""

    description: str | None = None
    metadata: str | None = None
    tags_to_add: Sequence[str] = ()
    tags_to_delete: Sequence[str] = ()
    aliases: Sequence[str] | None = field(default=None)  # all that it is to have
    ttl_s: int | None = None  # from when it was made; 0: until somebody deletes it
    inputs: Mapping[str, Any] | None = None  # of a job's: what the metadata say of them


class Artifacts:
    """Use cases of versions."""

    def __init__(self, *, clock: Clock, tracked: TrackedRuns) -> None:
        self._clock = clock
        self._tracked = tracked

    def create(self, tx: Tx, actor: Actor, ask: ArtifactAsk) -> ArtifactView:
        """Return a version to fill, or the one that is the same already, its aliases moved."""
        run = self._run(tx, actor, ask)
        collection = self._collection(tx, actor, ask)
        aliases = tuple(dict.fromkeys(check_alias(alias) for alias in ask.aliases))
        check_count("aliases", aliases, ALIASES_LIMIT)
        known = self._known(tx, collection, ask)
        if known is None:
            known = self._insert(tx, actor, collection, run, replace(ask, aliases=aliases))
        elif known.state is ArtifactState.COMMITTED:
            for alias in (*aliases, LATEST):
                tx.aliases.put(collection.seq, alias, known.seq)
            if run is not None:
                self._link(tx, run, Part.OUTPUT, known)
        else:
            wanted = tuple(dict.fromkeys((*known.wanted, *aliases)))
            known = replace(known, wanted=wanted[:ALIASES_LIMIT], updated_at=self._clock.now())
            tx.artifacts.amend(known)
        if ask.client_id:
            tx.artifact_links.put_client(collection.entity, ask.client_id, known.seq)
        return view_of(tx, known)

    def get(self, tx: Tx, actor: Actor, seq: int) -> ArtifactView:
        """Return a version that is not deleted."""
        require(actor, USERS, "read artifacts")
        artifact = tx.artifacts.get(seq)
        if artifact is None or artifact.state is ArtifactState.DELETED:
            raise NotFound(missing("artifact of that id"))
        view = view_of(tx, artifact)
        check_sees(actor, view.collection.entity, "artifact of that id")
        return view

    def named(
        self, tx: Tx, actor: Actor, entity: str, project: str, name: str, *, type: str | None = None
    ) -> ArtifactView | None:
        """Return the version that `name:alias` or `name:vN` stands for, or none."""
        require(actor, USERS, "read artifacts")
        if not sees(actor, entity):
            return None
        title, alias = split_name(name)
        collection = tx.collections.named(entity, project, title)
        if collection is None or (type is not None and collection.type != type):
            return None
        return version_named(tx, collection, alias)

    def override(self, tx: Tx, actor: Actor, entity: str, project: str, name: str) -> Any:
        """Return what a launch puts in the place of an artifact that its program asks for."""
        item = None if actor.item_id is None else tx.items.get(actor.item_id)
        overrides = {} if item is None else json.loads(item.spec).get("artifacts") or {}
        title, alias = split_name(name)
        slots = (f"{entity}/{project}/{name}", name, title if alias == LATEST else name)
        return next((overrides[slot] for slot in slots if slot in overrides), None)

    def of_client(self, tx: Tx, actor: Actor, client_id: str) -> int | None:
        """Return the version that a client of the actor's entity calls so."""
        require(actor, USERS, "read artifacts")
        return tx.artifact_links.of_client(actor.entity, client_id)

    def edit(self, tx: Tx, actor: Actor, seq: int, edit: ArtifactEdit) -> ArtifactView:
        """Change what people say of a version."""
        view = self.get(tx, actor, seq)
        found = view.artifact
        is_completed = edit.metadata is not None and self._completes(tx, actor, view)
        if is_completed:
            edit = ArtifactEdit(metadata=edit.metadata, inputs=edit.inputs)
        else:
            self.check_writes(tx, actor, found)
        gone = set(edit.tags_to_delete)
        tags = tuple(dict.fromkeys((*found.tags, *unique_tags(edit.tags_to_add))))
        changed = replace(
            found,
            description=found.description
            if edit.description is None
            else check_description(edit.description),
            metadata=found.metadata if edit.metadata is None else check_metadata(edit.metadata),
            tags=tuple(tag for tag in tags if tag not in gone),
            expires_at=found.expires_at
            if edit.ttl_s is None
            else end_of(found.created_at, edit.ttl_s),
            job=_job(found.job, edit.inputs, is_kept=is_completed),
            updated_at=self._clock.now(),
        )
        check_count("tags", changed.tags, TAGS_LIMIT)
        tx.artifacts.amend(changed)
        if edit.aliases is not None:
            for alias in set(view.aliases) - set(edit.aliases):
                tx.aliases.delete(found.collection, alias, found.seq)
            self._put_aliases(tx, view, edit.aliases)
        return view_of(tx, changed)

    def add_aliases(self, tx: Tx, actor: Actor, seq: int, aliases: Sequence[str]) -> None:
        """Move aliases to a version."""
        view = self.get(tx, actor, seq)
        self.check_writes(tx, actor, view.artifact)
        self._put_aliases(tx, view, aliases)

    def delete_aliases(self, tx: Tx, actor: Actor, seq: int, aliases: Sequence[str]) -> None:
        """Take aliases from a version; what is another's stays."""
        view = self.get(tx, actor, seq)
        self.check_writes(tx, actor, view.artifact)
        check_count("aliases", aliases, ALIASES_LIMIT)
        for alias in aliases:
            tx.aliases.delete(view.collection.seq, alias, seq)

    def use(
        self, tx: Tx, actor: Actor, seq: int, *, run: tuple[str, str, str], used_as: str | None
    ) -> ArtifactView:  # fmt: skip
        """Note that a run uses a version."""
        view = self.get(tx, actor, seq)
        if view.artifact.state is not ArtifactState.COMMITTED:
            raise Conflict(f"artifact {view.collection.name!r} is not whole yet")
        found = self._tracked.get(tx, actor, *run).run
        self._tracked.check_writes(tx, actor, found)
        tx.artifact_links.link(
            found.seq, Part.INPUT, seq, used_as=(used_as or "")[:ID_LIMIT] or None,
            at=self._clock.now(),
        )  # fmt: skip
        return view

    def delete(
        self, tx: Tx, actor: Actor, seq: int, *, with_aliases: bool = False
    ) -> ArtifactView:  # fmt: skip
        """Delete a version; one that aliases stand for only when asked to take them too."""
        view = self.get(tx, actor, seq)
        self.check_writes(tx, actor, view.artifact)
        if view.aliases and not with_aliases:
            names = ", ".join(view.aliases)
            raise Conflict(
                f"artifact {view.name!r} has the aliases {names}: delete them first, or with it"
            )
        self.remove(tx, view)
        self._pass_latest_on(tx, view)
        return view

    def expire(self, tx: Tx, *, limit: int) -> int:
        """Delete versions whose time to live is over, aliases or not; return how many."""
        found = tx.artifacts.expired(now=self._clock.now(), limit=limit)
        for artifact in found:
            view = view_of(tx, artifact)
            self.remove(tx, view)
            self._pass_latest_on(tx, view)
        return len(found)

    def remove(self, tx: Tx, view: ArtifactView) -> None:
        """Delete a version with its aliases; its bytes go a week later."""
        for alias in view.aliases:
            tx.aliases.delete(view.collection.seq, alias, view.artifact.seq)
        now = self._clock.now()
        gone = replace(view.artifact, state=ArtifactState.DELETED, deleted_at=now, updated_at=now)
        tx.artifacts.amend(gone)

    def _pass_latest_on(self, tx: Tx, gone: ArtifactView) -> None:
        if LATEST in gone.aliases:
            newest = tx.artifacts.of_collection(gone.collection.seq, before=1 << 40, limit=1)
            if newest:
                tx.aliases.put(gone.collection.seq, LATEST, newest[0].seq)

    def check_writes(self, tx: Tx, actor: Actor, artifact: Artifact) -> None:
        """Raise unless the actor may change a version; a program changes what its run logged."""
        if actor.role in WRITERS:
            return
        if actor.role is Role.JOB:
            item = None if actor.item_id is None else tx.items.get(actor.item_id)
            run = None if item is None else tx.runs.get(item.entity, item.project, item.run_id)
            if run is not None and run.seq == artifact.run_seq:
                self._tracked.check_writes(tx, actor, run)
                return
            raise Forbidden("the key of a launched program changes what its own run logged only")
        raise Forbidden(f"a key with the role {actor.role} may not change artifacts")

    def _completes(self, tx: Tx, actor: Actor, view: ArtifactView) -> bool:
        """Tell whether a job's first run says what goes in and what comes out."""
        item = None if actor.item_id is None else tx.items.get(actor.item_id)
        if item is None or json.loads(item.spec).get("job") != view.address:
            return False
        run = tx.runs.get(item.entity, item.project, item.run_id)
        if run is None or not (view.artifact.job or {}).get("is_partial"):
            return False
        self._tracked.check_writes(tx, actor, run)
        return True

    def _run(self, tx: Tx, actor: Actor, ask: ArtifactAsk) -> Run | None:
        if not ask.run:
            require(actor, WRITERS, "log artifacts without a run")
            return None
        entity, project = ask.entity or actor.entity, ask.project or DEFAULT_PROJECT
        run = self._tracked.get(tx, actor, entity, project, ask.run).run
        self._tracked.check_writes(tx, actor, run)
        return run

    def _collection(self, tx: Tx, actor: Actor, ask: ArtifactAsk) -> Collection:
        entity = own_entity(actor, ask.entity or None)
        if fold(entity) != fold(actor.entity):
            entity = known_entity(tx, entity)
        project = check_name(ask.project or DEFAULT_PROJECT, field="projectName")
        name = check_artifact_name(ask.name, field="name")
        kind = check_artifact_name(ask.type, field="type")
        if kind == JOB_TYPE:
            check_name(name, field="name")
        wanted = Collection(
            seq=0,
            entity=entity,
            project=project,
            name=name,
            type=kind,
            created_at=self._clock.now(),
            created_by=actor.label,
        )
        return collection_for(tx, wanted)

    def _known(self, tx: Tx, collection: Collection, ask: ArtifactAsk) -> Artifact | None:
        """Return the committed version that is the same, or the client's own pending one."""
        if ask.distributed_id:
            return tx.artifacts.of_parts(collection.seq, ask.distributed_id)
        for same in tx.artifacts.by_digest(collection.seq, ask.digest, limit=SAME_LIMIT):
            if same.state is ArtifactState.COMMITTED and same.manifest is not None:
                return same
            if ask.client_id and same.client_id == ask.client_id:
                return same
        return None

    def _insert(
        self, tx: Tx, actor: Actor, collection: Collection, run: Run | None, ask: ArtifactAsk
    ) -> Artifact:
        for name, text in (("digest", ask.digest), ("clientID", ask.client_id or "")):
            if len(text) > ID_LIMIT:
                raise Invalid(f"{name} has more than {ID_LIMIT} characters", field=name)
        now = self._clock.now()
        tags = unique_tags(ask.tags)
        check_count("tags", tags, TAGS_LIMIT)
        return tx.artifacts.insert(
            Artifact(
                seq=0,
                collection=collection.seq,
                state=ArtifactState.PENDING,
                digest=ask.digest,
                description=check_description(ask.description),
                metadata=check_metadata(ask.metadata),
                tags=tags,
                history_step=ask.history_step,
                wanted=tuple(ask.aliases),
                client_id=ask.client_id or None,
                distributed_id=ask.distributed_id or None,
                run_seq=None if run is None else run.seq,
                created_by=actor.user,
                created_at=now,
                updated_at=now,
                expires_at=None if ask.ttl_s is None else end_of(now, ask.ttl_s),
            )
        )

    def _put_aliases(self, tx: Tx, view: ArtifactView, aliases: Sequence[str]) -> None:
        if view.artifact.state is not ArtifactState.COMMITTED:
            raise Conflict(f"artifact {view.collection.name!r} is not whole yet")
        check_count("aliases", aliases, ALIASES_LIMIT)
        for alias in aliases:
            tx.aliases.put(view.collection.seq, check_alias(alias), view.artifact.seq)

    def _link(self, tx: Tx, run: Run, part: Part, artifact: Artifact) -> None:
        tx.artifact_links.link(run.seq, part, artifact.seq, used_as=None, at=self._clock.now())


def _job(
    job: Mapping[str, Any] | None, inputs: Mapping[str, Any] | None, *, is_kept: bool
) -> Mapping[str, Any] | None:
    """Return a job with what its metadata say of its inputs; what a run leaves out is kept."""
    if job is None or inputs is None or "kind" not in job:
        return job
    return {**job, **{key: value for key, value in inputs.items() if value or not is_kept}} | {
        "is_partial": inputs["is_partial"]
    }
