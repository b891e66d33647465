"""Answers the files of runs, with signed addresses to store and to read them."""

from __future__ import annotations

import fnmatch
import mimetypes
from typing import Any

from shipway.domain.run import Run, RunFile
from shipway.server.call import Call
from shipway.server.graphql import ids
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import time_of
from shipway.server.signed import Right
from shipway.service.ports import Tx
from shipway.service.runs import RunView

PAGE = 50  # files, where the client does not say
PAGE_LIMIT = 1_000


async def create_run_files(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Return an address for each file, in the order asked."""
    call = info.context
    actor, service, paths = call.actor, call.edge.service, input["files"]

    def work(tx: Tx) -> tuple[Run, int]:
        view = service.tracked.get(
            tx, actor, input["entityName"], input["projectName"], input["runName"]
        )
        return view.run, service.run_files.grant(tx, actor, view, paths)

    run, attempt = await call.edge.read(work)
    limit = call.edge.settings.limits.file_body
    files = [
        {
            "name": path,
            "uploadUrl": call.edge.signer.address(
                Right(
                    method="PUT",
                    entity=run.entity,
                    project=run.project,
                    run=run.id,
                    path=path,
                    size=limit,
                    attempt=attempt,
                )
            ),
        }
        for path in paths
    ]
    node = ids.run_node(run.id, run.project, run.entity)
    return {"runID": node, "uploadHeaders": [], "files": files}


async def files(
    view: RunView,
    info: Info,
    *,
    names: list[str | None] | None = None,
    after: str | None = None,
    first: int | None = None,
    pattern: str | None = None,
    upload: bool | None = None,  # noqa: ARG001 - addresses to store are made by a mutation
) -> dict[str, Any]:
    """Return a page of files, by name or by pattern."""
    call = info.context
    run = view.run
    found = await call.edge.read(lambda tx: call.edge.service.run_files.of_run(tx, run))
    if names:
        wanted = set(names)
        found = [file for file in found if file.path in wanted]
    if pattern:
        like = pattern.replace("%", "*")
        found = [file for file in found if fnmatch.fnmatchcase(file.path, like)]
    total = len(found)
    if after:
        found = [file for file in found if file.path > after]
    size = min(PAGE if first is None else max(first, 0), PAGE_LIMIT)
    edges = [
        {"node": _node(call, run, file), "cursor": file.path} for file in found[:size]
    ]  # fmt: skip
    return {
        "edges": edges,
        "pageInfo": {
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasNextPage": len(found) > size,
        },
        "totalCount": total,
        "uploadHeaders": [],
    }


async def file_count(view: RunView, info: Info) -> int:
    """Return how many files a run has."""
    call = info.context
    return len(await call.edge.read(lambda tx: call.edge.service.run_files.of_run(tx, view.run)))


def _node(call: Call, run: Run, file: RunFile) -> dict[str, Any]:
    address = call.edge.signer.address(
        Right(
            method="GET",
            entity=run.entity,
            project=run.project,
            run=run.id,
            path=file.path,
            size=file.size,
            digest=file.digest,
        )
    )
    return {
        "id": ids.node("File", run.entity, run.project, run.id, file.path),
        "name": file.path,
        "displayName": file.path,
        "url": lambda _info, upload=None: address,  # noqa: ARG005 - the schema's arguments
        "directUrl": address,
        "sizeBytes": file.size,
        "mimetype": mimetypes.guess_type(file.path)[0] or "application/octet-stream",
        "updatedAt": time_of(file.at),
        "md5": file.md5,
        "digest": file.digest,
    }


RESOLVERS: Resolvers = {
    "Mutation": {"createRunFiles": create_run_files},
    "Run": {"files": files, "fileCount": file_count},
}
