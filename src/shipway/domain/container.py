"""Reads what a launch says of its container into types; nothing else of it reaches an engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.image_ref import ImageRef

PATH = "resource_args.local-container"
OWN_LABELS = "ai.shipway"  # labels of this name and below it are shipway's
COUNT_LIMIT = 200  # of variables, labels, mounts and the like in one container
TEXT_LIMIT = 32_768  # characters of one value
SIZE_LIMIT = 1 << 60  # bytes
CPUS_LIMIT = 100_000
ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
    "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_WHO = r"(?:[a-z_][a-z0-9_-]{0,31}|0|[1-9][0-9]{0,8})"
_USER = re.compile(rf"{_WHO}(?::{_WHO})?")
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,99}")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/v[0-9]+)?")
_HOSTNAME = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_FOLDER = re.compile(r"/[^\x00-\x1f\x7f]*")
_PLACE = re.compile(r"/(?!.*\$\{)[^\x00-\x1f\x7f:,\"]*")  # what `--mount` can carry
_DEVICE = re.compile(r"/dev(?:/[A-Za-z0-9_:-][A-Za-z0-9._:-]*)+")
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


class Network(StrEnum):
    """What of a network a container has; each has all that those before it have."""

    NONE = "none"  # itself alone
    BRIDGE = "bridge"  # a network of the engine's, and through it the world
    HOST = "host"  # the machine's own, its loopback too


class Pull(StrEnum):
    """When an image is fetched from its registry."""

    MISSING = "missing"  # where the engine has none of that name
    ALWAYS = "always"  # before each start
    NEVER = "never"  # an image that the engine does not have is an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of the machine that a queue gives its containers."""

    source: str  # on the machine
    target: str  # inside
    is_read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerArgs:
    """What a launch and its queue say of a container; None leaves it to image and engine."""

    env: Mapping[str, str] = field(default_factory=dict)
    cpus: float | None = None
    memory: int | None = None  # bytes
    memory_swap: int | None = None  # bytes of memory and swap together
    shm_size: int | None = None  # bytes
    pids_limit: int | None = None
    gpus: str | int | tuple[str, ...] | None = None  # "all", how many, or which
    user: str | None = None  # name or number, with a group or without
    workdir: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    pull: Pull | None = None
    platform: str | None = None
    network: Network | None = None
    mounts: tuple[Mount, ...] = ()
    devices: tuple[str, ...] = ()
    read_only: bool = False  # its root file system
    init: bool = False
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # soft, hard
    tmpfs: Mapping[str, int] = field(default_factory=dict)  # path -> bytes
    hostname: str | None = None
    base_image: ImageRef | None = None  # runs the code as it is, nothing is built
    builder_image: ImageRef | None = None  # what a built image begins with
    build_args: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_root(self) -> bool:
        """Whether it asks to be run as root, or in root's group."""
        return self.user is not None and not {"0", "root"}.isdisjoint(self.user.split(":"))


def read_container_args(args: Mapping[str, Any], *, path: str = PATH) -> ContainerArgs:
    """Read the resource arguments of `local-container`; raise `Invalid` with the path.

    Their spelling is ours alone: `docker_options` has turned other ones into it.
    """
    found: dict[str, Any] = {}
    for key, value in args.items():
        if key in COMMON:
            continue
        reader = _READERS.get(key)
        if reader is None:
            raise Invalid(
                f"{path} has the unknown key {key!r} (known: {', '.join(KEYS)})",
                field=f"{path}.{key}",
                value=value,
            )
        if key == "builder":
            found["builder_image"] = _builder(value, f"{path}.{key}")
        else:
            found[key] = reader(value, f"{path}.{key}")
    return ContainerArgs(**found)


def read_size(value: object, path: str) -> int:
    """Return a size in bytes: a number, or text such as 512m, 1.5g, 2Gi (all of 1024)."""
    size = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        size = int(float(match[1]) * (1 << _UNITS[match[2].lower()]))
    if not 0 < size <= SIZE_LIMIT:
        raise _wrong(path, value, "a size above 0: bytes, or text such as 512m, 2g, 512Mi")
    return size


def _builder(value: object, path: str) -> ImageRef | None:
    found = None
    for key, one in _dict(value, path).items():
        if key not in ("accelerator", "cuda"):
            raise _wrong(f"{path}.{key}", one, "left out (known: accelerator, cuda)")
        for name, image in _dict(one, f"{path}.{key}").items():
            if name != "base_image":
                raise _wrong(f"{path}.{key}.{name}", image, "left out (known: base_image)")
            ref = _image(image, f"{path}.{key}.base_image")
            if found not in (None, ref):
                raise _wrong(f"{path}.{key}.base_image", image, f"one image with {found}")
            found = ref
    return found


def _matching(pattern: re.Pattern[str], wanted: str) -> Callable[[object, str], str]:
    def read(value: object, path: str) -> str:
        if not isinstance(value, str) or len(value) > TEXT_LIMIT or not pattern.fullmatch(value):
            raise _wrong(path, value, wanted)
        return value

    return read


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, value, "true or false")
    return value


def _cpus(value: object, path: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, int | float) or not is_number or not 0 < value <= CPUS_LIMIT:
        raise _wrong(path, value, "a number above 0")
    return float(value)


