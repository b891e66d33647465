"""Turns options of `docker run`, as W&B's users write them, into our spelling, one way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shipway.domain.container import COMMON, KEYS, PATH
from shipway.domain.errors import Invalid
from shipway.domain.queue import LOCAL_CONTAINER

_ALONE = "containers share nothing of the machine's but what its queue's mounts and devices say"
_NO_RIGHTS = "a container gets no rights beyond an ordinary program's"
_OURS = "shipway does that itself"
_NOT_NOW = "it is none of those that shipway passes on"

# Options that stay refused, and why, with what would do where something would.
NEVER: Mapping[str, str] = {
    **dict.fromkeys(
        ("privileged", "cap-add", "security-opt", "device-cgroup-rule", "sysctl", "group-add"),
        _NO_RIGHTS,
    ),
    **dict.fromkeys(
        ("pid", "ipc", "uts", "userns", "cgroupns", "cgroup-parent", "volumes-from", "link"), _ALONE
    ),
    "cap-drop": "what a container may not do is decided where it is run",
    "entrypoint": "name the program as entry_point of the launch",
    "command": "give the arguments as overrides.args of the launch",
    "name": f"{_OURS}: names of containers are its own; 'labels' mark yours",
    "cidfile": _OURS,
    "env-file": "agents read no files for a launch: write the variables into 'env'",
    "label-file": "agents read no files for a launch: write them into 'labels'",
    "runtime": "the engine's own is used; 'gpus' brings the devices",
    "restart": f"{_OURS}: on_lost of the queue says what becomes of a run that was lost",
    "detach": _OURS,
    "d": _OURS,
    "attach": _OURS,
    "a": _OURS,
    "tty": "a run has no terminal",
    "t": "a run has no terminal",
    "interactive": "a run has no terminal",
    "i": "a run has no terminal",
    "log-driver": _OURS,
    "log-opt": _OURS,
    "stop-signal": "a run is stopped by SIGTERM, then SIGKILL after 'grace_s'",
    "oom-kill-disable": "'memory' is a limit",
    "publish": "nothing of a run is published",
    "p": "nothing of a run is published",
    "publish-all": "nothing of a run is published",
    "P": "nothing of a run is published",
    "expose": "nothing of a run is published",
    "add-host": _NOT_NOW,
    "dns": _NOT_NOW,
    "ip": _NOT_NOW,
    "mac-address": _NOT_NOW,
    "storage-opt": _NOT_NOW,
    "volume-driver": _NOT_NOW,
    "cpu-shares": "write how many processors it may use as 'cpus'",
    "c": "write how many processors it may use as 'cpus'",
    "cpu-quota": "write how many processors it may use as 'cpus'",
    "cpu-period": "write how many processors it may use as 'cpus'",
    "cpuset-cpus": "write how many processors it may use as 'cpus'",
    "cpuset-mems": _NOT_NOW,
    "memory-reservation": "write the limit as 'memory'",
    "memory-swappiness": "write the limit as 'memory_swap'",
    "kernel-memory": "write the limit as 'memory'",
}


def own_spelling(by_resource: Mapping[str, Any], *, field: str = "resource_args") -> dict[str, Any]:
    """Return resource arguments with those of containers in our spelling; others stay."""
    args = by_resource.get(LOCAL_CONTAINER)
    if not isinstance(args, Mapping) or not args:
        return dict(by_resource)
    return {**by_resource, LOCAL_CONTAINER: own_options(args, path=f"{field}.{LOCAL_CONTAINER}")}


def own_options(args: Mapping[str, Any], *, path: str = PATH) -> dict[str, Any]:
    """Return a container's arguments in our spelling; raise `Invalid` for what is never passed on.

    Values are checked afterwards; what a template variable is to fill is left as it stands. What
    is in our spelling stays as it is, so that a second call changes nothing.
    """
    own: dict[str, Any] = {}
    written: dict[str, str] = {}
    for key, value in args.items():
        here = f"{path}.{key}"
        name, read = _own(key, value, here)
        if name is None:
            continue
        if name in written:
            raise Invalid(
                f"{path} gives {name!r} twice, as {written[name]!r} and as {key!r}: give one",
                field=here,
                value=value,
            )
        written[name] = key
        own[name] = None if value is None else read(value, here)
    return own


def _own(key: str, value: Any, path: str) -> tuple[str | None, Callable[[Any, str], Any]]:
    """Return our name of an option, and what reads its value; None where it says nothing."""
    name = key.replace("_", "-") if len(key) > 1 else key
    if name in _OPTIONS:
        return _OPTIONS[name]
    if key in KEYS or key in COMMON:
        return key, _same
    if value is None or (name == "rm" and value is True):
        return None, _same  # it removes what is not there, or is always so
    why = NEVER.get(name.lstrip("-"))
    known = f"known: {', '.join(KEYS)}"
    said = f"is not allowed: {why}" if why else f"is no argument of a container ({known})"
    raise Invalid(f"{path} {said}", field=path, value=value)


def _same(value: Any, path: str) -> Any:  # noqa: ARG001 - one form for all readers
    return value


def _is_open(value: object) -> bool:
    """Tell whether a template variable or a macro is still to say what it is."""
    return isinstance(value, str) and ("{{" in value or "${" in value)


def _words(value: Any, path: str) -> list[Any]:  # noqa: ARG001 - one form for all readers
    return list(value) if isinstance(value, list | tuple) else [value]


def _number(value: Any, path: str) -> Any:  # noqa: ARG001 - one form for all readers
    if not isinstance(value, str) or _is_open(value):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _text(value: Any, path: str) -> Any:  # noqa: ARG001 - one form for all readers
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _flag(value: Any, path: str) -> Any:  # noqa: ARG001 - one form for all readers
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _pairs(value: Any, path: str) -> Any:
    """Read `NAME=VALUE` words; one without a value would be the agent's own, and is refused."""
    if isinstance(value, Mapping):  # a template variable may have filled in a number
        return {name: _text(one, path) for name, one in value.items()}
    found: dict[str, Any] = {}
    for word in _words(value, path):
        name, is_pair, text = word.partition("=") if isinstance(word, str) else ("", "", "")
        if not name or not is_pair:
            raise Invalid(
                f"{path} has {word!r}: write NAME=VALUE, or a mapping from name to value",
                field=path,
                value=word,
            )
        if name in found:
            raise Invalid(f"{path} has {name!r} twice", field=path, value=name)
        found[name] = text
    return found


