"""Writes the command line that runs a container: every option from a typed value, none as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipway.plugins.errors import PermanentError
from shipway.plugins.runner import Bind, Container

LABEL = "ai.shipway."  # begins the names of our labels
LOG_BYTES = 4 << 30  # of a container's output that docker keeps for whoever comes back to it
_AMOUNTS = ("memory", "memory_swap", "shm_size")  # bytes, or a number with a unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What tells one attempt's container from all others."""

    name: str
    labels: Mapping[str, str]
    id_file: str
    env_file: str


def run_words(
    engine: str, naming: Naming, container: Container, args: Mapping[str, Any], *, network: str
) -> list[str]:
    """Return the words after the engine's program; `args` were checked by their schema."""
    words = ["run", f"--name={naming.name}", f"--cidfile={naming.id_file}"]
    words += [f"--env-file={naming.env_file}", "--pull=never", *_log(engine)]
    words += [f"--label={LABEL}{name}={value}" for name, value in naming.labels.items()]
    words += [f"--label={name}={value}" for name, value in (args.get("labels") or {}).items()]
    words.append(f"--network={network}")
    words += _limits(args)
    words += _gpus(engine, args.get("gpus"))
    words += [_mount(bind) for bind in container.binds]
    words += [_mount(_asked(mount)) for mount in args.get("mounts") or ()]
    words += [f"--device={device}" for device in args.get("devices") or ()]
    words += [f"--tmpfs={path}:size={size}" for path, size in (args.get("tmpfs") or {}).items()]
    workdir = args.get("workdir") or container.workdir
    if workdir:
        words.append(f"--workdir={workdir}")
    command = container.args
    if container.entry_point:
        first, *rest = container.entry_point
        words.append(f"--entrypoint={first}")
        command = (*rest, *container.args)
    return [*words, "--", container.image, *command]


def env_lines(env: Mapping[str, str]) -> str:
    """Return an environment as a file that engines read: a line a variable, taken as it is."""
    for name, value in env.items():
        if any(char in value for char in "\n\r\0"):
            raise PermanentError(
                f"the variable {name} has a line break, which no container's variable can have: "
                "pass it in a file, or as JSON"
            )
    return "".join(f"{name}={value}\n" for name, value in env.items())


def _log(engine: str) -> list[str]:
    if engine == "podman":  # nobody comes back to it: its client lives as long as we do
        return ["--log-driver=none"]
    return ["--log-driver=json-file", f"--log-opt=max-size={LOG_BYTES}", "--log-opt=max-file=1"]


def _limits(args: Mapping[str, Any]) -> list[str]:
    words = [
        f"--{key.replace('_', '-')}={args[key]}"
        for key in ("cpus", "pids_limit", "user", "hostname", "platform")
        if args.get(key) is not None
    ]
    words += [
        f"--{key.replace('_', '-')}={_bytes(args[key])}"
        for key in _AMOUNTS
        if args.get(key) is not None
    ]
    words += [f"--{key.replace('_', '-')}" for key in ("read_only", "init") if args.get(key)]
    for name, limit in (args.get("ulimits") or {}).items():
        both = f"{limit['soft']}:{limit['hard']}" if isinstance(limit, Mapping) else limit
        words.append(f"--ulimit={name}={both}")
    return words


def _bytes(value: object) -> str:
    """Return an amount as engines write it: `512Mi` is `512m` to them."""
    text = str(value)
    return text[:-1].lower() if text.endswith("i") else text.lower()


def _gpus(engine: str, gpus: object) -> list[str]:
    if not gpus:
        return []
    if isinstance(gpus, list | tuple):
        if engine == "podman":
            return [f"--device=nvidia.com/gpu={one}" for one in gpus]
        return [f'--gpus="device={",".join(map(str, gpus))}"']
    if engine == "podman":
        if gpus == "all":
            return ["--device=nvidia.com/gpu=all"]
        return [f"--device=nvidia.com/gpu={number}" for number in range(int(str(gpus)))]
    return [f"--gpus={gpus}"]


def _asked(mount: Mapping[str, Any]) -> Bind:
    return Bind(
        source=mount["source"],
        target=mount["target"],
        is_writable=not mount.get("read_only", False),
    )


def _mount(bind: Bind) -> str:
    for path in (str(bind.source), bind.target):
        if any(char in path for char in ',"\n\r\0'):
            raise PermanentError(
                f"cannot mount {path!r}: engines take no comma, quote or line break"
            )
    word = f"--mount=type=bind,source={bind.source},target={bind.target}"
    return word if bind.is_writable else f"{word},readonly"
