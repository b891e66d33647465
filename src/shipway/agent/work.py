"""Does what the plan wants done to attempts: the hands of the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shipway.agent.building import Preparer
from shipway.agent.containing import ContainerPreparer
from shipway.agent.effects import Deadlines, Drain, Forget, Start, Stop
from shipway.agent.events import Ended, Event, Fetched, Started
from shipway.agent.faults import fault
from shipway.agent.fetching import Fetcher
from shipway.agent.lease import Key, Lease
from shipway.agent.need import Stock
from shipway.agent.shipping import Shipper
from shipway.agent.warm import Warm
from shipway.agent.workdir import Folders, Gone
from shipway.domain.attempt import LOG_CAP, Phase
from shipway.domain.item import Stage
from shipway.plugins.errors import PluginError
from shipway.plugins.runner import Runner, RunnerContext, RunRequest, RunStatus

log = logging.getLogger(__name__)


class Work:
    """The attempts of one agent, as things with folders and programs."""

    def __init__(
        self,
        *,
        runners: Mapping[str, Runner],
        fetcher: Fetcher,
        preparer: Preparer,
        containers: ContainerPreparer | None = None,  # for runners of images alone
        folders: Folders,
        shipper: Shipper,
        emit: Callable[[Event], None],
        boot_ms: Callable[[], int],
    ) -> None:
        self._runners = runners
        self._fetcher = fetcher
        self._preparer = preparer
        self._containers = containers
        self._folders = folders
        self._shipper = shipper
        self._emit = emit
        self._boot_ms = boot_ms
        self._warm = Warm(folders=self._at_hand, boot_ms=boot_ms)

    def open(
        self, contexts: Mapping[str, RunnerContext], alive: Sequence[Lease]
    ) -> list[tuple[str, RunStatus]]:
        """Open the runners and find their programs; once, before anything else."""
        found = []
        for resource, runner in self._runners.items():
            found += [(resource, status) for status in runner.open(contexts[resource])]
        keys = {lease.key for lease in alive}
        keys |= {f"{status.item}.{status.attempt}" for _, status in found}
        self._folders.sweep(keys)
        self._shipper.start()
        return found

    def notice(self, status: RunStatus) -> None:
        """Take what a runner says of a program, from any thread."""
        if status.phase is Phase.ENDED and status.ending is not None:
            key = f"{status.item}.{status.attempt}"
            self._emit(Ended(at=self._boot_ms(), key=key, ending=status.ending))

    def adopt(self, lease: Lease, handle: str) -> None:
        """Follow a program that was started before this agent was."""
        runner = self._runners[lease.resource]
        self._shipper.adopt(lease, self._folders.path(lease.key), runner, handle)

    def fetch(self, lease: Lease) -> Event | None:
        """Get the source, and all else where it is at hand; None when the answer comes later."""
        tree = self._fetcher.fetch(lease)
        if tree is None:
            return None
        return self._preparer_of(lease).take(lease, tree) or Fetched(
            at=self._boot_ms(), key=lease.key
        )

    def build(self, lease: Lease) -> Event | None:
        """Make it ready; None when the answer comes later."""
        return self._preparer_of(lease).build(lease, self._fetcher.tree(lease.key))

    def stock(self) -> Stock:
        """Return what is at hand for programs that start the moment they are leased."""
        return self._warm.stock()

    def cool(self, lease: Lease) -> None:
        """Offer a lease's source no more for a while."""
        self._warm.cool(lease)

    def start(self, effect: Start) -> Event:
        """Start the program."""
        lease = effect.lease
        prepared = self._preparer_of(lease).prepared(lease.key)
        runner = self._runners[lease.resource]
        request = RunRequest(
            item=lease.item,
            attempt=lease.attempt,
            token=lease.token,
            argv=prepared.argv,
            env=prepared.env,
            cwd=prepared.cwd,
            folder=prepared.folder,
            deadline=effect.deadline,
            grace_s=lease.grace_s,
            run_limit_s=lease.run_limit_s,
            log_cap=LOG_CAP,
            args=lease.args,
            container=prepared.container,
        )
        self._folders.start(lease.key)
        try:
            handle = runner.start(request)
        except (PluginError, OSError) as error:
            return fault(error, Stage.AGENT, lease.key, at=self._boot_ms())
        self._shipper.follow(lease, prepared.folder, runner, handle)
        self._warm.note(lease)
        return Started(at=self._boot_ms(), key=lease.key, handle=handle)

    def stop(self, effect: Stop) -> None:
        """End the program."""
        runner = self._runners[effect.lease.resource]
        runner.stop(effect.handle, grace_s=effect.grace_s, cause=effect.cause)

    def extend(self, effect: Deadlines) -> None:
        """Let programs go on."""
        for runner in self._runners.values():
            runner.renew(effect.by_handle)

    def drain(self, effect: Drain) -> Event | None:
        """Ship what is left of the logs; None when the answer comes later."""
        return self._shipper.drain(
            effect.lease, with_tail=effect.with_tail, program_size=effect.program_size
        )

    def forget(self, effects: Sequence[Forget]) -> None:
        """Let go of everything that attempts had."""
        if not effects:
            return
        for effect in effects:
            key: Key = effect.lease.key
            self._shipper.forget(key)
            self._fetcher.forget(key)
            self._preparer_of(effect.lease).forget(key)
            runner = self._runners.get(effect.lease.resource)
            if effect.handle is not None and runner is not None:
                runner.forget(effect.handle)
        self._folders.release_all(
            [
                Gone(
                    key=effect.lease.key,
                    has_failed=effect.failure is not None and not effect.is_lost,
                    may_pool=effect.handle is not None,
                )
                for effect in effects
            ]
        )

    def in_use(self) -> list[Path]:
        """Return what of the caches attempts use that do not say so on the disk."""
        return self._fetcher.in_use()

    def expire(self, *, older_s: float) -> None:
        """Remove folders that waited too long for another attempt at their tree."""
        self._folders.expire(older_s=older_s)

    def _preparer_of(self, lease: Lease) -> Preparer | ContainerPreparer:
        runner = self._runners.get(lease.resource)
        if runner is not None and runner.runs_images and self._containers is not None:
            return self._containers
        return self._preparer

    def _at_hand(self, lease: Lease) -> int:
        tree = self._fetcher.known(lease)
        if tree is None or not self._preparer_of(lease).is_made(lease, tree):
            return 0
        return self._folders.at_hand(tree.digest)

    def close(self) -> None:
        """Let go of everything; programs go on."""
        self._shipper.close()
        for runner in self._runners.values():
            runner.close()