def _count(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
        raise _wrong(path, value, "a whole number from 1 up")
    return value


def _gpus(value: object, path: str) -> str | int | tuple[str, ...]:
    if value == "all":
        return "all"
    if isinstance(value, list | tuple) and value:
        return tuple(_gpu(one, f"{path}[{at}]") for at, one in enumerate(_list(value, path)))
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= COUNT_LIMIT:
        raise _wrong(path, value, "'all', a number of devices, or a list of their ids")
    return value


def _member(kind: type[StrEnum]) -> Callable[[object, str], StrEnum]:
    def read(value: object, path: str) -> StrEnum:
        if not isinstance(value, str) or value not in list(kind):
            raise _wrong(path, value, f"one of {', '.join(kind)}")
        return kind(value)

    return read


def _texts(names: re.Pattern[str], what: str) -> Callable[[object, str], dict[str, str]]:
    def read(value: object, path: str) -> dict[str, str]:
        found = _dict(value, path)
        for name, text in found.items():
            if not names.fullmatch(name):
                raise Invalid(f"{path} has {name!r}, which is no {what}", field=path, value=name)
            _line(text, f"{path}.{name}")
        return found

    return read


def _line(value: object, path: str) -> str:
    is_text = isinstance(value, str) and len(value) <= TEXT_LIMIT
    if not isinstance(value, str) or not is_text or re.search(r"[\r\n\x00]", value):
        raise _wrong(path, value, "text without line breaks: a container's variables go by file")
    return value


def _labels(value: object, path: str) -> dict[str, str]:
    found = _texts(_LABEL, "label's name")(value, path)
    for name in found:
        if name.lower() == OWN_LABELS or name.lower().startswith(f"{OWN_LABELS}."):
            raise _wrong(f"{path}.{name}", found[name], f"left out: {OWN_LABELS} is shipway's own")
    return found


def _mounts(value: object, path: str) -> tuple[Mount, ...]:
    found = []
    for at, one in enumerate(_list(value, path)):
        here = f"{path}[{at}]"
        said = _dict(one, here)
        for key in said:
            if key not in ("source", "target", "read_only"):
                known = "known: source, target, read_only"
                raise _wrong(f"{here}.{key}", said[key], f"left out ({known})")
        found.append(
            Mount(
                source=_place(said.get("source"), f"{here}.source"),
                target=_target(said.get("target"), f"{here}.target"),
                is_read_only=_flag(said.get("read_only", True), f"{here}.read_only"),
            )
        )
    return tuple(found)


def _place(value: object, path: str) -> str:
    """Return an absolute path that is what it says: no dots lead elsewhere, no macro fills it."""
    wanted = "an absolute path without '.', '..', '${', ':', ',' and '\"'"
    text = _matching(_PLACE, wanted)(value, path)
    if {".", ".."} & set(text.split("/")):
        raise _wrong(path, value, wanted)
    return text


def _target(value: object, path: str) -> str:
    text = _place(value, path)
    if not text.strip("/"):
        raise _wrong(path, value, "a path below the container's root")
    return text


def _ulimits(value: object, path: str) -> dict[str, tuple[int, int]]:
    found = {}
    for name, one in _dict(value, path).items():
        here = f"{path}.{name}"
        if name not in ULIMITS:
            raise _wrong(here, one, f"left out (known: {', '.join(ULIMITS)})")
        said = one if isinstance(one, Mapping) else {"soft": one, "hard": one}
        bounds = [said.get("soft"), said.get("hard")]
        is_whole = all(isinstance(b, int) and not isinstance(b, bool) and b >= -1 for b in bounds)
        if set(said) != {"soft", "hard"} or not is_whole:
            raise _wrong(here, one, "a whole number, or {soft, hard}; -1 is no limit")
        found[name] = (said["soft"], said["hard"])
    return found


def _tmpfs(value: object, path: str) -> dict[str, int]:
    return {
        _target(place, path): read_size(size, f"{path}.{place}")
        for place, size in _dict(value, path).items()
    }


def _image(value: object, path: str) -> ImageRef:
    if not isinstance(value, str):
        raise _wrong(path, value, "an image's name")
    return ImageRef.parse(value, field=path)


def _list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) > COUNT_LIMIT:
        raise _wrong(path, value, f"a list of at most {COUNT_LIMIT}")
    return list(value)


def _dict(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > COUNT_LIMIT:
        raise _wrong(path, value, f"a mapping of at most {COUNT_LIMIT}")
    return dict(value)


def _wrong(path: str, value: object, wanted: str) -> Invalid:
    shown = repr(value)
    shown = shown if len(shown) <= 120 else f"{shown[:117]}..."
    return Invalid(f"{path} must be {wanted}, not {shown}", field=path, value=value)


_gpu = _matching(_GPU, "a device's id: letters, digits and ':._-'")
_device = _matching(_DEVICE, "a device's path below /dev, such as /dev/fuse")

# What a local process may say too; the agent reads these before it comes to a container.
COMMON = frozenset(
    {"run_limit_s", "start_limit_s", "grace_s", "python", "extras", "groups", "submodules", "lfs"}
)
_READERS: Mapping[str, Callable[[object, str], Any]] = {
    "env": _texts(_NAME, "variable's name"),
    "cpus": _cpus,
    "memory": read_size,
    "memory_swap": read_size,
    "shm_size": read_size,
    "pids_limit": _count,
    "gpus": _gpus,
    "user": _matching(_USER, "a user's name or number, with a group after ':' or without"),
    "workdir": _matching(_FOLDER, "an absolute path without control characters"),
    "labels": _labels,
    "pull": _member(Pull),
    "platform": _matching(_PLATFORM, "a platform such as linux/amd64"),
    "network": _member(Network),
    "mounts": _mounts,
    "devices": lambda value, path: tuple(
        _device(one, f"{path}[{at}]") for at, one in enumerate(_list(value, path))
    ),
    "read_only": _flag,
    "init": _flag,
    "ulimits": _ulimits,
    "tmpfs": _tmpfs,
    "hostname": _matching(_HOSTNAME, "a host's name of letters, digits, '.' and '-'"),
    "base_image": _image,
    "builder": _builder,
    "build_args": _texts(_NAME, "build argument's name"),
}
KEYS = (*_READERS, *sorted(COMMON))
