"""Builds a launch's image where it is submitted, and makes it a job that can be queued."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shipway.client import Client
from shipway.domain.draft import DEFAULT_ENTRY_POINT, Draft
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest
from shipway.domain.names import DEFAULT_PROJECT
from shipway.domain.queue import LOCAL_CONTAINER
from shipway.engines.engine import find_engine
from shipway.plugins.errors import PermanentError, PluginError
from shipway.plugins.find import find
from shipway.plugins.image_builder import (
    Image,
    ImageBuilder,
    ImageRequest,
    image_options,
    image_word,
)
from shipway.plugins.source import FetchRequest, Source, SourcePolicy, Tree
from shipway.sdk.capsule import Capsule
from shipway.sdk.git_refs import protocols

BUILDER = "container"


class CapsuleBlobs:
    """A packed directory's files, for a source that would read them from a server."""

    def __init__(self, capsule: Capsule) -> None:
        self._capsule = capsule

    def read(self, digest: str) -> bytes:
        """Return a file's bytes."""
        if digest == self._capsule.digest:
            return self._capsule.manifest
        return self._capsule.content(Digest(digest))

    def read_many(self, digests: list[str], take: Callable[[str, bytes], None]) -> None:
        """Call `take(digest, bytes)` for each file."""
        for digest in digests:
            take(digest, self.read(digest))


def can_build(env: Mapping[str, str]) -> bool:
    """Tell whether this machine has an engine; without one, an agent that has it builds."""
    try:
        find_engine(env)
    except PluginError:
        return False
    return True


def build_image(
    draft: Draft,
    capsule: Capsule | None,
    *,
    cache: Path,
    env: Mapping[str, str],
    tell: Callable[[str], None],
) -> Image:
    """Build the image of a draft's pinned source with this machine's engine, or find it.

    Raises `Invalid` with the engine's or the builder's sentence.
    """
    if draft.source is None:
        raise Invalid(
            "build goes with a directory or a git repository, not with a run", field="build"
        )
    try:
        tree = _fetch(draft.source, capsule, cache=cache, env=env, tell=tell)
        builder: ImageBuilder = find("shipway.builders", BUILDER)()
        args = draft.resource_args.get(LOCAL_CONTAINER) or {}
        return builder.build(
            ImageRequest(
                tree=tree.path,
                start=tree.path / tree.subdirectory,
                entry_point=draft.entry_point or DEFAULT_ENTRY_POINT,
                name=name_of(draft),
                cache=cache / "images",
                repository=draft.repository,
                env=env,
                print=tell,
                **image_options(draft.to_json(), args),
            )
        )
    except PluginError as error:
        raise Invalid(str(error), field="build") from error


def as_job(draft: Draft, image: Image, client: Client) -> Draft:
    """Store an image as a job's next version; return the draft that launches that job."""
    made = client.jobs.create(
        {
            "name": f"{name_of(draft)}-image",
            "kind": "image",
            "entity": draft.entity,
            "project": draft.project or DEFAULT_PROJECT,
            "source": {"kind": "image", "image": image.image},
            "entry_point": list(draft.entry_point or DEFAULT_ENTRY_POINT),
            "description": f"built of {draft.uri}",
        }
    )
    return replace(
        draft, uri=None, source=None, version=None, dockerfile=None, job=str(made["address"])
    )


def name_of(draft: Draft) -> str:
    """Return a word for an image, of its source's address."""
    address = str(draft.uri or "").split("#")[0].removeprefix("file://")
    folder = Path(address)
    last = folder.resolve().name if folder.is_dir() else address.rstrip("/").rpartition("/")[2]
    return image_word(last.removesuffix(".git"))


def _fetch(
    source: Mapping[str, Any],
    capsule: Capsule | None,
    *,
    cache: Path,
    env: Mapping[str, str],
    tell: Callable[[str], None],
) -> Tree:
    """Have the source as a tree on this disk, exactly as an agent would."""
    kind = str(source["kind"])
    plugin: Source = find("shipway.sources", kind)()
    blobs = CapsuleBlobs(capsule) if capsule is not None else NoBlobs()
    return plugin.fetch(
        FetchRequest(
            source=source,
            options={},
            cache=cache / "sources" / kind,
            blobs=blobs,
            policy=SourcePolicy(git_protocols=tuple(protocols(env))),
            print=tell,
        )
    )


class NoBlobs:
    """What a source gets that needs no server."""

    def read(self, digest: str) -> bytes:
        """Refuse."""
        raise PermanentError(f"nothing is stored here under {digest}")

    def read_many(self, digests: list[str], _take: Callable[[str, bytes], None]) -> None:
        """Refuse."""
        raise PermanentError(f"nothing is stored here under {digests}")
