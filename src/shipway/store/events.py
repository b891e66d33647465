"""Rows of events, which a transaction keeps until its end, when they get their numbers."""

from __future__ import annotations

from shipway.domain.ids import ItemId
from shipway.domain.item import ItemEvent
from shipway.store.rows import check_text, to_event, to_json
from shipway.store.session import Session


class Events:
    """The port `EventRows` on one connection.

    Appended events go into the table by `flush`, just before the commit: so their numbers are in
    the order of commits, and one statement stores them all.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._new: list[tuple[ItemEvent, str]] = []
        self._checked = ""  # the actor of the event before: one call has many by the same

    def append(self, event: ItemEvent) -> None:
        """Add an event; it is published to subscribers after the commit."""
        if event.actor is not self._checked:
            check_text(actor=event.actor)
            self._checked = event.actor
        self._new.append((event, to_json(event.data)))

    def of_item(self, item_id: ItemId, *, after_seq: int = 0) -> list[ItemEvent]:
        """Return the events of one item, oldest first; those of this transaction have seq 0."""
        params = {"item_id": item_id, "after_seq": after_seq}
        stored = [to_event(row) for row in self._session.all("events_of_item", params)]
        if self._new:
            stored += [event for event, _ in self._new if event.item_id == item_id]
        return stored

    def after(self, seq: int, *, limit: int) -> list[ItemEvent]:
        """Return stored events of all items after a seq, oldest first."""
        params = {"after_seq": seq, "limit": limit}
        return [to_event(row) for row in self._session.all("events_after", params)]

    def last_seq(self) -> int:
        """Return the newest stored event's seq, 0 if there is none."""
        row = self._session.one("last_event", {})
        assert row is not None
        return int(row[0])

    @property
    def count(self) -> int:
        """How many events wait for the end of the transaction."""
        return len(self._new)

    def appended(self) -> list[ItemEvent]:
        """Return the events that wait for the end of the transaction, not yet numbered."""
        return [event for event, _ in self._new]

    def drop(self, keep: int = 0) -> None:
        """Forget all that came after the first so many: their work was rolled back."""
        del self._new[keep:]

    def flush(self) -> list[ItemEvent]:
        """Store what was appended and return it numbered; only its caller may number events."""
        if not self._new:
            return []
        first = self.last_seq() + 1
        self._session.many(
            "insert_event",
            [
                {
                    "seq": seq,
                    "item_id": event.item_id,
                    "queue_id": event.queue_id,
                    "event": event.event,
                    "state": event.state.value,
                    "attempt": event.attempt,
                    "actor": event.actor,
                    "at": event.at,
                    "data": data,
                }
                for seq, (event, data) in enumerate(self._new, first)
            ],
        )
        stored = [
            ItemEvent._make((seq, *event[1:])) for seq, (event, _) in enumerate(self._new, first)
        ]
        self._new.clear()
        return stored
