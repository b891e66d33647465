"""Users, keys, and who one is oneself."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from shipway import __version__
from shipway.server.call import Asked, Call
from shipway.server.rest.answers import answer, created, page
from shipway.server.rest.bodies import KeyBody, UserBody
from shipway.server.rest.views import key_view, user_view

PROTOCOL = 1


async def create_user(call: Asked, body: UserBody) -> Response:
    """Add a person or a service account."""
    actor, keys = call.actor, call.edge.service.keys

    async def work() -> dict[str, Any]:
        user = await call.edge.write(
            lambda tx: keys.create_user(
                tx, actor, name=body.name, role=body.role, entity=body.entity
            )
        )
        return user_view(user)

    return await created(call, "users", work)


async def find_users(call: Asked) -> Response:
    """List users."""
    actor, keys = call.actor, call.edge.service.keys
    found = await call.edge.read(lambda tx: keys.users(tx, actor))
    return answer(page([user_view(user) for user in found]))


async def disable_user(call: Asked, name: str) -> Response:
    """Disable a user with all their keys."""
    return await _set_disabled(call, name, is_disabled=True)


async def enable_user(call: Asked, name: str) -> Response:
    """Enable a user again."""
    return await _set_disabled(call, name, is_disabled=False)


async def create_key(call: Asked, body: KeyBody) -> Response:
    """Make a key; it is shown only in this answer."""
    actor, keys = call.actor, call.edge.service.keys

    async def work() -> dict[str, Any]:
        key, text = await call.edge.write(
            lambda tx: keys.create_key(tx, actor, user=body.user, role=body.role, label=body.label)
        )
        return {**key_view(key), "key": text}

    return await created(call, "keys", work)


async def find_keys(call: Asked) -> Response:
    """List keys, without their secrets."""
    actor, keys = call.actor, call.edge.service.keys
    found = await call.edge.read(lambda tx: keys.keys(tx, actor))
    return answer(page([key_view(key) for key in found]))


async def revoke_key(call: Asked, key_id: str) -> Response:
    """Revoke a key; it works no longer than five seconds."""
    actor, keys = call.actor, call.edge.service.keys
    key = await call.edge.write(lambda tx: keys.revoke(tx, actor, key_id))
    call.auth.forget()
    return answer(key_view(key))


async def me(call: Asked) -> Response:
    """Return who the key belongs to, and which server this is."""
    actor = call.actor
    return answer(
        {
            "user": actor.user,
            "role": actor.role.value,
            "entity": actor.entity,
            "item_id": actor.item_id,
            "server_version": __version__,
            "protocol": PROTOCOL,
            "base_url": call.edge.base_url,
            "is_short_of_disk": call.edge.service.space.short is not None,
        }
    )


async def make_link(call: Asked) -> Response:
    """Make a one-time sign-in address for a browser on this machine."""
    actor, keys = call.actor, call.edge.service.keys
    secret = await call.edge.write(lambda tx: keys.make_link(tx, actor))
    return answer({"url": f"{call.edge.base_url}/signin/link/{secret}"}, 201)


async def resources(call: Asked) -> Response:
    """Return the resources, the schemas of their arguments, and whether an agent offers them."""
    known, service, now = call.edge.known_resources, call.edge.service, call.edge.clock.now()
    found = await call.edge.read(lambda tx: known(tx, now))
    return answer(
        {
            "resources": {
                name: {"schema": service.resources.schema(name), "is_live": is_live}
                for name, is_live in found.items()
            }
        }
    )


async def _set_disabled(call: Call, name: str, *, is_disabled: bool) -> Response:
    actor, keys = call.actor, call.edge.service.keys
    user = await call.edge.write(
        lambda tx: keys.set_disabled(tx, actor, name, is_disabled=is_disabled)
    )
    call.auth.forget()
    return answer(user_view(user))
