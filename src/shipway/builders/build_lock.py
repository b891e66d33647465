"""Lets one build at a time make a thing that many want, and notes when it was last used."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipway.plugins.errors import PermanentError
from shipway.plugins.source import Print

POLL_S = 0.02  # how soon the end of somebody else's build is noticed
USED = "used"  # a file whose time is that of the last use
USED_EVERY_S = 60.0


@contextmanager
def lock(file: Path, say: Print, deadline: float) -> Iterator[None]:
    """Hold a file lock; it excludes other threads too, and ends with its process."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        is_told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            if not is_told:
                say("another attempt is building the same; waiting for it")
                is_told = True
            if time.monotonic() > deadline:
                raise PermanentError(
                    "waiting for another build of the same took longer than its limit"
                )
            time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold a lock that others hold while they build; False where somebody does."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def stamp_used(file: Path) -> None:
    """Note a use in a file's time, at most once a minute."""
    try:
        if time.time() - file.stat().st_mtime < USED_EVERY_S:
            return
    except FileNotFoundError:
        pass
    file.touch()
