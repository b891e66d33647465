"""`shipway backup`, `restore` and `gc`: the data of a server, and of this machine's agents."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shipway.cli.embedded_home import EmbeddedHome
from shipway.cli.output import as_json, emit, note, say
from shipway.cli.up import embedded_home
from shipway.domain.disk import in_words
from shipway.domain.errors import Invalid

if TYPE_CHECKING:
    from shipway.server.backup import Places

of_database = click.option(
    "--database", metavar="URL", help="A server's sqlite:///FILE or postgresql://…; default: yours."
)
of_blobs = click.option("--blobs", metavar="URL", help="Where that server keeps its bytes.")
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=FILE)
@of_database
@of_blobs
@click.option("--force", is_flag=True, help="Replace a file of that name.")
@as_json
def backup(
    *, file: Path, database: str | None, blobs: str | None, force: bool, is_json: bool
) -> None:
    """Write database, blobs and key into one file; a running server goes on.

    Without --database it is the embedded server of this machine. The file holds keys: keep it as
    secret as those. It is whole when the command ends well, and not there otherwise.
    """
    from shipway.server.backup import back_up  # noqa: PLC0415 - the CLI loads no server library

    _end_with_cleaning_up()
    home = None if database else embedded_home()
    made = back_up(_places(home, database, blobs), file.absolute(), is_forced=force)
    if is_json:
        emit({"file": str(made.file), "bytes": made.bytes, "blobs": made.blobs,
              "lost": list(made.lost)})  # fmt: skip
    else:
        say(f"{made.file}: database, {made.blobs} blobs, {in_words(made.bytes)}")
    if made.lost:
        note(
            f"{len(made.lost)} blobs were damaged on the disk and are not in it; "
            "an older backup may have them"
        )


@click.command()
@click.argument("file", type=FILE)
@of_database
@of_blobs
@click.option("--force", is_flag=True, help="Replace the data that are there.")
@as_json
def restore(
    *, file: Path, database: str | None, blobs: str | None, force: bool, is_json: bool
) -> None:
    """Put a backup's database, blobs and key in place; the server must not run.

    Every byte is checked before anything changes. A home that holds data is refused without
    --force.
    """
    from shipway.server.restore import restore as put_back  # noqa: PLC0415 - as above

    _end_with_cleaning_up()
    home = None if database else embedded_home()
    with ExitStack() as held:
        if home is not None:
            home.make()
            held.enter_context(home.hold())
        done = put_back(file.absolute(), _places(home, database, blobs), is_forced=force)
    if is_json:
        emit({"file": str(file), "created_at": done.created_at, "shipway": done.shipway,
              "blobs": done.blobs, "missing": list(done.missing)})  # fmt: skip
    else:
        say(f"{file} is restored: database, {done.blobs} blobs")
    if done.missing:
        note(f"{len(done.missing)} blobs that its rows lead to are not in the backup")


@click.command()
@of_database
@of_blobs
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@as_json
def gc(*, database: str | None, blobs: str | None, dry_run: bool, is_json: bool) -> None:
    """Remove now what upkeep would remove: of the server, and of this machine's agents.

    Of the server: what deleted items left a week ago, and blobs that nothing leads to for a week.
    Of agents: folders of attempts, environments and sources beyond the bounds of their config.
    """
    home = None if database else embedded_home()
    found: dict[str, Any] = {"is_dry_run": dry_run, "server": None, "agents": []}
    places = _places(home, database, blobs)
    if home is None or home.database.exists():
        from shipway.server.collect import collect  # noqa: PLC0415 - the CLI loads no server library

        found["server"] = collect(places, is_dry_run=dry_run)
    if home is not None:
        found["agents"] = [
            _tidy(path, home, is_dry_run=dry_run) for path in home.agent_homes if path.exists()
        ]
    counts = [*(found["server"] or {}).values()]
    counts += [one for agent in found["agents"] for one in agent.values() if isinstance(one, dict)]
    found["bytes"] = sum(one.get("bytes", 0) for one in counts)
    if is_json:
        emit(found)
    else:
        _show(found)


def _tidy(path: Path, home: EmbeddedHome, *, is_dry_run: bool) -> dict[str, Any]:
    """Remove what is beyond the bounds of one agent's home; return counts and bytes by kind."""
    from shipway.agent.cleaning import Cleaner, Kind  # noqa: PLC0415 - `--help` needs no agent
    from shipway.agent.config import load_config  # noqa: PLC0415 - as above
    from shipway.agent.home import Home  # noqa: PLC0415 - as above
    from shipway.agent.shelves import shelves_of  # noqa: PLC0415 - as above
    from shipway.agent.upkeep import room_of  # noqa: PLC0415 - as above
    from shipway.cli.agent import is_locked  # noqa: PLC0415 - as above
    from shipway.cli.supervisor import is_supervised  # noqa: PLC0415 - as above

    config = home.agent_config if path == home.agent and home.agent_config.exists() else None
    agent = Home(path=path)
    cleaner = Cleaner(agent, load_config(config, {}).bounds, lambda: shelves_of(agent))
    is_abandoned = not is_locked(path / "lock") and not is_supervised(path)
    counts: Counter[Kind] = Counter()
    sizes: Counter[Kind] = Counter()
    for one in cleaner.find(room_of(path), is_abandoned=is_abandoned):
        if is_dry_run or one.do():
            counts[one.kind] += 1
            sizes[one.kind] += one.bytes
    kinds = {kind.value: {"count": counts[kind], "bytes": sizes[kind]} for kind in Kind}
    return {"home": str(path), **kinds}


def _end_with_cleaning_up() -> None:
    """Let SIGTERM remove what is half made, as Ctrl-C does."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _places(home: EmbeddedHome | None, database: str | None, blobs: str | None) -> Places:
    from shipway.server.backup import Places  # noqa: PLC0415 - the CLI loads no server library

    os.umask(0o077)  # the data hold what keys are made from
    if home is None:
        assert database is not None, "a server that is not embedded is named"
        if blobs is None:
            raise Invalid("--database needs --blobs beside it", field="blobs")
        return Places(database=database, blobs=Path(blobs.removeprefix("file://")).absolute())
    if blobs is not None:
        raise Invalid("--blobs needs --database beside it", field="database")
    return Places(database=f"sqlite:///{home.database}", blobs=home.blobs, key=home.key)


def _show(found: dict[str, Any]) -> None:
    verb = "would be removed" if found["is_dry_run"] else "removed"
    lines = []
    for where, kinds in (("server", found["server"] or {}), *_by_home(found["agents"])):
        for kind, one in kinds.items():
            if one["count"]:
                size = f", {in_words(one['bytes'])}" if "bytes" in one else ""
                lines.append(f"{where}: {one['count']} {_NAMES[kind]}{size}")
    for line in lines:
        say(line)
    say(f"{in_words(found['bytes'])} {verb}" if lines else f"nothing {verb}")


def _by_home(agents: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(agent["home"], {k: v for k, v in agent.items() if k != "home"}) for agent in agents]


_NAMES = {
    "tombstones": "deleted items' logs and run data",
    "agents": "agents that were silent for a month",
    "blobs": "blobs that nothing leads to",
    "work": "folders of attempts",
    "environments": "environments and packages",
    "sources": "sources",
}
