"""Lists artifacts, and changes and deletes their collections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from shipway.domain.actor import Actor
from shipway.domain.artifact import JOB_TYPE, ArtifactView, Collection, Part, check_artifact_name
from shipway.domain.errors import Exists, NotFound
from shipway.domain.names import check_name
from shipway.domain.run import Run
from shipway.service.access import WRITERS, missing, require, sees
from shipway.service.artifact_fields import check_description, check_tags
from shipway.service.artifact_views import view_of
from shipway.service.artifacts import USERS, Artifacts
from shipway.service.ports import Clock, Tx

COLLECTIONS_LIMIT = 10_000
TYPES_LIMIT = 1_000
ALIASES_LIMIT = 10_000
LINKS_LIMIT = 10_000  # versions of one run, or runs of one version
PAGE = 500  # versions read at once
NEWEST = 1 << 40


class ArtifactLists:
    """Use cases of collections, types and what runs logged and used."""

    def __init__(self, *, clock: Clock, artifacts: Artifacts) -> None:
        self._clock = clock
        self._artifacts = artifacts

    def types(self, tx: Tx, actor: Actor, entity: str, project: str) -> Sequence[tuple[str, int]]:
        """Return the types that a project has collections of, each with its first time."""
        require(actor, USERS, "read artifacts")
        if not sees(actor, entity):
            return ()
        return tx.collections.types(entity, project, limit=TYPES_LIMIT)

    def collections(
        self, tx: Tx, actor: Actor, entity: str, project: str, *, type: str | None = None
    ) -> Sequence[Collection]:
        """Return a project's collections in order of name."""
        require(actor, USERS, "read artifacts")
        if not sees(actor, entity):
            return ()
        return tx.collections.find(entity, project, type=type, limit=COLLECTIONS_LIMIT)

    def collection(
        self, tx: Tx, actor: Actor, entity: str, project: str, name: str, *, type: str | None = None
    ) -> Collection | None:
        """Return a collection, or none."""
        require(actor, USERS, "read artifacts")
        found = tx.collections.named(entity, project, name) if sees(actor, entity) else None
        return found if found is not None and type in {None, found.type} else None

    def numbered(self, tx: Tx, actor: Actor, seq: int) -> Collection | None:
        """Return a collection by its number, or none."""
        require(actor, USERS, "read artifacts")
        found = tx.collections.get(seq)
        if found is None or found.deleted_at is not None or not sees(actor, found.entity):
            return None
        return found

    def versions(self, tx: Tx, collection: Collection) -> Iterator[ArtifactView]:
        """Yield the committed versions of a collection that the actor was shown, newest first."""
        before = NEWEST
        while page := tx.artifacts.of_collection(collection.seq, before=before, limit=PAGE):
            for artifact in page:
                yield view_of(tx, artifact)
                assert artifact.version is not None
                before = artifact.version

    def latest(self, tx: Tx, collection: Collection) -> ArtifactView | None:
        """Return the newest version of a collection."""
        found = tx.artifacts.of_collection(collection.seq, before=NEWEST, limit=1)
        return view_of(tx, found[0]) if found else None

    def aliases(self, tx: Tx, collection: Collection) -> Sequence[str]:
        """Return a collection's aliases in order."""
        found = tx.aliases.of_collection(collection.seq, limit=ALIASES_LIMIT)
        return [alias for alias, _ in found]

    def of_run(self, tx: Tx, run: Run, part: Part) -> Sequence[ArtifactView]:
        """Return the versions that a run, which the actor was shown, logged or used."""
        found = tx.artifact_links.of_run(run.seq, part, limit=LINKS_LIMIT)
        return [view_of(tx, artifact) for artifact in found]

    def runs_of(self, tx: Tx, view: ArtifactView, part: Part) -> Sequence[Run]:
        """Return the runs that logged or used a version that the actor was shown."""
        return tx.artifact_links.runs_of(view.artifact.seq, part, limit=LINKS_LIMIT)

    def edit(
        self, tx: Tx, actor: Actor, seq: int, *, name: str | None = None,
        description: str | None = None, type: str | None = None,
    ) -> Collection:  # fmt: skip
        """Change what a collection is called and what is said of it."""
        found = self._writable(tx, actor, seq)
        changed = replace(
            found,
            name=found.name if name is None else check_artifact_name(name, field="name"),
            type=found.type if type is None else check_artifact_name(type, field="type"),
            description=found.description
            if description is None
            else check_description(description),
        )
        if changed.type == JOB_TYPE:
            check_name(changed.name, field="name")
        other = tx.collections.named(found.entity, found.project, changed.name)
        if other is not None and other.seq != seq:
            raise Exists(
                f"there is a collection {name!r} already", details={"field": "name", "value": name}
            )
        tx.collections.amend(changed)
        return changed

    def tag(
        self, tx: Tx, actor: Actor, seq: int, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> Collection:
        """Change a collection's tags."""
        found = self._writable(tx, actor, seq)
        tags = tuple(tag for tag in check_tags(add, known=found.tags) if tag not in set(remove))
        changed = replace(found, tags=tags)
        tx.collections.amend(changed)
        return changed

    def delete(self, tx: Tx, actor: Actor, seq: int) -> Collection:
        """Delete a collection with all its versions; its name is free again."""
        found = self._writable(tx, actor, seq)
        for view in list(self.versions(tx, found)):
            self._artifacts.remove(tx, view)
        gone = replace(found, deleted_at=self._clock.now())
        tx.collections.amend(gone)
        return gone

    def delete_of_run(self, tx: Tx, actor: Actor, run: Run) -> None:
        """Delete the versions that a run made, with their aliases."""
        for view in self.of_run(tx, run, Part.OUTPUT):
            if view.artifact.run_seq == run.seq:
                self._artifacts.delete(tx, actor, view.artifact.seq, with_aliases=True)

    def _writable(self, tx: Tx, actor: Actor, seq: int) -> Collection:
        found = self.numbered(tx, actor, seq)
        if found is None:
            raise NotFound(missing("collection of that id"))
        require(actor, WRITERS, "change collections of artifacts")
        return found
