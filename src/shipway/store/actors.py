"""Rows of users, keys, browser sessions and sign-in links."""

from __future__ import annotations

from shipway.domain.actor import Key, User
from shipway.domain.actor import Session as BrowserSession
from shipway.domain.errors import Exists
from shipway.domain.ids import KeyId, UserName
from shipway.domain.names import fold
from shipway.store.rows import check_text, to_key, to_session, to_user
from shipway.store.session import Session


class Actors:
    """The port `ActorRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert_user(self, user: User) -> None:
        """Store a user; `Exists` for a known name."""
        check_text(name=user.name, entity=user.entity)
        row = self._session.one(
            "insert_user",
            {
                "name": user.name,
                "name_folded": fold(user.name),
                "role": user.role.value,
                "entity": user.entity,
                "is_disabled": user.is_disabled,
                "created_at": user.created_at,
            },
        )
        if row is None:
            raise Exists(
                f"user {user.name!r} is there already",
                details={"field": "name", "value": user.name},
            )

    def users(self) -> list[User]:
        """Return all users in order of name."""
        return [to_user(row) for row in self._session.all("users", {})]

    def set_disabled(self, name: UserName, *, is_disabled: bool) -> User | None:
        """Disable or enable; None for an unknown one."""
        row = self._session.one("set_user_disabled", {"name": name, "is_disabled": is_disabled})
        return None if row is None else to_user(row)

    def insert_key(self, key: Key) -> None:
        """Store a key's hash."""
        check_text(label=key.label)
        self._session.run(
            "insert_key",
            {
                "id": key.id,
                "user_name": key.user,
                "role": key.role.value,
                "secret_hash": key.secret_hash,
                "label": key.label,
                "created_at": key.created_at,
                "revoked_at": key.revoked_at,
            },
        )

    def key(self, key_id: KeyId) -> tuple[Key, User] | None:
        """Return a key with its user, revoked ones too."""
        row = self._session.one("key_with_user", {"id": key_id})
        return None if row is None else (to_key(row), to_user(row[7:]))

    def keys(self) -> list[Key]:
        """Return all keys, newest first."""
        return [to_key(row) for row in self._session.all("keys", {})]

    def revoke(self, key_id: KeyId, *, now: int) -> Key | None:
        """Revoke a key and its sessions; None for an unknown one."""
        row = self._session.one("revoke_key", {"id": key_id, "now": now})
        if row is None:
            return None
        self._session.run("delete_sessions_of_key", {"key_id": key_id})
        self._session.run("delete_links_of_key", {"key_id": key_id})
        return to_key(row)


class Sessions:
    """The port `SessionRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, session: BrowserSession) -> None:
        """Store a session."""
        self._session.run(
            "insert_session",
            {
                "id_hash": session.id_hash,
                "key_id": session.key_id,
                "csrf": session.csrf,
                "created_at": session.created_at,
                "seen_at": session.seen_at,
            },
        )

    def get(self, id_hash: str) -> BrowserSession | None:
        """Return a session."""
        row = self._session.one("session", {"id_hash": id_hash})
        return None if row is None else to_session(row)

    def seen(self, id_hash: str, *, now: int) -> None:
        """Note its last use."""
        self._session.run("note_session", {"id_hash": id_hash, "now": now})

    def delete(self, id_hash: str) -> None:
        """Sign out; unknown ones are ignored."""
        self._session.run("delete_session", {"id_hash": id_hash})

    def add_link(self, id_hash: str, key_id: KeyId, *, expires_at: int) -> None:
        """Store a one-time sign-in link."""
        params = {"id_hash": id_hash, "key_id": key_id, "expires_at": expires_at}
        self._session.run("insert_link", params)

    def take_link(self, id_hash: str, *, now: int) -> KeyId | None:
        """Use a link up; None for one that is unknown, used or expired."""
        row = self._session.one("take_link", {"id_hash": id_hash})
        return None if row is None or row[1] <= now else KeyId(row[0])

    def purge(self, *, idle_since: int, now: int, limit: int) -> int:
        """Delete idle sessions, expired links and both of revoked keys; return how many."""
        sessions = {"idle_since": idle_since, "limit": limit}
        links = {"now": now, "limit": limit}
        return len(self._session.all("purge_sessions", sessions)) + len(
            self._session.all("purge_links", links)
        )
