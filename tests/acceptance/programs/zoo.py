"""Programs that do not want to die: `zoo.py CREATURE TOKEN`; the token marks every process."""

from __future__ import annotations

import os
import signal
import sys
import time

LIFE_S = 120  # so that nothing outlives a failed test for long
SELF = sys.argv[0]


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


def double_fork() -> None:
    """A daemon: its parent is gone at once."""
    os.waitpid(in_child(lambda: in_child(lambda: (os.setsid(), sleep()))), 0)
    sleep()


def setsid() -> None:
    """A child in a session of its own; the main program leaves."""
    in_child(lambda: (os.setsid(), sleep()))


def ignore_term() -> None:
    """Deaf to SIGTERM, SIGHUP, SIGINT."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sleep()


def closed_stdio() -> None:
    """A child without any file; the main program leaves."""
    in_child(lambda: (os.setsid(), os.closerange(0, 64), sleep()))


def empty_env() -> None:
    """A child that nobody can tell by its environment."""

    def hide() -> None:
        os.setsid()
        os.execve(sys.executable, [sys.executable, "-S", "-E", SELF, "sleep", sys.argv[2]], {})  # noqa: S606 - that is the point

    in_child(hide)
    sleep()


def respawner() -> None:
    """Whatever child dies, another one comes."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        os.waitpid(in_child(sleep), 0)


def tree() -> None:
    """Three levels of three."""

    def grow(depth: int) -> None:
        if depth:
            for _ in range(3):
                in_child(lambda: grow(depth - 1))
        sleep()

    grow(3)


def stopped() -> None:
    """A child that stopped itself."""
    in_child(lambda: (os.setsid(), os.kill(os.getpid(), signal.SIGSTOP), sleep()))
    sleep()


def fork_tree() -> None:
    """A moving target: each process makes two, then leaves; at most a few live at once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    until = time.monotonic() + LIFE_S

    def run() -> None:
        while time.monotonic() < until:
            time.sleep(0.005)
            if os.fork():
                os._exit(0)
            os.setsid()

    for _ in range(4):
        in_child(run)
    sleep()


if __name__ == "__main__":
    print("here", flush=True)
    {
        "double_fork": double_fork,
        "setsid": setsid,
        "ignore_term": ignore_term,
        "closed_stdio": closed_stdio,
        "empty_env": empty_env,
        "respawner": respawner,
        "tree": tree,
        "stopped": stopped,
        "fork_tree": fork_tree,
        "sleep": sleep,
    }[sys.argv[1]]()
