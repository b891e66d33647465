"""Lets builds share uv's cache, and nobody remove from it meanwhile."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUILDS_LOCK = "uv.lock"  # beside uv's cache, in the builder's own folder


@contextmanager
def building(cache: Path) -> Iterator[None]:
    """Keep uv's cache as it is while uv runs on it; any number may."""
    cache.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache / BUILDS_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
