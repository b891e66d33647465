"""Sees to it that a new database has an admin, and that the owner's key works."""

from __future__ import annotations

import os
from pathlib import Path

from shipway.domain.errors import Invalid
from shipway.service.keys import Keys
from shipway.service.ports import Store

KEY_SIZE_LIMIT = 256  # characters of a key file


def adopt_key(store: Store, keys: Keys, path: Path, *, name: str) -> None:
    """Make the key in a file an admin's; where there is no file yet, make both."""
    known = read_key(path)
    if known is not None:
        store.write(lambda tx: keys.adopt(tx, name, known)).result()
        return
    with store.read() as tx:
        is_empty = not tx.actors.users()
    if not is_empty:
        raise Invalid(
            f"the database has users, but {path} with the owner's key is gone: put it back, or "
            "begin with an empty data directory"
        )
    key = store.write(lambda tx: keys.bootstrap(tx, name)).result()
    write_key(path, key)


def make_admin(store: Store, keys: Keys, path: Path, *, name: str) -> bool:
    """Make the first admin of an empty database and write its key down; False otherwise."""
    with store.read() as tx:
        if tx.actors.users():
            return False
    claim = _create(path)  # before the key is made: one that cannot be written helps nobody
    key = store.write(lambda tx: keys.bootstrap(tx, name)).result()
    with os.fdopen(claim, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    return True


def read_key(path: Path) -> str | None:
    """Return the key in a file, None where there is none."""
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    if not text or len(text) > KEY_SIZE_LIMIT:
        raise Invalid(f"{path} does not hold a key", field="key_file")
    return text


def write_key(path: Path, key: str) -> None:
    """Write a key for its owner alone, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    with os.fdopen(_create(partial), "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Invalid(
            f"{path} is there already: move it away, or name another with --admin-key-file",
            field="admin_key_file",
            value=str(path),
        ) from None
