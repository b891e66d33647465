"""The routes of users, keys and sign-in links."""

from __future__ import annotations

from typing import Any

from shipway.client.wire import Wire, segment


class People:
    """`/users`, `/keys` and `/signin-links`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def create_user(self, name: str, role: str, *, entity: str | None = None) -> dict[str, Any]:
        """Create a user of an entity, their own unless it is named.

        `role` is the most that a key of theirs may have.
        """
        return self._wire.post("/users", {"name": name, "role": role, "entity": entity})

    def users(self) -> list[dict[str, Any]]:
        """Return all users."""
        found: list[dict[str, Any]] = self._wire.get("/users")["items"]
        return found

    def disable_user(self, name: str) -> dict[str, Any]:
        """Refuse all of a user's keys."""
        return self._wire.post(f"/users/{segment(name)}/disable")

    def enable_user(self, name: str) -> dict[str, Any]:
        """Accept a user's keys again."""
        return self._wire.post(f"/users/{segment(name)}/enable")

    def create_key(
        self, *, user: str | None = None, role: str | None = None, label: str | None = None
    ) -> dict[str, Any]:
        """Make a key; its text is in this answer and nowhere else."""
        asked = {"user": user, "role": role, "label": label}
        return self._wire.post(
            "/keys", {name: value for name, value in asked.items() if value is not None}
        )

    def keys(self) -> list[dict[str, Any]]:
        """Return the keys without their secrets."""
        found: list[dict[str, Any]] = self._wire.get("/keys")["items"]
        return found

    def revoke_key(self, key_id: str) -> None:
        """Refuse a key from now on."""
        self._wire.send("DELETE", f"/keys/{segment(key_id)}")

    def signin_link(self) -> str:
        """Return an address that signs a browser in, once."""
        return str(self._wire.post("/signin-links")["url"])
