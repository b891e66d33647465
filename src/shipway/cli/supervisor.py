"""Finds out whether supervisors of an agent's home live, and ends those that hold no program."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shipway.runners.local_home import (
    CONTROL_SOCKET,
    GUARDIAN,
    ControlKind,
    GuardianFacts,
    address,
    generation_name,
    generations,
    is_held,
    open_folder,
)
from shipway.runners.local_machine import is_process, read_boot_id

QUIT_WAIT_S = 15.0  # from being asked to having gone; it asks a dead slot's orphans to go first
LOOK_EVERY_S = 0.05
FOLDER_LIMIT = 64  # folders of an agent's home that are looked into


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    """A guardian that lives."""

    home: Path
    facts: GuardianFacts

    def is_there(self) -> bool:
        """Tell whether it still lives."""
        return is_process(self.facts.pid, self.facts.start)

    def ask_to_quit(self) -> None:
        """Ask it to end once it has no program."""
        with suppress(OSError):
            folder = open_folder(self.home / generation_name(self.facts.generation))
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                    order = json.dumps([ControlKind.QUIT]).encode()
                    end.sendto(order, address(folder, CONTROL_SOCKET))
            finally:
                os.close(folder)


def is_supervised(agent_home: Path) -> bool:
    """Tell whether a supervisor lives, or what a dead one left, which may hold programs."""
    return any(_is_in_use(home) for home in _homes(agent_home))


def end_supervisors(agent_home: Path) -> None:
    """End the supervisors of an agent that has ended; their programs were stopped before."""
    for home in _homes(agent_home):
        supervisor = _find(home)
        end = time.monotonic() + QUIT_WAIT_S
        while _is_in_use(home) and time.monotonic() < end:
            if supervisor is not None:
                supervisor.ask_to_quit()
            time.sleep(LOOK_EVERY_S)
        if supervisor is not None and supervisor.is_there():
            # its slots see its death, end what they hold, and go
            os.kill(supervisor.facts.pid, signal.SIGKILL)


def _homes(agent_home: Path) -> list[Path]:
    homes = [agent_home / "supervisor", *agent_home.glob("runner-*/supervisor")]
    found = [path for home in homes for path in (*home.glob(GUARDIAN), *home.glob(f"*/{GUARDIAN}"))]
    return [path.parent for path in found[:FOLDER_LIMIT]]


def _find(home: Path) -> Supervisor | None:
    facts = GuardianFacts.read(home)
    if facts is None or facts.boot_id != read_boot_id():
        return None
    supervisor = Supervisor(home=home, facts=facts)
    return supervisor if supervisor.is_there() else None


def _is_in_use(home: Path) -> bool:
    return any(is_held(home / generation_name(number)) for number in generations(home))