def _network(value: Any, path: str) -> Any:  # noqa: ARG001 - one form for all readers
    return "bridge" if value == "default" else value


def _gpus(value: Any, path: str) -> Any:
    if isinstance(value, list | tuple):
        return [_text(one, path) for one in value]
    if not isinstance(value, str) or _is_open(value):
        return value
    text = value.strip("\"'")
    if text.startswith("device="):
        return text.removeprefix("device=").split(",")
    return _number(text.removeprefix("count="), path)


def _volumes(value: Any, path: str) -> list[Any]:
    found = []
    for word in _words(value, path):
        parts = word.split(":") if isinstance(word, str) else []
        how = parts[2] if len(parts) == 3 else "rw"
        if len(parts) not in (2, 3) or not parts[0].startswith("/") or how not in ("ro", "rw"):
            raise Invalid(
                f"{path} has {word!r}: write /FOLDER:/PATH or /FOLDER:/PATH:ro; volumes with "
                "names are not passed on",
                field=path,
                value=word,
            )
        found.append({"source": parts[0], "target": parts[1], "read_only": how == "ro"})
    return found


def _mount_options(value: Any, path: str) -> list[Any]:
    found = []
    for word in _words(value, path):
        parts = [part.partition("=") for part in str(word).split(",")]
        said = {_MOUNT_KEYS.get(name, name): text for name, _, text in parts}
        is_read_only = said.pop("readonly", "false") in ("", "true", "1")
        if said.pop("type", None) != "bind" or set(said) != {"source", "target"}:
            raise Invalid(
                f"{path} has {word!r}: write type=bind,source=/FOLDER,target=/PATH, with "
                "readonly or without",
                field=path,
                value=word,
            )
        found.append({**said, "read_only": is_read_only})
    return found


_MOUNT_KEYS = {
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly",
}  # fmt: skip


def _own_mounts(value: Any, path: str) -> Any:
    """Write out whether a mount is read-only: it is, where nothing is said."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        return _volumes(value, path)
    return [{"read_only": True, **one} for one in value]


def _devices(value: Any, path: str) -> list[Any]:
    found = []
    for word in _words(value, path):
        parts = word.split(":") if isinstance(word, str) else [word]
        if parts[1:] not in ([], [parts[0]], ["rwm"], [parts[0], "rwm"]):
            raise Invalid(
                f"{path} has {word!r}: a device is passed on under its own path, such as /dev/fuse",
                field=path,
                value=word,
            )
        found.append(parts[0])
    return found


def _ulimits(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    found: dict[str, Any] = {}
    for name, text in _pairs(value, path).items():
        soft, has_hard, hard = text.partition(":")
        both = {"soft": _number(soft, path), "hard": _number(hard, path)}
        found[name] = both if has_hard else _number(text, path)
    return found


def _tmpfs(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    found: dict[str, Any] = {}
    for word in _words(value, path):
        place, _, options = str(word).partition(":")
        name, is_pair, size = options.partition("=")
        if name != "size" or not is_pair or "," in size:
            raise Invalid(
                f"{path} has {word!r}: write /PATH:size=64m", field=path, value=word
            )  # fmt: skip
        found[place] = size
    return found


# docker's names, written with '-' or '_', and those of one letter -> ours and how it is read.
_OPTIONS: Mapping[str, tuple[str, Callable[[Any, str], Any]]] = {
    "e": ("env", _pairs),
    "env": ("env", _pairs),
    "cpus": ("cpus", _number),
    "m": ("memory", _number),
    "memory": ("memory", _number),
    "memory-swap": ("memory_swap", _number),
    "shm-size": ("shm_size", _number),
    "pids-limit": ("pids_limit", _number),
    "gpus": ("gpus", _gpus),
    "u": ("user", _text),
    "user": ("user", _text),
    "w": ("workdir", _same),
    "workdir": ("workdir", _same),
    "l": ("labels", _pairs),
    "label": ("labels", _pairs),
    "labels": ("labels", _pairs),
    "net": ("network", _network),
    "network": ("network", _network),
    "v": ("mounts", _volumes),
    "volume": ("mounts", _volumes),
    "mount": ("mounts", _mount_options),
    "mounts": ("mounts", _own_mounts),
    "device": ("devices", _devices),
    "devices": ("devices", _devices),
    "read-only": ("read_only", _flag),
    "init": ("init", _flag),
    "ulimit": ("ulimits", _ulimits),
    "ulimits": ("ulimits", _ulimits),
    "tmpfs": ("tmpfs", _tmpfs),
    "h": ("hostname", _same),
    "hostname": ("hostname", _same),
    "stop-timeout": ("grace_s", _number),
    "build-arg": ("build_args", _pairs),
    "build-args": ("build_args", _pairs),
    "pull": ("pull", _same),
    "platform": ("platform", _same),
}
