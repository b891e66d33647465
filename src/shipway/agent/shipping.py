"""Ships the logs of attempts to the server by offset, and says when all of one is there."""

from __future__ import annotations

import logging
import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from shipway.agent.events import Drained, Event, Lost
from shipway.agent.lease import Key, Lease
from shipway.agent.pool import Pool
from shipway.agent.streams import (
    CHUNK,
    BuildStream,
    ProgramStream,
    RecordStream,
    Stream,
    tail_lines,
)
from shipway.agent.transport import BlobCalls, ItemCalls
from shipway.domain.attempt import LogName
from shipway.domain.errors import Code, LeaseLost, ShipwayError, WrongOffset
from shipway.plugins.runner import Runner

log = logging.getLogger(__name__)

LOOK_S = 0.1  # between two looks at the sizes of live logs
AGAIN_S = 1.0  # after a piece that did not get through
GIVE_UP_S = 60.0  # without progress, while the server answers: then the log stays incomplete
LEVEL = 1  # of compression: 50 MB/s of one run must get through

_AWAY = frozenset({Code.UNREACHABLE, Code.TIMEOUT, Code.OVERLOADED, Code.UNKNOWN_OUTCOME})


@dataclass(slots=True, kw_only=True)
class _Cargo:
    """One attempt's streams, and how far each has come."""

    lease: Lease
    program: tuple[Path, Runner, str] | None = None  # folder, runner, handle; not looked at yet
    streams: dict[LogName, Stream] = field(default_factory=dict)
    offsets: dict[LogName, int] = field(default_factory=dict)  # what the server has
    starts: dict[LogName, list[int]] = field(default_factory=dict)  # of the last pieces
    is_gone: bool = False  # its lease is another's, or all is done
    is_busy: bool = False  # a thread has it
    is_final: bool = False  # nothing more will be written
    with_tail: bool = False
    not_before: float = 0.0
    progress_at: float = 0.0


