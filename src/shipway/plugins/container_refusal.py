"""Says why an agent's policy does not let a container be, before any engine hears of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from ipaddress import ip_address
from urllib.parse import urlsplit

from shipway.domain.container import ContainerArgs, Mount, Network
from shipway.domain.image_ref import DEFAULT_REGISTRY, ImageRef
from shipway.plugins.container_policy import ContainerPolicy

# What nobody mounts by a pattern: these, what is below them, and the folders that hold them.
PROTECTED = ("/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker", "/var/lib/containers")
SOCKETS = ("docker.sock", "podman.sock", "containerd.sock")
ROOT = ("root", "0")
_HUB = (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io")
_NETWORKS = list(Network)
_EVERY = ("*",)
_STRICT = "this agent has secure_mode, which allows a launch"

Real = Callable[[str], str]  # where a path leads, links followed: `os.path.realpath`


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a container is to be, as far as a policy has a say in it."""

    image: ImageRef | None  # None: made here; what it is made of was asked about then
    args: ContainerArgs
    server_url: str
    own: Sequence[str] = ()  # the agent's home and the engine's socket: nobody's to mount
    image_user: str | None = None  # the image's own; empty: root; None: not known
    entry_point: Sequence[str] = ()  # what a launch names in place of the image's own


def refusal(policy: ContainerPolicy, wish: Wish, *, real: Real = os.path.realpath) -> str:
    """Return why a container may not be, or nothing where it may.

    Whoever starts it takes its mounts from `real_mounts` and its network from `network_of`: what
    was looked at is then what is used.
    """
    return next(_reasons(policy, wish, real), "")


def image_refusal(policy: ContainerPolicy, ref: ImageRef) -> str:
    """Return why an image may neither be run nor built on, or nothing."""
    if any(_is_image(pattern, ref) for pattern in policy.images):
        return ""
    host, repository = _written_out(ref)
    return _said(f"the image {host}/{repository}", "images", policy.images)


def matched_image(policy: ContainerPolicy, ref: ImageRef) -> ImageRef:
    """Return an image's name as it was matched: no engine looks for a short one elsewhere."""
    if policy.images == _EVERY or ref.registry:
        return ref
    host, repository = _written_out(ref)
    return replace(ref, registry=host, repository=repository)


def entry_point_refusal(policy: ContainerPolicy, entry_point: Sequence[str]) -> str:
    """Return why a launch may not name a program in place of an image's own, or nothing."""
    if not entry_point:
        return ""
    if entry_point[0].startswith("-"):
        return f"entry_point begins with {entry_point[0][:80]!r}, which is no program"
    return f"{_STRICT} no entry_point of its own" if policy.is_strict else ""


def network_of(policy: ContainerPolicy, asked: Network | None, server_url: str) -> Network:
    """Return the network that a container gets: the one asked for, else the policy's."""
    return asked or _limit(policy, server_url)


def real_mounts(args: ContainerArgs, *, real: Real = os.path.realpath) -> tuple[Mount, ...]:
    """Return the mounts with their sources as they were looked at: no link leads on from them."""
    return tuple(replace(mount, source=real(mount.source)) for mount in args.mounts)


def _reasons(policy: ContainerPolicy, wish: Wish, real: Real) -> Iterator[str]:
    args = wish.args
    if wish.image is not None:
        yield from filter(None, [image_refusal(policy, wish.image)])
    yield from filter(None, [entry_point_refusal(policy, wish.entry_point)])
    if policy.is_strict:
        yield from _strict_reasons(wish)
    for mount in args.mounts:
        yield from _mount_reasons(policy, mount, [real(own) for own in wish.own], real)
    for device in args.devices:
        found = real(device)
        if not found.startswith("/dev/") or not _matches(found, policy.devices):
            what = f"the device {device}{_really(found, device)}"
            yield _said(what, "devices", policy.devices)
    yield from _user_reasons(policy, wish)
    limit = _limit(policy, wish.server_url)
    if args.network is not None and _NETWORKS.index(args.network) > _NETWORKS.index(limit):
        yield _said(f"network {args.network}", "network", [limit])


def _strict_reasons(wish: Wish) -> Iterator[str]:
    kept = {
        "mounts": wish.args.mounts,
        "devices": wish.args.devices,
        "network host": wish.args.network is Network.HOST,
    }
    for what, is_asked in kept.items():
        if is_asked:
            yield f"{_STRICT} no {what} of its own"


def _mount_reasons(
    policy: ContainerPolicy, mount: Mount, own: Sequence[str], real: Real
) -> Iterator[str]:
    found = real(mount.source)
    what = f"the mount of {mount.source}{_really(found, mount.source)}"
    if found in policy.mounts:  # named exactly
        return
    if _is_protected(found, own):
        yield (
            f"{what} is not allowed on this agent: it opens the machine or the agent itself; only "
            f"{found!r} itself among container.mounts of the agent's config would allow it"
        )
    elif not _matches(found, policy.mounts):
        yield _said(what, "mounts", policy.mounts)


def _user_reasons(policy: ContainerPolicy, wish: Wish) -> Iterator[str]:
    """With users narrowed, an image says for itself who it runs as: what is not known is refused.

    A name means whatever the image's own list of users makes of it; a number is certain.
    """
    if policy.users == _EVERY:
        return
    user = wish.args.user or wish.image_user
    if user is None:
        yield _said("an image whose own user is not known", "users", policy.users)
        return
    who, _, group = user.partition(":")
    named = [_plain(who or "root")]
    if _plain(group) in ROOT:
        named.append(_plain(group))
    for one in named:
        words = ROOT if one in ROOT else (one,)
        if not any(_matches(word, policy.users) for word in words):
            yield _said(f"user {user or 'root'!r}", "users", policy.users)


def _limit(policy: ContainerPolicy, server_url: str) -> Network:
    if policy.network is not None:
        return Network(policy.network)
    return Network.HOST if _is_loopback(server_url) else Network.BRIDGE


def _is_loopback(url: str) -> bool:
    """Tell whether only the machine's own network reaches a server."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_image(pattern: str, ref: ImageRef) -> bool:
    """Match host and repository apart: no `*` for a host swallows what stands behind it."""
    host, repository = _written_out(ref)
    for_host, has_path, for_repository = pattern.partition("/")
    if not has_path:
        return fnmatchcase(host, pattern.lower())
    names = (repository, repository.removeprefix("library/") if host == _HUB[0] else repository)
    is_host = fnmatchcase(host, for_host.lower())
    return is_host and any(fnmatchcase(name, for_repository) for name in names)


def _written_out(ref: ImageRef) -> tuple[str, str]:
    host = ref.host.lower()
    if host not in _HUB:
        return host, ref.repository
    is_official = "/" not in ref.repository
    return _HUB[0], f"library/{ref.repository}" if is_official else ref.repository


def _is_protected(path: str, own: Sequence[str]) -> bool:
    if path == "/" or path.rpartition("/")[2] in SOCKETS:
        return True
    return any(_is_below(path, one) or _is_below(one, path) for one in (*PROTECTED, *own))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _plain(user: str) -> str:
    """Write a number in one way: engines read 00 and +0 as 0."""
    try:
        return str(int(user))
    except ValueError:
        return user


def _really(found: str, path: str) -> str:
    return "" if found == path else f", which is really {found},"


def _said(what: str, key: str, allowed: Sequence[str]) -> str:
    return (
        f"{what} is not allowed on this agent: container.{key} of its config allows "
        f"{', '.join(allowed) or 'none'}"
    )
