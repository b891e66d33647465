"""Gets the sources of attempts: once for all that need the same one."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from shipway.agent.events import Event, Fetched
from shipway.agent.faults import fault
from shipway.agent.flights import Flights
from shipway.agent.lease import Key, Lease
from shipway.agent.pool import Pool
from shipway.agent.shipping import Shipper
from shipway.agent.workdir import Folders
from shipway.domain.item import Stage
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.errors import PermanentError
from shipway.plugins.source import BlobReader, FetchRequest, Source, SourcePolicy, Tree

TREES = 256  # sources that are remembered
FRESH_MS = 30_000  # a remembered one is looked over by its plugin again after so long

OPTIONS = ("submodules", "lfs", "pull", "platform")  # of a resource's arguments: sources' own

FindSource = Callable[[str], Source]
Want = tuple[str, str]


class Fetcher:
    """Sources of the attempts that are held."""

    def __init__(
        self,
        *,
        find: FindSource,
        cache: Path,
        policy: SourcePolicy,
        containers: ContainerPolicy,
        env: Mapping[str, str],
        blobs: BlobReader,
        folders: Folders,
        shipper: Shipper,
        pool: Pool,
        emit: Callable[[Event], None],
        boot_ms: Callable[[], int],
    ) -> None:
        self._find = find
        self._cache = cache
        self._policy = policy
        self._containers = containers
        self._env = env
        self._blobs = blobs
        self._folders = folders
        self._shipper = shipper
        self._pool = pool
        self._emit = emit
        self._boot_ms = boot_ms
        self._known: OrderedDict[Want, tuple[Tree, int]] = OrderedDict()
        self._trees: dict[Key, Tree] = {}
        self._flights: Flights[Lease] = Flights()
        self._last: tuple[Lease, Want] | None = None

    def fetch(self, lease: Lease) -> Tree | None:
        """Get a source: at once if it is known, else `Fetched` or `Failed` is emitted."""
        tree = self.known(lease)
        if tree is not None:
            self._trees[lease.key] = tree
            return tree
        want = self._want(lease)
        first = self._flights.board(want, lease)
        if first is None:
            self._pool.submit(self._fetch, want, lease)
        return None

    def known(self, lease: Lease) -> Tree | None:
        """Return a lease's source if it was fetched of late."""
        known = self._known.get(self._want(lease))
        if known is None or self._boot_ms() - known[1] >= FRESH_MS:
            return None
        return known[0]

    def _want(self, lease: Lease) -> Want:
        """Return what says which source a lease wants; equal specs often come as one object."""
        last = self._last
        if last is not None and last[0].spec is lease.spec and last[0].resource == lease.resource:
            return last[1]
        want = _want(lease)
        self._last = (lease, want)
        return want

    def tree(self, key: Key) -> Tree:
        """Return an attempt's source."""
        return self._trees[key]

    def in_use(self) -> list[Path]:
        """Return where the sources of attempts lie; any thread may ask."""
        return [tree.path for tree in list(self._trees.values())]

    def forget(self, key: Key) -> None:
        """Let go of an attempt's source; it stays in the cache."""
        self._trees.pop(key, None)

    def _fetch(self, want: Want, lease: Lease) -> None:
        try:
            tree = self._call(lease)
        except Exception as error:  # noqa: BLE001 - a pool's outermost frame; `fault` sorts them
            for waiting in self._flights.land(want):
                self._emit(fault(error, Stage.SOURCE, waiting.key, at=self._boot_ms()))
            return
        self._known[want] = (tree, self._boot_ms())
        while len(self._known) > TREES:
            self._known.popitem(last=False)
        for waiting in self._flights.land(want):
            self._trees[waiting.key] = tree
            self._emit(Fetched(at=self._boot_ms(), key=waiting.key))

    def _call(self, lease: Lease) -> Tree:
        source = lease.spec.get("source") or {}
        kind = str(source.get("kind"))
        printing = self._shipper.build_log(lease, self._folders.open(lease.key))
        try:
            plugin = self._find(kind)
        except PermanentError:
            printing.print(f"this agent fetches no sources of kind {kind!r}")
            raise
        options = {name: lease.args[name] for name in OPTIONS if name in lease.args}
        request = FetchRequest(
            source=source,
            options=options,
            cache=self._cache / kind,
            blobs=self._blobs,
            policy=self._policy,
            containers=self._containers,
            env=self._env,
            print=printing.print,
        )
        try:
            return plugin.fetch(request)
        except Exception as error:
            printing.print(str(error))
            raise


def _want(lease: Lease) -> Want:
    args = lease.args
    return (
        json.dumps(lease.spec.get("source")),  # the spec is canonical
        " ".join(str(args.get(name)) for name in OPTIONS),
    )
