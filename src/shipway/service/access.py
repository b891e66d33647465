"""Who may see and do what: the one policy that every use case asks."""

from __future__ import annotations

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Forbidden, NotFound
from shipway.domain.names import fold

WRITERS = frozenset({Role.ADMIN, Role.MEMBER})
READERS = WRITERS | {Role.VIEWER}
AGENTS = WRITERS | {Role.AGENT}  # a person's key may drive an agent of their own
ADMINS = frozenset({Role.ADMIN})


def require(actor: Actor, roles: frozenset[Role], what: str) -> None:
    """Raise `Forbidden` unless the actor's role is one of these."""
    if actor.role not in roles:
        allowed = ", ".join(sorted(roles))
        raise Forbidden(f"a key with the role {actor.role} may not {what} (roles: {allowed})")


def sees(actor: Actor, entity: str) -> bool:
    """Tell whether things of this entity exist for the actor."""
    return actor.role is Role.ADMIN or fold(actor.entity) == fold(entity)


def check_sees(actor: Actor, entity: str, what: str) -> None:
    """Raise the `NotFound` of a missing thing where the actor may not see it."""
    if not sees(actor, entity):
        raise NotFound(missing(what))


def missing(what: str) -> str:
    """Return the one sentence for a missing and for an invisible thing."""
    return f"there is no {what}"


def own_entity(actor: Actor, asked: str | None) -> str:
    """Return the entity to write to: the asked one if the actor may, else its own."""
    if asked is None:
        return actor.entity
    if not sees(actor, asked):
        raise NotFound(missing(f"entity {asked!r} that you may write to"))
    return asked
