"""Writes the tables of `docs/reference` from the code; cog calls one function a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import click

from shipway.cli.main import COMMANDS, shipway
from shipway.domain import errors, item
from shipway.domain.errors import Code
from shipway.domain.item import REMEDIES, TERMINAL, TRANSITIONS, Event, FailureClass, State
from shipway.plugins.find import GROUPS, installed
from shipway.sdk.settings import KEYS
from shipway.server.errors import STATUS
from shipway.server.rest.routes import ROUTES

HELP_WIDTH = 88

SETTINGS = {
    "base_url": "The server's address. None: the embedded server of this machine.",
    "api_key": "The key. The embedded server's own is found without it.",
    "entity": "Whose runs; default: the key's owner.",
    "project": "Where runs go; default: `uncategorized`.",
    "queue": "Where launches wait; default: `default`.",
    "home": "The data directory of the embedded server and agent, on a local disk; default: the "
    "platform's user data directory + `shipway`.",
    "autostart": "`0` or `false`: no embedded server is started by itself.",
    "pin_images": "`0` or `false`: an image's registry is not asked for its digest at submit.",
}
AGENT_CONFIG = {
    "queues": "Names of the queues to serve, in turn; default: `default`.",
    "entity": "Whose queues; default: the key's owner's.",
    "max_jobs": "Programs at once, -1 for no limit; default: 1.",
    "run_as": "`self`: only what the agent's own user submitted (default); `shared`: everybody's.",
    "resources": "Runners that may be used; default: all that are installed.",
    "pass_env": "The agent's own variables that programs may see; default: none.",
    "grace_s": "Seconds from SIGTERM to SIGKILL for items that say nothing; default: 10.",
    "git_hosts": "Patterns of hosts that may be fetched from; default: `*`.",
    "git_protocols": "Protocols that may be fetched over; default: `https`, `ssh`.",
    "container": "What containers may be: a section with `engine`, `network`, `images`, `mounts`, "
    "`devices`, `users`; see [What a container may be](../how-to/containers-policy.md).",
    "secure_mode": "`true`: launches have no entry point of an image, mounts, devices or network "
    "`host` of their own; default: `false`.",
    "keep_work_h": "Hours that an unused copy of a source waits for another attempt; default: 24.",
    "keep_failed_h": "Hours that the folder of a failed attempt is kept; default: 168, a week.",
    "keep_failed": "Folders of failed attempts that are kept at most; default: 20.",
    "environments_gb": "Size of all environments and packages, by last use; default: 20.",
    "sources_gb": "Size of all fetched sources, by last use; default: 10.",
}
KINDS = {
    "shipway.sources": "fetches code",
    "shipway.builders": "makes environments",
    "shipway.runners": "starts programs on a resource",
    "shipway.registries": "knows the logins and the images of container registries",
    "shipway.search": "chooses the parameters of a sweep's runs",
    "shipway.devices": "counts and hands out devices (none yet)",
}


def cli() -> str:
    """Return the help of every command."""
    parts = [_help(["shipway"], shipway)]
    for name, (module, attribute, _) in COMMANDS.items():
        command = getattr(import_module(f"shipway.cli.{module}"), attribute)
        parts += [_help(path, found) for path, found in _walk(["shipway", name], command)]
    return "\n".join(parts)


def routes() -> str:
    """Return the table of REST routes with the roles that may call them."""
    rows = [
        [f"`{route.method}`", f"`{route.path}`", _roles(route.roles), route.summary]
        for route in sorted(ROUTES, key=lambda route: (route.path, route.method))
    ]
    return _table(["method", "path", "roles", "what"], rows)


def settings() -> str:
    """Return the table of settings; each has a variable and a key of the two files."""
    rows = [[f"`SHIPWAY_{key.upper()}`", f"`{key}`", SETTINGS[key]] for key in KEYS]
    return _table(["variable", "key", "what"], rows)


def agent_config() -> str:
    """Return the table of the agent's config keys."""
    rows = [[f"`{key}`", AGENT_CONFIG[key]] for key in AGENT_CONFIG]
    return _table(["key", "what"], rows)


def states() -> str:
    """Return the chart of an item's life and the tables of its states and events."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending: enqueue"]
    lines += [
        f"    {before} --> {after}: {event}" for (before, event), after in TRANSITIONS.items()
    ]
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    lines += ["```", ""]
    says = _comments(Path(item.__file__))
    lines.append(_table(["state", "meaning"], [[f"`{s}`", says[f"State.{s.name}"]] for s in State]))
    moves = [[f"`{event}`", _moves(event), says[f"Event.{event.name}"]] for event in Event]
    lines += ["", _table(["event", "moves", "meaning"], moves), "", "## Kinds of failure", ""]
    kinds = [
        [f"`{kind}`", says[f"FailureClass.{kind.name}"], _text(REMEDIES[kind])]
        for kind in FailureClass
    ]
    lines.append(_table(["class", "meaning", "remedy"], kinds))
    return "\n".join(lines)


def error_codes() -> str:
    """Return the table of error codes."""
    says = _comments(Path(errors.__file__))
    rows = [[f"`{code}`", str(STATUS[code]), says[f"Code.{code.name}"]] for code in Code]
    return _table(["code", "HTTP status", "meaning"], rows)


def plugins() -> str:
    """Return the table of entry-point groups and what of them is built in."""
    rows = [[f"`{group}`", KINDS[group], _built_in(group)] for group in GROUPS]
    return _table(["entry-point group", "a plugin of it", "built in"], rows)


def _walk(path: list[str], command: click.Command) -> Iterator[tuple[list[str], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _walk([*path, name], command.commands[name])


def _help(path: Sequence[str], command: click.Command) -> str:
    context = click.Context(
        command,
        info_name=" ".join(path),
        terminal_width=HELP_WIDTH,
        max_content_width=HELP_WIDTH,
        help_option_names=["-h", "--help"],
    )
    mark = "#" * min(len(path) + 1, 4)
    return f"{mark} {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n"


def _roles(roles: frozenset[str]) -> str:
    return ", ".join(sorted(str(role) for role in roles)) or "no key needed"


def _moves(event: Event) -> str:
    found = [f"{before} → {after}" for (before, e), after in TRANSITIONS.items() if e is event]
    return ", ".join(found)


def _built_in(group: str) -> str:
    ours = [name for name, point in installed(group).items() if point.value.startswith("shipway.")]
    return ", ".join(f"`{name}`" for name in ours) or "none"


def _comments(path: Path) -> dict[str, str]:
    """Return the comment of each member of each closed set in a module."""
    found: dict[str, str] = {}
    kind = ""
    for line in path.read_text().splitlines():
        if heading := re.match(r"class (\w+)\(StrEnum\)", line):
            kind = heading[1]
        elif member := re.match(r'    ([A-Z_]+) = "[^"]*"  # (.+)', line):
            found[f"{kind}.{member[1]}"] = _text(member[2])
    return found


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _text(text: str) -> str:
    return text.replace("|", "\\|")
