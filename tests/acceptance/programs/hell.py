"""Programs from hell: `hell.py NAME TOKEN [NUMBER]`; the token marks every process.

What they print can be worked out from NAME and NUMBER alone, so that it is compared byte by byte.
"""

from __future__ import annotations

import os
import signal
import sys
import time

LIFE_S = 120  # so that nothing outlives a failed test for long
BLOCK = 1 << 16


def sleep() -> None:
    time.sleep(LIFE_S)


def in_child(action) -> int:  # noqa: ANN001 - run by a bare interpreter, kept small
    """Run an action in a child that never returns."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return pid


def write(data: bytes, file: int = 1) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def stop_self(_: int) -> None:
    """Stopped by its own hand, and not by its parent's."""
    write(b"before\n")
    os.kill(os.getpid(), signal.SIGSTOP)
    write(b"after\n")
    sleep()


def no_stdio(_: int) -> None:
    """Prints, then has no standard file left; goes on, and fails in its own way."""
    write(b"before\n")
    os.closerange(0, 3)
    time.sleep(0.3)
    os._exit(7)


def storm(count: int) -> None:
    """A crowd, each in a session of its own and deaf to SIGTERM, half of them grandchildren."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def one(depth: int) -> None:
        os.setsid()
        if depth:
            in_child(lambda: one(0))
        sleep()

    for _ in range(count // 2):
        in_child(lambda: one(1))
    write(b"here\n")
    sleep()


def last_words(_: int) -> None:
    """The main program is gone; its child prints when it is told to end."""

    def child() -> None:
        os.setsid()

        def speak(*_: object) -> None:
            write(b"child: last words\n")
            os._exit(0)

        signal.signal(signal.SIGTERM, speak)
        write(b"child: here\n")
        os.write(pipe[1], b".")
        sleep()

    pipe = os.pipe()
    in_child(child)
    os.read(pipe[0], 1)
    write(b"main: gone\n")


def orphan_speaks(_: int) -> None:
    """A grandchild prints once its parent is dead; the main program waits for that."""

    def grandchild() -> None:
        parent = os.getppid()
        os.write(up[1], b".")
        while os.getppid() == parent:
            time.sleep(0.01)
        write(b"orphan: my parent is dead\n")
        os.write(done[1], b".")

    def child() -> None:
        in_child(grandchild)
        os.read(up[0], 1)

    up, done = os.pipe(), os.pipe()
    os.waitpid(in_child(child), 0)
    os.read(done[0], 1)
    write(b"main: done\n")


def lines(size: int) -> None:
    """Numbered lines of 16 bytes."""
    for at in range(0, size // 16, BLOCK // 16):
        write(b"".join(b"%015d\n" % n for n in range(at, min(at + BLOCK // 16, size // 16))))


def progress(count: int) -> None:
    """A progress bar that never ends its line."""
    for n in range(count):
        write(b"\r%9d of %9d" % (n, count))
    write(b"\n")


def binary(rounds: int) -> None:
    """Every byte there is, in turn, to both streams: NULs, halves of UTF-8, escapes."""
    every = bytes(range(256)) * 4
    for _ in range(rounds):
        write(every)
        write(every[::-1], 2)


def long_line(size: int) -> None:
    """One line that does not end."""
    write(b"x" * size)


def pipe_full(size: int) -> None:
    """Says that it is there, then fills whatever takes what it prints."""
    write(b"here\n")
    write(b"y" * size)
    write(b"end\n")
    sleep()


if __name__ == "__main__":
    name, token, *rest = sys.argv[1:]
    globals()[name](int(rest[0]) if rest else 0)
