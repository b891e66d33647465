"""Finds versions of artifacts, each with its collection and aliases."""

from __future__ import annotations

from shipway.domain.artifact import Artifact, ArtifactView, Collection, version_of
from shipway.service.ports import Tx


def version_named(tx: Tx, collection: Collection, alias: str) -> ArtifactView | None:
    """Return the version that an alias or a number stands for."""
    number = version_of(alias)
    if number is not None:
        artifact = tx.artifacts.by_version(collection.seq, number)
    else:
        seq = tx.aliases.get(collection.seq, alias)
        artifact = None if seq is None else tx.artifacts.get(seq)
    return None if artifact is None else view_of(tx, artifact)


def view_of(tx: Tx, artifact: Artifact) -> ArtifactView:
    """Return a version with its collection and aliases."""
    collection = tx.collections.get(artifact.collection)
    assert collection is not None, "a version has a collection"
    return ArtifactView(
        artifact=artifact, collection=collection, aliases=tx.aliases.of_artifact(artifact.seq)
    )
