"""Looks at the disks that database and blobs lie on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from shipway.domain.disk import Room
from shipway.server.settings import Settings


def folders_of(settings: Settings) -> list[Path]:
    """Return the folders that the server itself writes to."""
    folders = [settings.blobs]
    if settings.database.startswith("sqlite:///"):
        folders.append(Path(settings.database.removeprefix("sqlite:///")).absolute().parent)
    return folders


def room_of(folders: Sequence[Path]) -> Room:
    """Return what is left of the disk that is nearest to its end."""
    rooms = []
    for folder in folders:
        facts = os.statvfs(folder)
        size = facts.f_frsize
        rooms.append(Room(free=facts.f_bavail * size, total=facts.f_blocks * size))
    return min(rooms, key=lambda room: room.free - room.floor)
