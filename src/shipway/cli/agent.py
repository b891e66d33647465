"""`shipway agent`: leases items and sees them through."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import click

from shipway.cli.connection import connection, settings
from shipway.domain.errors import Conflict, ShipwayError
from shipway.plugins.errors import PluginError
from shipway.sdk.connection import Connection
from shipway.sdk.home import choose_home

AGENTS_LIMIT = 16  # agents beside the embedded one that find a home of their own


@click.command()
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; several in turn.")
@click.option("-e", "--entity", help="Whose queues; default: the key's owner's.")
@click.option("-j", "--max-jobs", type=int, help="Programs at once; -1: no limit. Default: 1.")
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML, JSON or YAML; the options here rank over it.",
)
@click.option("--once", is_flag=True, help="End when there is nothing to do.")
def agent(
    *,
    queues: tuple[str, ...],
    entity: str | None,
    max_jobs: int | None,
    config: Path | None,
    once: bool,
) -> int:
    """Run an agent in the foreground.

    It runs what its own user submitted, unless its config says `run_as: shared`. Its programs
    outlive it: an agent that is started again on the same SHIPWAY_HOME finds them.
    """
    from shipway.agent.config import load_config  # noqa: PLC0415 - `--help` needs no agent
    from shipway.agent.main import AgentOptions, run_agent  # noqa: PLC0415 - as above
    from shipway.agent.messages import FieldFormatter  # noqa: PLC0415 - as above

    flags = {"queues": list(queues) or None, "entity": entity, "max_jobs": max_jobs}
    read = load_config(config, flags)
    stream = logging.StreamHandler()
    stream.setFormatter(FieldFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[stream])
    link = connection()
    try:
        return run_agent(
            AgentOptions(
                home=agent_home(choose_home(os.environ, explicit=settings().home).path),
                base_url=link.client.base_url,
                key=_key(link),
                config=read,
                is_once=once,
            )
        )
    except PluginError as error:
        raise ShipwayError(str(error)) from error


def agent_home(root: Path) -> Path:
    """Return the first agent's home that no agent uses: `agent`, then `agents/1` and so on.

    An agent that is started again gets its former home, and with it its id and its programs.
    """
    for path in (root / "agent", *(root / "agents" / str(n) for n in range(1, AGENTS_LIMIT))):
        if not is_locked(path / "lock"):
            return path
    raise Conflict(
        f"{AGENTS_LIMIT} agents run on {root}: stop one, or set SHIPWAY_HOME to another directory"
    )


def is_locked(path: Path) -> bool:
    """Tell whether a process holds a lock file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _key(link: Connection) -> str:
    if link.home is not None:
        return (link.home / "key").read_text().strip()
    assert link.settings.api_key, "a connection to another server has a key"
    return link.settings.api_key
