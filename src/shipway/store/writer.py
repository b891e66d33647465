"""Writes in groups: many requests, one commit, and no answer before it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from shipway.domain.errors import Overloaded, ShipwayError, UnknownOutcome
from shipway.domain.item import ItemEvent
from shipway.store.session import Contended, DiskFailed, Engine, Taken
from shipway.store.transaction import Transaction

T = TypeVar("T")

GROUP_LIMIT = 500  # requests in one commit
GROUP_S = 0.005  # seconds of work in one commit
QUEUE_LIMIT = 10_000  # requests that wait; more are refused
RUN_LIMIT = 3  # times that one request's work is run when other servers are in the way
TAKEN_LIMIT = 20  # the same when they only were faster: each time is one commit of theirs

Work = Callable[[Transaction], Any]
Take = Callable[[Sequence[ItemEvent]], None]
Claim = Callable[[Sequence[ItemEvent]], Sequence[tuple[Future[Any], Work]]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Done:
    """What one request came to; told to nobody before the commit."""

    future: Future[Any]
    result: object = None
    error: BaseException | None = None


class Writer:
    """The one writer of a store.

    `drain` is a whole step by itself, so that a simulator can call it; `start` runs it in a thread
    whenever something waits.
    """

    def __init__(
        self,
        engine: Engine,
        transaction: Transaction,
        *,
        fatal: Callable[[BaseException], None],
        seconds: Callable[[], float] = time.monotonic,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._engine = engine
        self._tx = transaction
        self._fatal = fatal
        self._seconds = seconds
        self._queue_limit = queue_limit
        self._queue: deque[tuple[Future[Any], Work]] = deque()
        self._heard: deque[Sequence[ItemEvent]] = deque()  # other servers' events
        self._subscribers: list[Take] = []
        self._claim: Claim | None = None
        self._wake = threading.Condition()
        self._is_idle = False
        self._is_closed = False
        self._is_done = False  # closed, with nobody left who would drain
        self._is_broken = False
        self._thread: threading.Thread | None = None

    def write(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Queue work; the future is answered after its commit."""
        future: Future[T] = Future()
        if self._is_closed or self._is_broken:
            future.set_exception(Overloaded("the store is closed: try again later"))
        elif len(self._queue) >= self._queue_limit:
            future.set_exception(
                Overloaded(f"{self._queue_limit} requests wait to be written: try again later")
            )
        else:
            self._queue.append((future, work))
            self._notify()
            if self._is_done:  # closed in between
                self._refuse_all()
        return future

    def subscribe(self, take: Take) -> None:
        """Call `take` with the events of each commit, after it."""
        self._subscribers.append(take)

    def before_commit(self, claim: Claim) -> None:
        """Ask, before each commit, for work that its events call for: it joins their group."""
        self._claim = claim

    def hear(self, events: Sequence[ItemEvent]) -> None:
        """Publish events of another server's commits, in the writer's own thread."""
        self._heard.append(events)
        self._notify()

    def start(self) -> None:
        """Begin to drain in a thread."""
        assert self._thread is None
        self._thread = threading.Thread(target=self._loop, name="shipway-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what is queued and end the thread; a second call does nothing."""
        self._is_closed = True
        with self._wake:
            self._wake.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        while self._queue and not self._is_broken:
            self.drain()
        self._is_done = True
        self._refuse_all()

    def drain(self) -> int:
        """Take what is queued, within the limits, commit it as a group and answer; how many."""
        while self._heard:
            self._publish(self._heard.popleft())
        if not self._queue:
            return 0
        try:
            self._engine.begin()
        except ShipwayError as error:
            return self._answer_queued(error)
        group: list[_Done] = []
        claims: list[_Done] = []
        try:
            self._run_group(group)
            self._run_claims(claims)
            events = self._commit()
        except ShipwayError as error:
            self._give_up(group + claims, error)
            return len(group)
        except Exception as error:  # noqa: BLE001 - the outermost loop: futures must be answered
            self._give_up(group + claims, error)
            return len(group)
        for done in group + claims:
            if done.error is None:
                done.future.set_result(done.result)
            else:
                done.future.set_exception(done.error)
        if events:
            self._publish(events)
        return len(group)

    def _run_group(self, group: list[_Done]) -> None:
        queue = self._queue
        if len(queue) == 1:  # nothing to keep apart, so no savepoint either
            self._run_alone(group)
            return
        until = self._seconds() + GROUP_S
        while queue and len(group) < GROUP_LIMIT:
            future, work = queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            group.append(_Done(future))
            group[-1] = self._run_part(future, work)
            if self._seconds() >= until:
                break

    def _run_claims(self, claims: list[_Done]) -> None:
        """Run what waited for these events, so that one commit answers both."""
        if self._claim is None or not self._tx.events.count:
            return
        try:
            called = self._claim(self._tx.events.appended())
        except Exception:  # as a subscriber's fault: it stays its own
            log.exception("nobody could be asked for work that joins a commit")
            return
        for future, work in called:
            if future.set_running_or_notify_cancel():
                claims.append(_Done(future))
                claims[-1] = self._run_part(future, work)

    def _run_part(self, future: Future[Any], work: Work) -> _Done:
        for run in itertools.count(1):
            kept = self._tx.events.count
            self._engine.begin_part()
            try:
                result = work(self._tx)
                self._engine.end_part()
            except Exception as error:
                self._tx.events.drop(kept)
                if not self._engine.is_open():
                    raise  # it took the whole transaction with it
                self._engine.undo_part()
                if isinstance(error, DiskFailed):
                    raise
                if not _may_run_again(error, run):
                    return _Done(future, error=error)
            else:
                return _Done(future, result)
        raise AssertionError("unreachable")

    def _run_alone(self, group: list[_Done]) -> None:
        future, work = self._queue.popleft()
        if not future.set_running_or_notify_cancel():
            return
        group.append(_Done(future))
        for run in itertools.count(1):
            try:
                group[0] = _Done(future, work(self._tx))
            except (Taken, Contended) as error:
                if not _may_run_again(error, run):
                    raise
                self._tx.events.drop()
                self._engine.rollback()
                self._engine.begin()
            else:
                return

    def _commit(self) -> list[ItemEvent]:
        events: list[ItemEvent] = []
        if self._tx.events.count:
            self._engine.lock_events()
            events = self._tx.events.flush()
        self._engine.commit(events)
        return events

    def _give_up(self, group: Sequence[_Done], error: BaseException) -> None:
        """Answer the whole group with what became of its transaction."""
        self._tx.events.drop()
        self._engine.rollback()
        if isinstance(error, DiskFailed):
            self._is_broken = True
        for done in group:
            done.future.set_exception(error)
        if isinstance(error, DiskFailed):
            self._refuse_all()
            self._fatal(error)

    def _answer_queued(self, error: BaseException) -> int:
        count = 0
        while self._queue and count < GROUP_LIMIT:
            future, _ = self._queue.popleft()
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            count += 1
        if isinstance(error, DiskFailed):
            self._is_broken = True
            self._refuse_all()
            self._fatal(error)
        return count

    def _refuse_all(self) -> None:
        with contextlib.suppress(IndexError):  # somebody else may empty it too
            while self._queue:
                future, _ = self._queue.popleft()
                if future.set_running_or_notify_cancel():
                    future.set_exception(Overloaded("the store is closed; nothing was stored"))

    def _publish(self, events: Sequence[ItemEvent]) -> None:
        for take in self._subscribers:
            try:
                take(events)
            except Exception:  # the outermost loop: a subscriber's fault stays its own
                log.exception("a subscriber failed", extra={"events": len(events)})

    def _notify(self) -> None:
        # The flag is set before the queue is looked at a last time, so no wake-up is lost.
        if self._is_idle:
            with self._wake:
                self._wake.notify()

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._is_idle = True
                while not (self._queue or self._heard or self._is_closed):
                    self._wake.wait()
                self._is_idle = False
            if not self._queue and self._is_closed:
                return
            if self._is_broken:
                return
            self.drain()


def _may_run_again(error: BaseException, run: int) -> bool:
    """Tell whether work that other servers disturbed for the run-th time is worth another."""
    if isinstance(error, Taken):
        return run < TAKEN_LIMIT
    return isinstance(error, Contended) and run < RUN_LIMIT


def unknown_outcome(error: BaseException) -> UnknownOutcome:
    """Say that a commit may or may not have happened."""
    return UnknownOutcome(
        f"the commit may or may not have happened ({error}): send the same request again"
    )


def quietly(close: Callable[[], object]) -> None:
    """Close something whose errors change nothing any more."""
    with contextlib.suppress(Exception):
        close()
