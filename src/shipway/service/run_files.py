"""Lets clients store and read the files of runs by addresses that carry their own right."""

from __future__ import annotations

from collections.abc import Sequence

from shipway.domain.actor import Actor
from shipway.domain.errors import Invalid, LeaseLost
from shipway.domain.ids import Digest
from shipway.domain.item import HELD
from shipway.domain.run import Run, RunFile, is_clean_path
from shipway.service.ports import Clock, Tx
from shipway.service.runs import RunView
from shipway.service.tracked_runs import TrackedRuns

FILES_LIMIT = 10_000  # files asked for at once


class RunFiles:
    """Use cases of files that travel by signed addresses."""

    def __init__(self, *, clock: Clock, tracked: TrackedRuns) -> None:
        self._clock = clock
        self._tracked = tracked

    def grant(
        self, tx: Tx, actor: Actor, view: RunView, paths: Sequence[str]
    ) -> int:  # fmt: skip
        """Raise unless the actor may store these files now; return the attempt that may."""
        self._tracked.check_writes(tx, actor, view.run)
        if len(paths) > FILES_LIMIT:
            raise Invalid(f"at most {FILES_LIMIT} files a call", field="files", value=len(paths))
        for path in paths:
            if not is_clean_path(path):
                raise Invalid(
                    f"file {path!r} is not a relative path without '..'", field="files", value=path
                )
        return actor.attempt

    def add(
        self, tx: Tx, run: Run, *, path: str, digest: Digest, size: int, md5: str, attempt: int
    ) -> None:  # fmt: skip
        """Note a file whose bytes are stored; an attempt that has ended stores nothing more."""
        item = tx.items.get(run.item_id) if run.item_id is not None else None
        if attempt and (item is None or item.state not in HELD or item.attempt != attempt):
            raise LeaseLost(f"attempt {attempt} of run {run.id} has ended")
        now = self._clock.now()
        tx.blobs.add(run.entity, {digest: size}, now=now)
        file = RunFile(path=path, digest=digest, size=size, at=now, md5=md5)
        tx.runs.add_file(run.seq, file)

    def of_run(self, tx: Tx, run: Run) -> list[RunFile]:
        """Return the files of a run that the actor was shown."""
        return tx.runs.files(run.seq)