class Shipper:
    """All attempts' logs; one thread looks, a few carry."""

    def __init__(
        self,
        *,
        items: ItemCalls,
        blobs: BlobCalls,
        pool: Pool,
        emit: Callable[[Event], None],
        boot_ms: Callable[[], int],
        now: Callable[[], int],
        look_s: float = LOOK_S,
    ) -> None:
        self._items = items
        self._blobs = blobs
        self._pool = pool
        self._emit = emit
        self._boot_ms = boot_ms
        self._now = now
        self._look_s = look_s
        self._cargos: dict[Key, _Cargo] = {}
        self._change = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._look, name="shipping", daemon=True)

    def start(self) -> None:
        """Begin to look; once."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; what was not shipped is shipped after the next start."""
        with self._change:
            self._is_closed = True
            self._change.notify()

    def build_log(self, lease: Lease, folder: Path) -> BuildStream:
        """Return an attempt's build log to print to; it is shipped while it grows."""
        cargo = self._cargo(lease)
        stream = cargo.streams.get(LogName.BUILD)
        if not isinstance(stream, BuildStream):
            stream = BuildStream(folder / "build.log", now=self._now)
            cargo.streams[LogName.BUILD] = stream
        return stream

    def follow(self, lease: Lease, folder: Path, runner: Runner, handle: str) -> None:
        """Ship what a program prints and records, from now on."""
        self._cargo(lease).program = (folder, runner, handle)

    def adopt(self, lease: Lease, folder: Path, runner: Runner, handle: str) -> None:
        """Go on with what an agent before this one began to ship."""
        if (folder / "build.log").exists():
            self.build_log(lease, folder)
        self.follow(lease, folder, runner, handle)

    def drain(self, lease: Lease, *, with_tail: bool, program_size: int | None) -> Drained | None:
        """Ship the rest, then emit `Drained`; it is returned at once where there is nothing."""
        cargo = self._cargo(lease)
        if not program_size and not cargo.streams and not _has_records(cargo):
            self.forget(lease.key)
            sizes = {} if program_size is None else {LogName.PROGRAM.value: 0}
            return Drained(at=self._boot_ms(), key=lease.key, log_sizes=sizes)
        with self._change:
            cargo.is_final = True
            cargo.with_tail = with_tail
            cargo.progress_at = self._boot_ms() / 1000
            cargo.not_before = 0.0
        self._carry(cargo)
        return None

    def forget(self, key: Key) -> None:
        """Ship nothing more of an attempt."""
        if key not in self._cargos:
            return
        with self._change:
            cargo = self._cargos.pop(key, None)
            if cargo is not None:
                cargo.is_gone = True

    def _cargo(self, lease: Lease) -> _Cargo:
        cargo = self._cargos.get(lease.key)
        if cargo is not None:
            return cargo
        with self._change:
            cargo = self._cargos.setdefault(lease.key, _Cargo(lease=lease))
            if len(self._cargos) == 1:
                self._change.notify()
            return cargo

    def _look(self) -> None:
        """Once in a while give those whose logs have grown to a thread."""
        while True:
            with self._change:
                if self._is_closed:
                    return
                self._change.wait(self._look_s if self._cargos else None)
                cargos = list(self._cargos.values())
            now = self._boot_ms() / 1000
            for cargo in cargos:
                if cargo.is_busy or cargo.not_before > now:
                    continue
                if cargo.is_final or self._has_more(cargo):
                    self._carry(cargo)

    def _unfold(self, cargo: _Cargo) -> None:
        """Make the streams of a program: most end before anybody looks."""
        with self._change:
            if cargo.program is None:
                return
            folder, runner, handle = cargo.program
            cargo.program = None
        cargo.streams[LogName.PROGRAM] = ProgramStream(
            lambda offset, limit: runner.log(handle, offset, limit),
            lambda: _log_size(runner, handle),
        )
        cargo.streams[LogName.RECORDS] = RecordStream(folder, upload=self._upload, now=self._now)

    def _has_more(self, cargo: _Cargo) -> bool:
        program = cargo.program
        if program is not None:
            _, runner, handle = program
            if not _log_size(runner, handle) and not _has_records(cargo) and not cargo.streams:
                return False
        self._unfold(cargo)
        return any(
            stream.size() > cargo.offsets.get(name, 0)
            for name, stream in list(cargo.streams.items())
        )

    def _carry(self, cargo: _Cargo) -> None:
        with self._change:
            if cargo.is_busy or cargo.is_gone or self._is_closed:
                return
            cargo.is_busy = True
        self._pool.submit(self._ship, cargo)

    def _ship(self, cargo: _Cargo) -> None:
        """Ship pieces until there are none, or one does not get through."""
        is_done = False
        try:
            was_final = cargo.is_final
            self._ship_all(cargo)
            is_done = was_final
        except LeaseLost:
            self.forget(cargo.lease.key)
            lease = cargo.lease
            self._emit(Lost(at=self._boot_ms(), item=lease.item, token=lease.token))
        except (ShipwayError, OSError) as error:
            is_done = self._put_off(cargo, error)
        except Exception:  # a pool's outermost frame: nobody else would tell
            log.exception("shipping failed", extra={"attempt": cargo.lease.key})
            is_done = self._put_off(cargo, None)
        finally:
            with self._change:
                cargo.is_busy = False
        if is_done and not cargo.is_gone:
            self._finish(cargo)
        elif cargo.is_final and cargo.not_before == 0.0:
            self._carry(cargo)

    def _ship_all(self, cargo: _Cargo) -> None:
        self._unfold(cargo)
        for name in (LogName.BUILD, LogName.PROGRAM, LogName.RECORDS):
            stream = cargo.streams.get(name)
            while stream is not None and not cargo.is_gone:
                offset = cargo.offsets.get(name, 0)
                if not self._ship_piece(cargo, stream, offset):
                    break
                cargo.progress_at = self._boot_ms() / 1000
                cargo.not_before = 0.0

    def _ship_piece(self, cargo: _Cargo, stream: Stream, offset: int) -> bool:
        piece = stream.piece(offset)
        if piece is None:
            return False
        lease = cargo.lease
        try:
            size = self._items.append_log(
                lease.item,
                stream.name.value,
                zlib.compress(piece.data, LEVEL),
                token=lease.token,
                attempt=lease.attempt,
                offset=offset,
                first_at=piece.first_at,
                last_at=piece.last_at,
            )
        except WrongOffset as error:  # an answer was lost, or another agent process was here
            size = int(error.details["size"])
            if size == offset:
                raise
        cargo.offsets[stream.name] = size
        cargo.starts.setdefault(stream.name, []).append(offset)
        del cargo.starts[stream.name][:-2]
        return True

    def _put_off(self, cargo: _Cargo, error: Exception | None) -> bool:
        """Say whether to give up; else it is tried again later."""
        now = self._boot_ms() / 1000
        cargo.not_before = now + AGAIN_S
        if isinstance(error, ShipwayError) and error.code in _AWAY:
            cargo.progress_at = now  # an unreachable server takes no report either
            return False
        log.warning("log not shipped", extra={"attempt": cargo.lease.key, "error": str(error)})
        return cargo.is_final and now - cargo.progress_at > GIVE_UP_S

    def _finish(self, cargo: _Cargo) -> None:
        sizes = {name.value: _final_size(stream) for name, stream in cargo.streams.items()}
        tail = self._tail(cargo) if cargo.with_tail else ()
        self.forget(cargo.lease.key)
        self._emit(Drained(at=self._boot_ms(), key=cargo.lease.key, log_sizes=sizes, log_tail=tail))

    def _tail(self, cargo: _Cargo) -> tuple[str, ...]:
        """Read the last lines from the local spool: of the program, or of building."""
        for name in (LogName.PROGRAM, LogName.BUILD):
            stream = cargo.streams.get(name)
            if stream is None or not stream.size():
                continue
            offset = cargo.starts.get(name, [0])[0]
            frames = b""
            while len(frames) < 4 * CHUNK and (piece := stream.piece(offset + len(frames))):
                frames += piece.data
            return tail_lines(frames)
        return ()

    def _upload(self, digest: str, file: BinaryIO, size: int) -> None:
        """Store a saved file's bytes, unless the server has them."""
        if self._blobs.missing([digest]):
            file.seek(0)
            data = file.read(size)
            if len(data) == size:
                self._blobs.put(digest, data)


def _has_records(cargo: _Cargo) -> bool:
    program = cargo.program
    return program is not None and os.access(f"{program[0]}/records.jsonl", os.F_OK)


def _final_size(stream: Stream) -> int:
    return stream.final_size() if isinstance(stream, RecordStream) else stream.size()


def _log_size(runner: Runner, handle: str) -> int:
    status = runner.status(handle)
    return 0 if status is None else status.log_size
