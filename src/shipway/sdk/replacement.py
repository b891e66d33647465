"""Replaces an embedded server of an older version, where nothing runs on it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from shipway.client import Client
from shipway.domain.errors import ShipwayError
from shipway.domain.item import HELD

END_LIMIT_S = 60.0  # until `shipway down` is done

_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def is_older(version: str, than: str) -> bool:
    """Tell whether a release came before another; what is no release is not older."""
    one, other = _RELEASE.match(version), _RELEASE.match(than)
    if one is None or other is None:
        return False
    return tuple(map(int, one.groups())) < tuple(map(int, other.groups()))


def is_idle(client: Client) -> bool:
    """Tell whether nobody holds an item of this server; one that does not say is not idle."""
    try:
        queues = client.queues.find()
    except ShipwayError:
        return False
    return not any(queue.get("counts", {}).get(state.value) for queue in queues for state in HELD)


def end(home: Path, env: Mapping[str, str], *, argv: tuple[str, ...] = ()) -> None:
    """End the embedded server of a home; what waits there waits on for the next one."""
    with suppress(OSError, subprocess.TimeoutExpired):  # then it goes on as it is
        subprocess.run(
            argv or (sys.executable, "-m", "shipway", "down"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**env, "SHIPWAY_HOME": str(home)},
            timeout=END_LIMIT_S,
            check=False,
        )
