"""Takes the files and manifests of artifacts, and makes whole versions of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shipway.domain.actor import Actor
from shipway.domain.artifact import (
    LATEST,
    Artifact,
    ArtifactState,
    ArtifactView,
    ManifestKind,
    ManifestRow,
    Part,
)
from shipway.domain.errors import Conflict, Invalid, LeaseLost, NotFound
from shipway.domain.ids import Digest, ItemId
from shipway.domain.item import HELD
from shipway.domain.manifest import (
    BYTES_LIMIT,
    Manifest,
    StoredFile,
    check_md5,
    decode_contents,
    encode_contents,
    merged,
)
from shipway.service.access import check_sees, missing, require
from shipway.service.artifact_views import view_of
from shipway.service.artifacts import USERS, Artifacts
from shipway.service.ports import Blobs, Clock, Tx
from shipway.service.uploads import FRESH_MS

FILES_LIMIT = 10_000  # files asked for at once
MANIFESTS_LIMIT = 10_000  # of one artifact: as many processes may make one together
TOUCHED_LIMIT = 2_000  # blobs touched in one transaction
SHOWN_LIMIT = 5  # missing files that a refusal names


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAsk:
    """A file that a client wants to send, or to have sent already."""

    artifact: int
    path: str
    md5: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Whom an address was signed for: nobody, or an attempt that may have ended since."""

    item_id: ItemId | None = None
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a commit starts from."""

    view: ArtifactView
    parts: tuple[ManifestRow, ...] = ()
    base: Digest | None = None  # the manifest of the version that is added to


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The files of a manifest with their blobs."""

    files: Sequence[StoredFile]
    aging: Sequence[Digest]  # to be touched before anything leads to them anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What a commit stores of an artifact, its blobs stored already."""

    digest: str
    manifest: Digest
    contents: Digest
    blobs: Mapping[Digest, int]
    file_count: int
    size: int
    job: Mapping[str, Any] | None = None


