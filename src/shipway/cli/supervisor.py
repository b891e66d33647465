"""Finds the supervisors of an agent's home, and ends those that hold no program."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
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


def supervisors(agent_home: Path) -> Iterator[Supervisor]:
    """Yield the guardians of an agent's home that live."""
    with suppress(OSError):
        boot_id = read_boot_id()
        home = agent_home / "supervisor"
        found = [*home.glob(GUARDIAN), *home.glob(f"*/{GUARDIAN}")]
        for path in found[:FOLDER_LIMIT]:
            facts = GuardianFacts.read(path.parent)
            if facts is not None and facts.boot_id == boot_id:
                supervisor = Supervisor(home=path.parent, facts=facts)
                if supervisor.is_there():
                    yield supervisor


def is_supervised(agent_home: Path) -> bool:
    """Tell whether a supervisor lives, which may hold programs."""
    return next(supervisors(agent_home), None) is not None


def end_supervisors(agent_home: Path) -> None:
    """End the supervisors of an agent that has ended; their programs were stopped before."""
    for supervisor in list(supervisors(agent_home)):
        end = time.monotonic() + QUIT_WAIT_S
        while supervisor.is_there() and time.monotonic() < end:
            supervisor.ask_to_quit()
            time.sleep(LOOK_EVERY_S)
        if supervisor.is_there():
            # its slots see its death, end what they hold, and go
            os.kill(supervisor.facts.pid, signal.SIGKILL)
