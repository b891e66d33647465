"""Knows whether the server's own disk has room for new work."""

from __future__ import annotations

from shipway.domain.disk import Room
from shipway.domain.errors import StorageFull


class Space:
    """What was last seen of the disk of database and blobs; whoever looks at it notes it here."""

    def __init__(self) -> None:
        self._room: Room | None = None

    def note(self, room: Room) -> None:
        """Note what is left."""
        self._room = room

    @property
    def short(self) -> Room | None:
        """What is left, if that is too little for new work."""
        return self._room if self._room is not None and self._room.is_low else None

    def check(self) -> None:
        """Raise `StorageFull` while there is too little room for new work."""
        short = self.short
        if short is not None:
            raise StorageFull(
                f"the server's disk has {short}: no new work is taken, what runs goes on; make "
                "room there, and see what 'shipway gc' finds"
            )
