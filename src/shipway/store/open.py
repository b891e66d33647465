"""Opens the store that an address names."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from shipway.domain.errors import Invalid
from shipway.store.sqlite import Durability, SqliteStore, open_sqlite

if TYPE_CHECKING:
    from shipway.store.postgres import PostgresStore

log = logging.getLogger(__name__)


def open_store(
    url: str,
    *,
    migrate: bool,
    durability: Durability = Durability.FULL,
    fatal: Callable[[BaseException], None] | None = None,
    is_threaded: bool = True,
) -> SqliteStore | PostgresStore:
    """Open `sqlite:///PATH` or `postgresql://…`, brought forward first if asked.

    A PATH without a slash of its own is relative to the current directory.
    `fatal` is called after a failed sync, when nobody can know what is on the disk; the default
    ends the process. Without threads, work waits until somebody calls `writer.drain()`.
    """
    now = time.time_ns() // 1_000_000
    end = fatal or end_process
    store: SqliteStore | PostgresStore
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///")).absolute()
        store = open_sqlite(path, is_migrated=migrate, now=now, fatal=end, durability=durability)
    elif url.startswith(("postgresql://", "postgres://")):
        store = _open_postgres(url, migrate=migrate, now=now, fatal=end, durability=durability)
    else:
        raise Invalid(
            "a database address begins with sqlite:/// or postgresql://", field="database"
        )
    if is_threaded:
        store.start()
    return store


def end_process(error: BaseException) -> None:
    """End this process at once: after a failed sync nothing it says could be trusted."""
    log.critical("the disk failed, so this process ends", exc_info=error)
    os._exit(70)


def _open_postgres(
    url: str,
    *,
    migrate: bool,
    now: int,
    fatal: Callable[[BaseException], None],
    durability: Durability,
) -> PostgresStore:
    try:
        from shipway.store.postgres import open_postgres  # noqa: PLC0415 - psycopg is an extra
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise Invalid("PostgreSQL needs an extra: pip install 'shipway[postgres]'") from None
    return open_postgres(
        url,
        is_migrated=migrate,
        now=now,
        fatal=fatal,
        is_durable=durability is Durability.FULL,
    )
