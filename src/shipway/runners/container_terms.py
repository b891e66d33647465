"""Agrees on what a container may be: a launch's arguments, as the agent's policy allows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.domain.container import read_container_args
from shipway.domain.errors import Invalid
from shipway.plugins.container_refusal import Wish, network_of, real_mounts, refusal
from shipway.plugins.errors import PermanentError
from shipway.plugins.runner import RunnerContext

_SIZES = ("memory", "memory_swap", "shm_size")
_SOCKET = "unix://"
_SOCKET_VARIABLES = ("DOCKER_HOST", "CONTAINER_HOST")


def agreed_args(
    args: Mapping[str, Any], context: RunnerContext, *, image_user: str
) -> dict[str, Any]:
    """Return the arguments as an engine is given them; raise why there is to be no container.

    Servers check them too, and this agent trusts none: sizes are bytes, mounts lead where they
    were seen to lead, and the network is written out.
    """
    try:
        read = read_container_args(args)
    except Invalid as error:
        raise PermanentError(error.message) from None
    wish = Wish(
        image=None,  # the source asked about it by its name, and a builder about its base
        args=read,
        server_url=context.base_url,
        own=(str(context.key_file.parent), *_sockets(context.env)),
        image_user=image_user,
    )
    if why := refusal(context.policy, wish):
        raise PermanentError(why)
    agreed = {key: value for key, value in args.items() if key not in _SIZES}
    agreed |= {key: size for key in _SIZES if (size := getattr(read, key)) is not None}
    agreed["network"] = network_of(context.policy, read.network, context.base_url).value
    agreed["tmpfs"] = dict(read.tmpfs)
    agreed["mounts"] = [
        {"source": one.source, "target": one.target, "read_only": one.is_read_only}
        for one in real_mounts(read)
    ]
    return agreed


def _sockets(env: Mapping[str, str]) -> list[str]:
    """Return the sockets by which the engine itself is asked."""
    hosts = [env.get(name, "") for name in _SOCKET_VARIABLES]
    return [host.removeprefix(_SOCKET) for host in hosts if host.startswith(_SOCKET)]
