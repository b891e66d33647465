"""Starts programs in the slots of a supervisor that outlives the agent, and follows them."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from shipway.domain.attempt import Cause
from shipway.domain.order import ORDER_FILE, Order
from shipway.domain.spool import (
    META,
    NOTE_READ,
    STOP_CAUSES,
    TEXT_SIZE,
    Note,
    Seat,
    Word,
    mark_of,
)
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.runner import RunnerContext, RunRequest, RunStatus
from shipway.runners.local_follow import Follower
from shipway.runners.local_guardian import ensure_guardian
from shipway.runners.local_home import (
    RUNNER_SOCKET,
    ControlKind,
    Settings,
    address,
    bind,
    map_beat,
    open_folder,
)
from shipway.runners.local_log import LogReader, remove_log
from shipway.runners.local_machine import boot_ms
from shipway.runners.local_seats import Held, Seats, kill_supervisor

SEAT_LIMIT_S = 10.0  # that `start` waits for a slot
GATHER_S = 0.002  # after one of many news: those of other short programs are taken in one go
MANY_MS = 5  # apart at most are many news: a drain is on, no single program waits
TICK_MS = 1_000  # between beats; at each, what notes may have been lost is looked after

log = logging.getLogger("shipway.runners.local")


class SupervisedRunner:
    """A thin client of `python -m shipway.supervise`; what local runners are made of."""

    def __init__(self, *, reins: str = "") -> None:
        self._reins = reins
        self._lock = threading.Condition()
        self._held: dict[str, Held] = {}
        self._is_open = False

    @classmethod
    def lacks(cls, _policy: ContainerPolicy, _env: Mapping[str, str], /) -> str:
        """Say why it cannot run anything on this machine: never."""
        return ""

    def open(self, context: RunnerContext) -> list[RunStatus]:
        """Find or start the supervisor; return every attempt that left a trace."""
        for folder in (context.home, context.attempts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._context = context
        self._settings = Settings(
            attempts=str(context.attempts.resolve()),
            slots=max(context.slots, 0),
            agent=context.agent,
            base_url=context.base_url,
            key_file=str(context.key_file),
            reins=self._reins,
        )
        self._home_handle = open_folder(context.home)
        self._socket = bind(self._home_handle, RUNNER_SOCKET)
        self._beat = map_beat(context.home)
        self._beat[0] = boot_ms()
        self._seats = Seats(context.home, self._socket, self._settings.slots)
        self._follower = Follower(
            self._held, self._lock, self._seats, context.attempts, reins=self._reins
        )
        self._follower.find_again(context.given)
        self._follower.end_orphans(self._follower.orphans())
        self._raise_guardian()
        self._seats.drop_generations()
        self._is_open = True
        self._thread = threading.Thread(target=self._listen, name="local-runner", daemon=True)
        self._thread.start()
        with self._lock:
            for held in self._held.values():
                held.told = held.phase
        return self.known

    @property
    def known(self) -> list[RunStatus]:
        """Return how all attempts stand that are not forgotten."""
        with self._lock:
            return [held.status() for held in self._held.values()]

    def start(self, request: RunRequest) -> str:
        """Send the program's order to a slot; the slot alone decides whether it is the first."""
        held = self._check(request)
        with self._lock:
            if held.handle in self._held:
                return held.handle
            held.order = _order(held.handle, request).to_bytes(self._seats.order_form())
            if not self._seats.has_idle() and not self._lock.wait_for(
                self._seats.has_idle, SEAT_LIMIT_S
            ):
                raise TemporaryError(f"no slot came free for {held.handle}; try again")
            if held.handle in self._held:  # by another thread, while this one waited
                return held.handle
            held.deadline = request.deadline
            if not self._seats.seat(held):
                raise TemporaryError(f"no slot took the order of {held.handle}; try again")
            self._held[held.handle] = held
        return held.handle

    def renew(self, deadlines: Mapping[str, int]) -> None:
        """Write deadlines on the board; frozen programs go on."""
        with self._lock:
            for handle, deadline in deadlines.items():
                held = self._held.get(handle)
                words = None if held is None else held.words()
                if held is not None and words is not None:
                    words[Word.DEADLINE] = held.deadline = deadline
                    if words[Word.STATE] == Seat.FROZEN:
                        self._seats.look(held)

    def stop(self, handle: str, *, grace_s: float, cause: str) -> None:
        """Write the stop on the board, wake the slot; the guardian watches that it acts."""
        index = STOP_CAUSES.index(Cause(cause))
        with self._lock:
            held = self._held.get(handle)
            if held is None or held.ending is not None:
                return
            until = boot_ms() + int(grace_s * 1000)
            if not held.stop_by:
                held.stop_cause = index
            held.stop_by = min(held.stop_by or until, until)
            words = held.words()
            if words is None:
                return  # it goes with the order, once a slot is there
            if not words[Word.STOP_BY]:  # else the renewer was first
                words[Word.STOP_CAUSE] = held.stop_cause
            words[Word.STOP_BY] = min(words[Word.STOP_BY] or until, until)
            self._seats.look(held)

    def status(self, handle: str) -> RunStatus | None:
        """Return how it stands, without asking anybody."""
        with self._lock:
            held = self._held.get(handle)
            return None if held is None else held.status()

    def log(self, handle: str, offset: int, limit: int) -> bytes:
        """Read the spool; past the log's cap the tail follows once the program ended."""
        with self._lock:
            held = self._held.get(handle)
            if held is None:
                return b""
            visible, is_ended = held.log_size(), held.ending is not None
            reader = held.log = held.log or LogReader(held.folder)
        return reader.read(offset, limit, visible=visible, is_ended=is_ended)

    def forget(self, handle: str) -> None:
        """Delete log, proof of start, record."""
        with self._lock:
            held = self._held.get(handle)
            if held is None or held.ending is None:
                return
            del self._held[handle]
            if held.place is not None:
                self._seats.forget(held.place)
        if held.ending.cause is Cause.WITHDRAWN:
            return  # the proof keeps a late slot off; it goes with the folder
        if held.ending.log_size:
            remove_log(held.folder)
        for name in (META, ORDER_FILE) if held.is_order_big else (META,):
            with suppress(FileNotFoundError):
                os.unlink(f"{held.folder}/{name}")  # noqa: PTH108 - half the cost of Path

    def close(self) -> None:
        """Let go of the supervisor; one without programs ends at once."""
        if not self._is_open:
            return
        self._is_open = False
        with suppress(OSError):
            self._socket.sendto(b"", address(self._home_handle, RUNNER_SOCKET))
        self._thread.join()
        with self._lock:
            is_busy = any(held.ending is None for held in self._held.values())
            if not is_busy and self._seats.current is not None:
                self._seats.current.control(self._socket, ControlKind.QUIT)
            self._seats.close()
        self._socket.close()
        os.close(self._home_handle)

    def _check(self, request: RunRequest) -> Held:
        handle = mark_of(request.item, request.attempt)
        if str(request.folder) != f"{self._context.attempts}/{handle}":  # `parent` makes a Path
            raise PermanentError(
                f"the folder of attempt {handle} must be {self._context.attempts / handle}, "
                f"not {request.folder}"
            )
        for text in (handle, request.token):
            if not 0 < len(text.encode()) <= TEXT_SIZE:
                raise PermanentError(f"{text!r} is longer than {TEXT_SIZE} bytes, or empty")
        return Held(request.item, request.attempt, request.token, request.folder)

    def _raise_guardian(self) -> None:
        facts = ensure_guardian(self._context.home, self._settings)
        with self._lock:
            self._seats.use(facts.generation)
            assert self._seats.current is not None
            self._seats.current.configure(self._socket, self._settings)

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        next_tick = last_news = 0
        while self._is_open:
            poll.poll(max(0, next_tick - boot_ms()))
            self._take_notes()
            has_news, now = self._tell(), boot_ms()
            if has_news:
                if now - last_news <= MANY_MS:
                    time.sleep(GATHER_S)
                last_news = boot_ms()
            if now >= next_tick:
                self._beat[0] = now
                next_tick = now + TICK_MS
                self._tick()
                self._tell()

    def _take_notes(self) -> None:
        with self._lock:
            with suppress(BlockingIOError):
                while data := self._socket.recv(NOTE_READ):
                    self._follower.take(Note.from_bytes(data))
            self._lock.notify_all()

    def _tick(self) -> None:
        try:
            with self._lock:
                self._follower.look_after()
                for held in self._follower.frozen():  # the guardian would have acted by now
                    kill_supervisor(held)
                if self._seats.current is not None and self._follower.is_guardian_frozen():
                    self._seats.current.kill_guardian()
                orphans = self._follower.orphans()
                is_guarded = self._seats.current is not None and self._seats.current.is_guarded()
                self._lock.notify_all()
            self._follower.end_orphans(orphans)
            if not is_guarded:
                self._raise_guardian()
        except (TemporaryError, OSError):  # the next tick tries again
            log.exception("looking after the supervisor failed")

    def _tell(self) -> bool:
        """Tell each phase that was not told yet; True if there was one.

        One that is not taken, or that came about in a look that failed later, is told next time.
        """
        with self._lock:
            changed = [
                (held, held.status()) for held in self._held.values() if held.phase is not held.told
            ]
        for held, status in changed:
            try:
                self._context.notify(status)
                held.told = status.phase
            except Exception:  # the outermost frame that knows which attempt it was about
                log.exception("a notice was not taken", extra={"handle": status.handle})
        return bool(changed)


def _order(mark: str, request: RunRequest) -> Order:
    return Order(
        mark=mark,
        token=request.token,
        argv=request.argv,
        env=request.env,
        cwd=str(request.cwd),
        folder=str(request.folder),
        grace_ms=int(request.grace_s * 1000),
        run_limit_ms=int((request.run_limit_s or 0) * 1000),
        log_cap=request.log_cap,
    )