class ArtifactUploads:
    """Use cases of artifacts on their way in."""

    def __init__(self, *, clock: Clock, artifacts: Artifacts) -> None:
        self._clock = clock
        self._artifacts = artifacts

    def announce(
        self, tx: Tx, actor: Actor, seq: int, *, kind: ManifestKind, md5: str, base: int | None
    ) -> ManifestRow:
        """Take the word for a manifest that is to come; an empty MD5 is said later."""
        self._pending(tx, actor, seq)
        if md5:
            check_md5(md5, field="digest")
        if len(tx.manifests.of_artifact(seq, limit=MANIFESTS_LIMIT)) >= MANIFESTS_LIMIT:
            raise Invalid(f"an artifact has at most {MANIFESTS_LIMIT} manifests", field="artifact")
        if base is not None:
            self._artifacts.get(tx, actor, base)
        return tx.manifests.insert(ManifestRow(seq=0, artifact=seq, kind=kind, md5=md5, base=base))

    def announce_again(
        self, tx: Tx, actor: Actor, manifest: int, *, md5: str | None, base: int | None
    ) -> ManifestRow:
        """Say the MD5 of a manifest that is to come."""
        found = tx.manifests.get(manifest)
        if found is None:
            raise NotFound(missing("manifest of that id"))
        self._pending(tx, actor, found.artifact)
        if base is not None:
            self._artifacts.get(tx, actor, base)
        changed = replace(
            found,
            md5=found.md5 if md5 is None else check_md5(md5, field="digest"),
            base=found.base if base is None else base,
        )
        tx.manifests.amend(changed)
        return changed

    def grant(self, tx: Tx, actor: Actor, asks: Sequence[FileAsk]) -> list[bool]:
        """Tell of each file whether it has to be sent; what is there is kept from now on."""
        if len(asks) > FILES_LIMIT:
            raise Invalid(f"at most {FILES_LIMIT} files a call", field="artifactFiles")
        views = {seq: self._pending(tx, actor, seq) for seq in {ask.artifact for ask in asks}}
        by_entity: dict[str, set[str]] = {}
        for ask in asks:
            entity = views[ask.artifact].collection.entity
            by_entity.setdefault(entity, set()).add(check_md5(ask.md5, field="md5"))
        known = {
            (entity, md5)
            for entity, md5s in by_entity.items()
            for md5, (digest, _, _) in tx.blobs.by_md5(entity, md5s).items()
            if not tx.blobs.touch(entity, [digest], now=self._clock.now())
        }
        return [(views[ask.artifact].collection.entity, ask.md5) not in known for ask in asks]

    def add_file(
        self, tx: Tx, seq: int, *, digest: Digest, size: int, md5: str, sender: Sender
    ) -> None:
        """Note a file whose bytes are stored; who asked for its address was allowed to."""
        view = self._open(tx, seq, sender)
        tx.blobs.add(view.collection.entity, {digest: size}, now=self._clock.now(), md5=md5)

    def add_manifest(
        self, tx: Tx, seq: int, *, manifest: int, digest: Digest, size: int, sender: Sender
    ) -> None:
        """Note a manifest whose bytes are stored and were read."""
        view = self._open(tx, seq, sender)
        found = tx.manifests.get(manifest)
        if found is None or found.artifact != seq:
            raise NotFound(missing("manifest of that id"))
        tx.blobs.add(view.collection.entity, {digest: size}, now=self._clock.now())
        tx.manifests.amend(replace(found, digest=digest))
        tx.artifacts.amend(replace(view.artifact, updated_at=self._clock.now()))

    def expected(self, tx: Tx, manifest: int) -> tuple[ManifestKind, str]:
        """Return a manifest's kind, and the digest of its artifact."""
        found = tx.manifests.get(manifest)
        artifact = None if found is None else tx.artifacts.get(found.artifact)
        if found is None or artifact is None:
            raise NotFound(missing("manifest of that id"))
        return found.kind, artifact.digest

    def plan(self, tx: Tx, actor: Actor, seq: int) -> Plan:
        """Return what a commit starts from; nothing is to be done for a committed one."""
        view = self._artifacts.get(tx, actor, seq)
        self._artifacts.check_writes(tx, actor, view.artifact)
        if view.artifact.state is ArtifactState.COMMITTED:
            return Plan(view=view)
        rows = [row for row in tx.manifests.of_artifact(seq, limit=MANIFESTS_LIMIT) if row.md5]
        if rows and rows[-1].kind is not ManifestKind.PATCH:
            rows = rows[-1:]  # the last one counts
        if not rows or any(row.digest is None for row in rows):
            raise Invalid("the manifest has not come: upload it first", field="artifactID")
        base = None
        if rows[-1].base is not None and rows[-1].kind is ManifestKind.INCREMENTAL:
            base = self._artifacts.get(tx, actor, rows[-1].base).artifact.manifest
        return Plan(view=view, parts=tuple(rows), base=base)

    def resolve(self, tx: Tx, plan: Plan, manifest: Manifest) -> Resolved:
        """Find the blobs of all files; raise `Invalid` where one was never sent."""
        entity = plan.view.collection.entity
        wanted = [entry for entry in manifest.entries if entry.ref is None]
        known = tx.blobs.by_md5(entity, [entry.digest for entry in wanted])
        missing_ones = [entry.path for entry in wanted if entry.digest not in known]
        if missing_ones:
            shown = ", ".join(repr(path[:200]) for path in missing_ones[:SHOWN_LIMIT])
            raise Invalid(
                f"{len(missing_ones)} of the manifest's files were not uploaded: {shown}",
                field="artifactID",
            )
        before = self._clock.now() - FRESH_MS
        aging = [digest for digest, _, stored_at in known.values() if stored_at < before]
        files = [
            StoredFile(
                path=entry.path, md5=entry.digest, digest=known[entry.digest][0],
                size=known[entry.digest][1],
            )
            for entry in wanted
        ] + [
            StoredFile(
                path=entry.path, md5=entry.digest, digest=None, size=entry.size, ref=entry.ref
            )
            for entry in manifest.entries
            if entry.ref is not None
        ]  # fmt: skip
        return Resolved(files=files, aging=list(dict.fromkeys(aging)))

    def touch(self, tx: Tx, plan: Plan, digests: Sequence[Digest]) -> None:
        """Keep blobs that a version is about to lead to."""
        if tx.blobs.touch(plan.view.collection.entity, digests, now=self._clock.now()):
            raise Conflict("files of the artifact were removed just now: upload them again")

    def commit(self, tx: Tx, actor: Actor, plan: Plan, whole: Whole) -> ArtifactView:
        """Make a version of what came: number and aliases are given now."""
        seq = plan.view.artifact.seq
        view = self._artifacts.get(tx, actor, seq)
        self._artifacts.check_writes(tx, actor, view.artifact)
        if view.artifact.state is ArtifactState.COMMITTED:
            return view
        if view.collection.deleted_at is not None:
            raise Conflict(f"collection {view.collection.name!r} was deleted")
        now = self._clock.now()
        tx.blobs.add(view.collection.entity, whole.blobs, now=now)
        self.touch(tx, plan, [whole.manifest])
        committed = replace(
            view.artifact,
            state=ArtifactState.COMMITTED,
            digest=whole.digest,
            version=tx.collections.number(view.collection.seq),
            manifest=whole.manifest,
            contents=whole.contents,
            file_count=whole.file_count,
            size=whole.size,
            job=whole.job,
            updated_at=now,
        )
        tx.artifacts.amend(committed)
        for alias in dict.fromkeys((*committed.wanted, LATEST)):
            tx.aliases.put(view.collection.seq, alias, seq)
        if committed.run_seq is not None:
            tx.artifact_links.link(committed.run_seq, Part.OUTPUT, seq, used_as=None, at=now)
        return view_of(tx, committed)

    def manifest_size(self, tx: Tx, view: ArtifactView) -> int:
        """Return how many bytes the manifest of a version has that the actor was shown."""
        assert view.artifact.manifest is not None
        size = tx.blobs.size(view.collection.entity, view.artifact.manifest)
        if size is None:
            raise NotFound(missing("manifest"))
        return size

    def readable(self, tx: Tx, actor: Actor, entity: str, md5: str) -> tuple[Digest, int]:
        """Return the blob and size of a file that an entity stored under an MD5."""
        require(actor, USERS, "read artifacts")
        check_sees(actor, entity, "file of that digest")
        found = tx.blobs.by_md5(entity, [md5]).get(md5)
        if found is None:
            raise NotFound(missing("file of that digest"))
        return found[:2]

    def _pending(self, tx: Tx, actor: Actor, seq: int) -> ArtifactView:
        view = self._artifacts.get(tx, actor, seq)
        self._artifacts.check_writes(tx, actor, view.artifact)
        if view.artifact.state is not ArtifactState.PENDING:
            raise Conflict(f"artifact {view.name!r} is committed: it does not change any more")
        return view

    def _open(self, tx: Tx, seq: int, sender: Sender) -> ArtifactView:
        artifact = tx.artifacts.get(seq)
        if artifact is None or artifact.state is ArtifactState.DELETED:
            raise NotFound(missing("artifact of that id"))
        if sender.item_id is not None:
            item = tx.items.get(sender.item_id)
            if item is None or item.state not in HELD or item.attempt != sender.attempt:
                raise LeaseLost(f"attempt {sender.attempt} of item {sender.item_id} has ended")
        return view_of(tx, artifact)


