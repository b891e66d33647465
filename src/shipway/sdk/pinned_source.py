"""Pins what a launch's uri means: a commit, a capsule of files, or an earlier run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shipway.domain.draft import DEFAULT_ENTRY_POINT, Draft
from shipway.domain.errors import Invalid
from shipway.domain.git_address import GitAddress
from shipway.sdk.capsule import Capsule, pack
from shipway.sdk.git_refs import check_entry_point, protocols, resolve
from shipway.sdk.uri import DirectoryAddress, RunAddress, classify

Paths = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A draft whose uri is resolved, with the files that must be sent before it."""

    draft: Draft
    capsule: Capsule | None = None


def pin(
    draft: Draft, *, base_url: str | None, include: Paths, env: Mapping[str, str], cache: Path
) -> Pinned:
    """Resolve a draft's uri with the submitter's own git and files; nothing is sent.

    Raises `Invalid` for a directory, repository, ref or entry point that is not there.
    """
    assert draft.uri is not None
    found = classify(draft.uri, base_url, protocols=protocols(env))
    entry_point = draft.entry_point or DEFAULT_ENTRY_POINT
    if isinstance(found, DirectoryAddress):
        capsule = pack(found.path, version=draft.version, include=include, environ=env)
        capsule.check_entry_point(entry_point)
        return Pinned(draft=replace(draft, source=capsule.source()), capsule=capsule)
    if include:
        raise Invalid(
            "include names files of a directory: it cannot be used with this uri", field="include"
        )
    if isinstance(found, RunAddress):
        return Pinned(draft=_again(draft, found))
    return Pinned(draft=_at_commit(draft, found, entry_point, env, cache))


def _at_commit(
    draft: Draft,
    address: GitAddress,
    entry_point: Sequence[str],
    env: Mapping[str, str],
    cache: Path,
) -> Draft:
    commit, ref = resolve(address.url, draft.version, environ=env, home=cache)
    check_entry_point(
        address.url, commit, address.subdirectory, entry_point, home=cache, environ=env
    )
    source = {
        "kind": "git",
        "url": address.url,
        "commit": commit,
        "ref": ref,
        "subdirectory": address.subdirectory,
    }
    return replace(draft, source=source)


def _again(draft: Draft, address: RunAddress) -> Draft:
    if draft.version is not None:
        raise Invalid(
            "version cannot be used with a run: it is launched again from its own commit",
            field="version",
            value=draft.version,
        )
    return replace(draft, run=f"{address.entity}/{address.project}/{address.run_id}")
