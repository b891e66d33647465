"""The rule of who gives a container rights on a machine: its queue, never a submitter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shipway.domain.container import PATH, ContainerArgs, Mount, Network, read_container_args
from shipway.domain.docker_options import own_options
from shipway.domain.errors import Forbidden, Invalid
from shipway.domain.launch_spec import LaunchSpec
from shipway.domain.queue import LOCAL_CONTAINER, Queue
from shipway.domain.template import Variable, fill, placeholders, read_variables

RESTRICTED = ("mounts", "devices", "network", "user")  # what only a queue's config gives
OPEN_NETWORK = Network.BRIDGE  # the most that a launch may ask for where its queue says nothing
_NETWORKS = list(Network)


def check_rights(spec: LaunchSpec, queue: Queue) -> None:
    """Raise `Forbidden` for what a launch asks of a machine beyond what its queue gives.

    It does not matter who asks, nor whether draft, job or an original run says it: an admin may
    launch another one's job, and what a run once had may be the queue's no more. Those who may
    change the queue can give it there.
    """
    if spec.resource != LOCAL_CONTAINER:
        return
    # Without arguments of its own it may still lack a limit that the queue sets.
    asked = read_container_args(own_options(spec.resource_args.get(LOCAL_CONTAINER) or {}))
    given = _given(queue, spec.template_variables)
    for key, excess in _excess(asked, given):
        raise Forbidden(
            f"{PATH}.{key} asks for {excess}, which queue {queue.name!r} does not give: only "
            f"{queue.created_by or 'its maker'}, whose queue it is, and admins can allow it, in "
            f"the queue's config (shipway queue update {queue.name} --config FILE)",
            details={"field": f"{PATH}.{key}", "value": excess, "queue": queue.name},
        )


def check_restricted_variables(
    config: Mapping[str, Any], variables: Mapping[str, Variable]
) -> None:
    """Raise `Invalid` for a template variable that would let a launch write a right as it likes."""
    args = (config.get("resource_args") or {}).get(LOCAL_CONTAINER) or {}
    for key in RESTRICTED:
        path = f"config.{PATH}.{key}"
        for where, name in placeholders(args.get(key), path):
            if name in variables and not variables[name].choices:
                raise Invalid(
                    f"{where} holds {{{{{name}}}}}, which a launch fills with what it likes: give "
                    f"template variable {name!r} an enum of what you allow",
                    field=where,
                    value=name,
                )


def _given(queue: Queue, values: Mapping[str, Any]) -> ContainerArgs:
    """Return the rights that the queue gives now; what of them cannot be read gives none."""
    config = (queue.config.get("resource_args") or {}).get(LOCAL_CONTAINER) or {}
    try:
        own = own_options(config)
        part = {key: own[key] for key in RESTRICTED if own.get(key) is not None}
        variables = read_variables(queue.template_variables)
        taken = {
            name: value
            for name, value in values.items()
            if name in variables and variables[name].takes(value)
        }
        return read_container_args(own_options(fill(part, taken)))
    except Invalid:
        return ContainerArgs()


def _excess(asked: ContainerArgs, given: ContainerArgs) -> Iterator[tuple[str, str]]:
    """Yield each right beyond those given: its key, and what of it in words."""
    for mount in asked.mounts:
        if not any(_is_within(mount, one) for one in given.mounts):
            how = "" if mount.is_read_only else ", to be written to"
            yield "mounts", f"{mount.source} at {mount.target}{how}"
    for device in asked.devices:
        if device not in given.devices:
            yield "devices", device
    if not _is_no_wider(asked.network, given.network):
        yield "network", f"{asked.network or 'whatever network the agent has'}"
    if given.user is None:
        if asked.is_root:
            yield "user", f"user {asked.user!r}"
    elif asked.user != given.user and (asked.user is None or asked.is_root or not given.is_root):
        yield "user", f"user {asked.user!r}" if asked.user else "the image's own user"


def _is_within(mount: Mount, given: Mount) -> bool:
    is_there = (mount.source, mount.target) == (given.source, given.target)
    return is_there and (mount.is_read_only or not given.is_read_only)


def _is_no_wider(asked: Network | None, given: Network | None) -> bool:
    if asked is None:
        return given is None
    return _NETWORKS.index(asked) <= _NETWORKS.index(given or OPEN_NETWORK)
