"""Knows people by their keys, programs by their attempt's token, browsers by their session."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from shipway.domain.actor import Actor, Key, Role, Session, User
from shipway.domain.errors import (
    Conflict,
    Exists,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
)
from shipway.domain.ids import (
    KEY_SECRET_LENGTH,
    ItemId,
    KeyId,
    Random,
    Token,
    UserName,
    new_key,
    new_key_id,
    new_token,
    split_key,
)
from shipway.domain.item import HELD, Item
from shipway.domain.names import check_name, check_title, fold
from shipway.service.access import ADMINS, READERS, missing, require
from shipway.service.ports import Clock, Tx
from shipway.service.queues import Queues

IDLE_MS = 12 * 3600 * 1000  # a session unused for so long is over
LINK_MS = 5 * 60 * 1000  # a sign-in link lives so long
SEEN_EVERY_MS = 60_000  # how often a session's last use is written down
PURGE_LIMIT = 1_000  # sessions, and links, deleted at once
SIGNING_KEY = "signing_key"  # its name among the server's own secrets
EMBEDDED = "embedded"  # the label of an embedded home's own key

_JOB = "j"  # the first letter of a job key's id; no other key id begins with it
_REFUSED = "the key is not valid: it is unknown, revoked, or its user is disabled"
_TRUSTED = frozenset({Role.ADMIN, Role.AGENT})  # their agents see through everybody's items
_ORDER = (Role.VIEWER, Role.AGENT, Role.MEMBER, Role.ADMIN)


class Keys:
    """Users, keys and sessions."""

    def __init__(self, *, clock: Clock, random: Random, queues: Queues) -> None:
        self._clock = clock
        self._random = random
        self._queues = queues

    def authenticate(self, tx: Tx, key: str) -> Actor:
        """Return who holds a key; `Unauthenticated` for one that is not valid now."""
        parts = split_key(key)
        if parts is None:
            raise Unauthenticated(_REFUSED)
        if parts[0].startswith(_JOB):
            return self._job(tx, parts[0], key)
        return self._person(tx, parts[0], _hash(key))

    def make(self) -> str:
        """Return a key that is nobody's yet; `adopt` makes it somebody's."""
        key_id = new_key_id(self._random)
        while key_id.startswith(_JOB):
            key_id = new_key_id(self._random)
        return new_key(key_id, self._random)

    def bootstrap(self, tx: Tx, name: str) -> str:
        """Make the first admin of an empty database and return its key."""
        if tx.actors.users():
            raise Exists("the database has users already")
        user = self._add_user(tx, name, Role.ADMIN, entity=name)
        return self._add_key(tx, user, Role.ADMIN, "first key")[1]

    def adopt(self, tx: Tx, name: str, key: str) -> str:
        """Make a key that lies in a file an admin's, once: the embedded server's own key.

        Return it, or a fresh one in place of one that was revoked: whoever holds the database
        is its owner.
        """
        parts = split_key(key)
        if parts is None or parts[0].startswith(_JOB):
            raise Invalid("the key file does not hold a key", field="key")
        user = next((user for user in tx.actors.users() if user.name == name), None)
        if user is None:
            user = self._add_user(tx, name, Role.ADMIN, entity=name)
        known = tx.actors.key(parts[0])
        if known is None:
            self._insert_key(tx, parts[0], user, role=Role.ADMIN, label=EMBEDDED, text=key)
        elif known[0].revoked_at is not None:
            return self._add_key(tx, user, Role.ADMIN, EMBEDDED)[1]
        return key

    def create_user(
        self, tx: Tx, actor: Actor, *, name: str, role: str, entity: str | None = None
    ) -> User:
        """Add a person or a service account, with its entity's `default` queue."""
        require(actor, ADMINS, "add users")
        return self._add_user(tx, name, _role(role), entity=entity or name)

    def users(self, tx: Tx, actor: Actor) -> list[User]:
        """Return all users."""
        require(actor, ADMINS, "list users")
        return tx.actors.users()

    def is_shared(self, tx: Tx, entity: str) -> bool:
        """Tell whether several people belong to an entity."""
        return sum(fold(user.entity) == fold(entity) for user in tx.actors.users()) > 1

    def set_disabled(self, tx: Tx, actor: Actor, name: str, *, is_disabled: bool) -> User:
        """Disable a user with all their keys, or enable them again."""
        require(actor, ADMINS, "disable users")
        if is_disabled and fold(name) == fold(actor.user):
            raise Conflict(f"you are {name}: only another admin can disable you")
        user = tx.actors.set_disabled(UserName(name), is_disabled=is_disabled)
        if user is None:
            raise NotFound(missing(f"user {name!r}"))
        return user

    def create_key(
        self, tx: Tx, actor: Actor, *, user: str | None, role: str | None, label: str
    ) -> tuple[Key, str]:
        """Make a key of one's own, or as an admin of anybody's; the text is shown once."""
        require(actor, READERS, "make keys")
        _check_person(actor, "make keys")
        if user is not None and user != actor.user:
            require(actor, ADMINS, "make keys of others")
        owner = next((u for u in tx.actors.users() if u.name == (user or actor.user)), None)
        if owner is None:
            raise NotFound(missing(f"user {user!r}"))
        wanted = _role(role) if role is not None else owner.role
        most = owner.role if actor.role is Role.ADMIN else actor.role
        if _ORDER.index(wanted) > _ORDER.index(most):
            raise Invalid(
                f"role {wanted!s} is more than {owner.name}'s own, {most!s}",
                field="role",
                value=role,
            )
        if label:
            check_title(label, field="label")
        return self._add_key(tx, owner, wanted, label)

    def keys(self, tx: Tx, actor: Actor) -> list[Key]:
        """Return one's own keys, or as an admin everybody's."""
        require(actor, READERS, "list keys")
        _check_person(actor, "list keys")
        keys = tx.actors.keys()
        return keys if actor.role is Role.ADMIN else [key for key in keys if key.user == actor.user]

    def revoke(self, tx: Tx, actor: Actor, key_id: str) -> Key:
        """Revoke a key with its sessions."""
        require(actor, READERS, "revoke keys")
        _check_person(actor, "revoke keys")
        if not any(key.id == key_id for key in self.keys(tx, actor)):
            raise NotFound(missing(f"key {key_id!r}"))
        key = tx.actors.revoke(KeyId(key_id), now=self._clock.now())
        assert key is not None
        return key

    def sign_in(self, tx: Tx, key: str) -> str:
        """Begin a browser session with a key and return the cookie's text."""
        actor = self.authenticate(tx, key)
        require(actor, READERS, "sign in to the pages")
        _check_person(actor, "sign in to the pages")
        return self._begin(tx, actor.key_id)

    def session(self, tx: Tx, cookie: str) -> tuple[Actor, Session]:
        """Return who a cookie belongs to; `Unauthenticated` once it is over."""
        session = tx.sessions.get(_hash(cookie))
        if session is None or self._clock.now() - session.seen_at > IDLE_MS:
            raise Unauthenticated("the session is over: sign in again")
        return self._person(tx, session.key_id, None), session

    def seen(self, tx: Tx, session: Session) -> None:
        """Write a session's last use down, at most once a minute."""
        now = self._clock.now()
        if now - session.seen_at >= SEEN_EVERY_MS:
            tx.sessions.seen(session.id_hash, now=now)

    def sign_out(self, tx: Tx, cookie: str) -> None:
        """End a browser session."""
        tx.sessions.delete(_hash(cookie))

    def make_link(self, tx: Tx, actor: Actor) -> str:
        """Make the secret of a one-time sign-in link for the actor's own key."""
        require(actor, READERS, "make sign-in links")
        _check_person(actor, "make sign-in links")
        secret = new_token(self._random)
        tx.sessions.add_link(_hash(secret), actor.key_id, expires_at=self._clock.now() + LINK_MS)
        return secret

    def take_link(self, tx: Tx, secret: str) -> str:
        """Use a sign-in link up and return a new session's cookie text."""
        key_id = tx.sessions.take_link(_hash(secret), now=self._clock.now())
        if key_id is None:
            raise Unauthenticated("the sign-in link was used or is older than five minutes")
        self._person(tx, key_id, None)
        return self._begin(tx, key_id)

    def purge(self, tx: Tx) -> int:
        """Delete sessions and links that let nobody in any more; return how many."""
        now = self._clock.now()
        return tx.sessions.purge(idle_since=now - IDLE_MS, now=now, limit=PURGE_LIMIT)

    def check(self, tx: Tx, actor: Actor) -> None:
        """Raise `Unauthenticated` when a person's key was revoked since it was looked up."""
        if actor.item_id is None:
            self._person(tx, actor.key_id, None)

    def signing_key(self, tx: Tx) -> bytes:
        """Return what signs addresses on every server of this database."""
        offered = f"{self._random.getrandbits(256):064x}"
        return bytes.fromhex(tx.tracked.secret(SIGNING_KEY, offered))

    def _begin(self, tx: Tx, key_id: KeyId) -> str:
        cookie = new_token(self._random) + new_token(self._random)
        now = self._clock.now()
        tx.sessions.insert(
            Session(
                id_hash=_hash(cookie),
                key_id=key_id,
                csrf=new_token(self._random),
                created_at=now,
                seen_at=now,
            )
        )
        return cookie

    def _person(self, tx: Tx, key_id: KeyId, secret_hash: str | None) -> Actor:
        found = tx.actors.key(key_id)
        if found is None:
            raise Unauthenticated(_REFUSED)
        key, user = found
        is_right = secret_hash is None or hmac.compare_digest(key.secret_hash, secret_hash)
        if not is_right or key.revoked_at is not None or user.is_disabled:
            raise Unauthenticated(_REFUSED)
        role = min(key.role, user.role, key=_ORDER.index)
        return Actor(user=user.name, role=role, entity=user.entity, key_id=key.id)

    def _job(self, tx: Tx, key_id: KeyId, key: str) -> Actor:
        item = tx.items.get(ItemId(key_id.removeprefix(_JOB)))
        if item is None or item.state not in HELD or item.lease_token is None:
            raise Unauthenticated("the key is not valid: its attempt has ended")
        expected = job_key(item.id, item.attempt, item.lease_token)
        if not hmac.compare_digest(expected, key):
            raise Unauthenticated("the key is not valid: its attempt has ended")
        return Actor(
            user=item.submitted_by,
            role=self._role_of(tx, item),
            entity=item.entity,
            key_id=key_id,
            item_id=item.id,
            attempt=item.attempt,
        )

    def _role_of(self, tx: Tx, item: Item) -> Role:
        """Return what a program may do: a sweep's scheduler launches for its submitter.

        It gets that right from an agent of the submitter's own, or of somebody who may see through
        everybody's: no other member comes by it with an agent of theirs.
        """
        if tx.sweeps.by_scheduler(item.id) is None:
            return Role.JOB
        users = {user.name: user for user in tx.actors.users()}
        owner = users.get(item.submitted_by)
        agent = None if item.lease_agent is None else tx.agents.get(item.lease_agent)
        if owner is None or owner.is_disabled or agent is None:
            return Role.JOB
        holder = users.get(agent.user)
        if agent.user != owner.name and (holder is None or holder.role not in _TRUSTED):
            return Role.JOB
        return min(owner.role, Role.MEMBER, key=_ORDER.index)

    def _add_user(self, tx: Tx, name: str, role: Role, *, entity: str) -> User:
        check_name(name, field="name")
        check_name(entity, field="entity")
        user = User(
            name=UserName(name),
            role=role,
            entity=entity,
            is_disabled=False,
            created_at=self._clock.now(),
        )
        tx.actors.insert_user(user)
        self._queues.ensure_default(tx, entity, by=name)
        return user

    def _add_key(self, tx: Tx, user: User, role: Role, label: str) -> tuple[Key, str]:
        text = self.make()
        parts = split_key(text)
        assert parts is not None
        return self._insert_key(tx, parts[0], user, role=role, label=label, text=text), text

    def _insert_key(
        self, tx: Tx, key_id: KeyId, user: User, *, role: Role, label: str, text: str
    ) -> Key:
        key = Key(
            id=key_id,
            user=user.name,
            role=role,
            secret_hash=_hash(text),
            label=label,
            created_at=self._clock.now(),
        )
        tx.actors.insert_key(key)
        return key


def job_key(item_id: ItemId, attempt: int, token: Token) -> str:
    """Return a program's own key: it follows from the lease, so it dies with it."""
    digest = hashlib.sha256(f"job:{item_id}:{attempt}:{token}".encode()).hexdigest()
    return f"sw_{_JOB}{item_id}-{digest[:KEY_SECRET_LENGTH]}"


def _check_person(actor: Actor, what: str) -> None:
    """Raise `Forbidden` for a program, whatever it may do besides: its key dies with it."""
    if actor.item_id is not None:
        raise Forbidden(f"the key of a launched program may not {what}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _role(value: object) -> Role:
    names: Sequence[str] = [role.value for role in _ORDER]
    if value not in names:
        raise Invalid(f"role {value!r} is not one of {', '.join(names)}", field="role", value=value)
    return Role(str(value))
