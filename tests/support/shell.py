"""Lets the SDK in the tests' own process act as a user of one shipway."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

import pytest


@contextlib.contextmanager
def shell_of(env: Mapping[str, str]) -> Iterator[None]:
    """Give this process the shipway variables of `env`, and no others of shipway's."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SHIPWAY_")]:
            patch.delenv(name)
        for name, value in env.items():
            if name.startswith("SHIPWAY_"):
                patch.setenv(name, value)
        yield