def read_plan(blobs: Blobs, plan: Plan) -> Manifest:
    """Read the manifests of a plan as one; `Invalid` where they are not the artifact's."""
    read = [Manifest.read(blobs.get(row.digest)) for row in plan.parts if row.digest is not None]
    whole = merged(read)
    kind, digest = plan.parts[-1].kind, plan.view.artifact.digest
    if kind is ManifestKind.FULL:
        check_digest(whole, digest)
    if plan.base is not None:
        whole = whole.over(Manifest.read(blobs.get(plan.base)))
    return whole


def read_announced(blobs: Blobs, digest: Digest, size: int, kind: ManifestKind, of: str) -> None:
    """Raise `Invalid` unless bytes that came are the manifest of an artifact."""
    if size > BYTES_LIMIT:
        raise Invalid(f"a manifest has at most {BYTES_LIMIT} bytes", field="manifest", value=size)
    manifest = Manifest.read(blobs.get(digest))
    if kind is ManifestKind.FULL:
        check_digest(manifest, of)


def check_digest(manifest: Manifest, digest: str) -> None:
    """Raise `Invalid` unless a manifest is that of an artifact."""
    counted = manifest.digest()
    if counted != digest:
        raise Invalid(
            f"the manifest's digest is {counted}, but the artifact was announced with {digest}",
            field="digest",
            value=digest,
        )


def store_whole(
    blobs: Blobs, plan: Plan, manifest: Manifest, resolved: Resolved, *,
    job: Mapping[str, Any] | None = None, capsule: bytes = b"",
) -> Whole:  # fmt: skip
    """Store what a version's row will lead to: of a job's code its capsule's manifest, too."""
    contents = encode_contents(resolved.files)
    contents_digest = _put(blobs, contents)
    stored = {contents_digest: len(contents)}
    if capsule:
        stored[_put(blobs, capsule)] = len(capsule)
    first = plan.parts[0].digest
    assert first is not None
    if len(plan.parts) == 1 and plan.base is None:
        manifest_digest = first
    else:
        data = manifest.encode()
        manifest_digest = _put(blobs, data)
        stored[manifest_digest] = len(data)
    return Whole(
        digest=manifest.digest(),
        manifest=manifest_digest,
        contents=contents_digest,
        blobs=stored,
        file_count=len(manifest.entries),
        size=sum(file.size for file in resolved.files),
        job=job,
    )


def files_of(blobs: Blobs, artifact: Artifact) -> list[StoredFile]:
    """Return the files and references of a committed version in order of path."""
    return [] if artifact.contents is None else decode_contents(blobs.get(artifact.contents))


def _put(blobs: Blobs, data: bytes) -> Digest:
    digest = Digest(hashlib.sha256(data).hexdigest())
    blobs.put(digest, data)
    return digest
