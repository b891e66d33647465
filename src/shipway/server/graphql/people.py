"""Answers who asks, what this server is, and whose things there are."""

from __future__ import annotations

from typing import Any

from shipway.domain.actor import Role
from shipway.server.graphql import ids
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import CLIENT_VERSION
from shipway.service.access import sees


def viewer(_: Any, info: Info) -> dict[str, Any]:
    """Return who asks."""
    call = info.context
    return user(call.actor.user, entity=call.actor.entity) | {
        "admin": call.actor.role is Role.ADMIN
    }


def user(name: str, *, entity: str | None = None) -> dict[str, Any]:
    """Return somebody."""
    return {
        "id": ids.node("User", name),
        "name": name,
        "username": name,
        "email": None,
        "flags": "{}",
        "entity": entity,
        "deletedAt": None,
        "teams": {"edges": []},
        "apiKeys": {"edges": []},
        "organizations": [],
    }


def server_info(_: Any, _info: Info) -> dict[str, Any]:
    """Return the clients that this server speaks to; features have fallbacks, all proved."""
    return {
        "cliVersionInfo": {"max_cli_version": CLIENT_VERSION},
        "latestLocalVersionInfo": None,
        "features": [],
    }


async def entity(_: Any, info: Info, *, name: str) -> dict[str, Any] | None:
    """Return an entity that the actor sees; of a team the client warns who starts an agent."""
    call = info.context
    if not name or not sees(call.actor, name):
        return None
    keys = call.edge.service.keys
    is_team = await call.edge.read(lambda tx: keys.is_shared(tx, name))
    return entity_node(name) | {"isTeam": is_team}


def entity_node(name: str) -> dict[str, Any]:
    """Return an entity."""
    return {"id": ids.node("Entity", name), "name": name, "isTeam": False, "organization": None}


RESOLVERS: Resolvers = {"Query": {"viewer": viewer, "serverInfo": server_info, "entity": entity}}
