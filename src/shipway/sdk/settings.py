"""Reads where the server is and what a launch defaults to."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.domain.errors import Invalid

FILE_NAME = "shipway.toml"  # beside the program
KEYS = ("base_url", "api_key", "entity", "project", "queue", "home", "autostart", "pin_images")
_FLAGS = frozenset({"autostart", "pin_images"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the server is and what a launch defaults to; None where nobody says."""

    base_url: str | None = None  # None: the embedded server
    api_key: str | None = None
    entity: str | None = None
    project: str | None = None
    queue: str | None = None
    home: str | None = None
    is_autostart: bool = True
    is_image_pinned: bool = True  # by its digest, which its registry is asked for at submit


def read_settings(
    env: Mapping[str, str],
    *,
    program: Path | None,
    base_url: str | None = None,
    api_key: str | None = None,
) -> Settings:
    """Merge argument > environment > `shipway.toml` beside the program > user config file.

    A key from the user's config file goes only to the address in that file: a `shipway.toml` that
    came with somebody's code must not lead it elsewhere.
    """
    arguments = {"base_url": base_url, "api_key": api_key}
    variables = {key: env.get(f"SHIPWAY_{key.upper()}") or None for key in KEYS}
    beside = _read(program / FILE_NAME) if program is not None else {}
    own = _read(user_config(env))
    layers: list[Mapping[str, Any]] = [arguments, variables, beside, own]
    found = {
        key: next((layer[key] for layer in layers if layer.get(key) is not None), None)
        for key in KEYS
    }
    is_own_key = not any(layer.get("api_key") for layer in layers[:-1])
    if is_own_key and _address(found["base_url"]) != _address(own.get("base_url")):
        found["api_key"] = None
    return Settings(
        base_url=_address(found["base_url"]),
        api_key=found["api_key"],
        entity=found["entity"],
        project=found["project"],
        queue=found["queue"],
        home=found["home"],
        is_autostart=_flag(found["autostart"]),
        is_image_pinned=_flag(found["pin_images"]),
    )


def program_folder(argv: list[str], main: object) -> Path | None:
    """Return the folder of the program that runs: where its `shipway.toml` would lie."""
    file = getattr(main, "__file__", None) or (argv[0] if argv else "")
    if not file or file in ("-c", "-m"):
        return Path.cwd()  # an interactive session
    path = Path(file).absolute()
    is_our_own = path.resolve().stem == "shipway" or path.parent == Path(__file__).parent.parent
    return Path.cwd() if is_our_own else path.parent


def here(*, base_url: str | None = None, api_key: str | None = None) -> Settings:
    """Return the settings of this process."""
    return read_settings(
        os.environ,
        program=program_folder(sys.argv, sys.modules.get("__main__")),
        base_url=base_url,
        api_key=api_key,
    )


def user_config(env: Mapping[str, str]) -> Path:
    """Return the path of the user's config file."""
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    if sys.platform == "win32":
        roaming = env.get("APPDATA")
        return (Path(roaming) if roaming else home) / "shipway" / "config.toml"
    config = env.get("XDG_CONFIG_HOME", "")
    return (Path(config) if config.startswith("/") else home / ".config") / "shipway/config.toml"


def store_login(path: Path, *, base_url: str, api_key: str) -> None:
    """Write address and key into the user's config file (0600), its other lines kept."""
    kept = {key: value for key, value in _read(path).items() if key not in ("base_url", "api_key")}
    lines = [
        f"{key} = {_toml(value)}"
        for key, value in {"base_url": base_url, "api_key": api_key, **kept}.items()
    ]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    import tomllib  # noqa: PLC0415 - most people have no such file

    try:
        values = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not TOML: {error}", field=str(path)) from None
    for key, value in values.items():
        wanted: type = bool if key in _FLAGS else str
        if key not in KEYS:
            raise Invalid(
                f"{path} has the unknown setting {key!r} (known: {', '.join(KEYS)})",
                field=key,
                value=value,
            )
        if not isinstance(value, wanted):
            raise Invalid(
                f"{key} in {path} must be {'true or false' if wanted is bool else 'text'}",
                field=key,
                value=value,
            )
    return values


def _address(value: object) -> str | None:
    return str(value).rstrip("/") if value else None


def _flag(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return value is not False
    return str(value).strip().lower() not in ("0", "false", "no", "off")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    import json  # noqa: PLC0415 - only `shipway login` writes

    return json.dumps(value)  # a JSON string is a TOML string
