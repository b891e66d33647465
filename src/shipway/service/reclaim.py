"""Finds stored blobs that nothing leads to any more, and deletes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shipway.domain.capsule import digests_in
from shipway.domain.errors import NotFound
from shipway.domain.ids import Digest
from shipway.domain.manifest import contents_digests
from shipway.service.ports import Blobs, Tx

GATHERED = 100_000  # blobs looked at in one round, which reads all references once
PAGE = 500  # rows read, or blobs deleted, in one step
CAPSULES = 50  # manifests read in one step

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A step on a view of what is committed."""

    do: Callable[[Tx], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """A step that is one transaction of its own."""

    do: Callable[[Tx], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """A step on the blobs themselves, without a transaction."""

    do: Callable[[], None]


Step = Reading | Writing | Looking


class Reclaim:
    """One look over all blobs, in short steps that its caller runs one after the other.

    What was put, or asked for, since `before` stays. So does what an item or an artifact that is
    not purged (a job is one), a saved file or a log leads to. Nothing can lead to an old blob anew
    without asking for it first: an add refuses a capsule that is about as old, `missing` makes
    blobs young, and so does the commit of an artifact.
    """

    def __init__(self, blobs: Blobs, *, before: int, is_dry_run: bool = False) -> None:
        self._blobs = blobs
        self._before = before
        self._is_dry_run = is_dry_run
        self._last = ""
        self._sizes: dict[Digest, int] = {}  # of what nothing seen so far leads to
        self._capsules: set[Digest] = set()  # what may be one, of all that was seen
        self._unread: list[Digest] = []
        self._is_over = False
        self._free: list[Digest] = []
        self.count = 0
        self.bytes = 0

    def steps(self) -> Iterator[Step]:
        """Yield what is to be done; each step needs the ones before it."""
        while True:
            yield Looking(do=self._gather)
            if not self._sizes:
                return
            is_last = len(self._sizes) < GATHERED
            yield from self._mark()
            yield from self._delete()
            if is_last:
                return

    def _gather(self) -> None:
        found = self._blobs.old(before=self._before, after=self._last, limit=GATHERED)
        self._sizes = dict(found)
        self._capsules.clear()
        if found:
            self._last = found[-1][0]

    def _mark(self) -> Iterator[Step]:
        for read in (
            self._items(),
            self._artifacts(),
            self._files(),
            self._console(),
            self._chunks(),
        ):
            self._is_over = False
            while not self._is_over:
                yield Reading(do=read)
                while self._unread:
                    yield Looking(do=self._read_capsules)

    def _delete(self) -> Iterator[Step]:
        gone = list(self._sizes)
        for at in range(0, len(gone), PAGE):
            part = gone[at : at + PAGE]
            if self._is_dry_run:
                self.count += len(part)
                self.bytes += sum(self._sizes[digest] for digest in part)
                continue

            def forget(tx: Tx, part: list[Digest] = part) -> None:
                self._free = tx.blobs.forget(part, before=self._before)

            yield Writing(do=forget)
            yield Looking(do=self._drop)

    def _drop(self) -> None:
        freed = self._blobs.drop(self._free, before=self._before)
        if freed:
            self.count += len(self._free)
            self.bytes += freed

    def _items(self) -> Callable[[Tx], None]:
        after = 0

        def read(tx: Tx) -> None:
            nonlocal after
            rows = tx.references.items(after=after, limit=PAGE)
            for seq, spec, lock in rows:
                after = seq
                self._reached(spec)
                if lock is not None:
                    self._sizes.pop(lock, None)
            self._is_over = not rows

        return read

    def _artifacts(self) -> Callable[[Tx], None]:
        after = 0

        def read(tx: Tx) -> None:
            nonlocal after
            rows = tx.references.artifacts(after=after, limit=PAGE)
            for seq, text in rows:
                after = seq
                self._reached(text)
            self._is_over = not rows

        return read

    def _files(self) -> Callable[[Tx], None]:
        after = (-1, "")

        def read(tx: Tx) -> None:
            nonlocal after
            rows = tx.references.files(after=after, limit=PAGE)
            for run_seq, path, digest in rows:
                after = (run_seq, path)
                self._sizes.pop(digest, None)
            self._is_over = not rows

        return read

    def _console(self) -> Callable[[Tx], None]:
        after = (-1, -1)

        def read(tx: Tx) -> None:
            nonlocal after
            rows = tx.references.console(after=after, limit=PAGE)
            for run_seq, number, digest in rows:
                after = (run_seq, number)
                self._sizes.pop(digest, None)
            self._is_over = not rows

        return read

    def _chunks(self) -> Callable[[Tx], None]:
        after: tuple[str, int, str, int] | None = None

        def read(tx: Tx) -> None:
            nonlocal after
            rows = tx.references.chunks(after=after, limit=PAGE)
            for item_id, attempt, name, start, digest in rows:
                after = (item_id, attempt, name, start)
                self._sizes.pop(digest, None)
            self._is_over = not rows

        return read

    def _reached(self, text: str) -> None:
        """Take every digest in a text for a capsule's: one too many only keeps a blob."""
        for digest in names_in(text):
            self._sizes.pop(digest, None)
            if digest not in self._capsules:
                self._capsules.add(digest)
                self._unread.append(digest)

    def _read_capsules(self) -> None:
        part, self._unread = self._unread[:CAPSULES], self._unread[CAPSULES:]
        for digest in part:
            try:
                manifest = self._blobs.get(digest)
            except NotFound:  # no blob, or a damaged one: nobody can run it
                continue
            for name in (*digests_in(manifest), *contents_digests(manifest)):
                self._sizes.pop(name, None)


def names_in(text: str) -> list[Digest]:
    """Return all that looks like a digest in a text."""
    return [Digest(name) for name in _DIGEST.findall(text)]
