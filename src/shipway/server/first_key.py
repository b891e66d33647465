"""Sees to it that a new database has an admin, and that the owner's key works."""

from __future__ import annotations

import os
from pathlib import Path

from shipway.domain.errors import Invalid, Unauthenticated
from shipway.service.keys import Keys
from shipway.service.ports import Store

KEY_SIZE_LIMIT = 256  # characters of a key file


def adopt_key(store: Store, keys: Keys, path: Path, *, name: str) -> None:
    """Make the key in a file an admin's; where there is no file yet, make both.

    A key that was revoked is replaced by a fresh one, in the file too.
    """
    known = read_key(path)
    if known is not None:
        valid = store.write(lambda tx: keys.adopt(tx, name, known)).result()
        if valid != known:
            write_key(path, valid)
        return
    with store.read() as tx:
        is_empty = not tx.actors.users()
    if not is_empty:
        raise Invalid(
            f"the database has users, but {path} with the owner's key is gone: put it back, or "
            "begin with an empty data directory"
        )
    key = keys.make()
    write_key(path, key)  # first: a server that ends in between finds it, and adopts it
    store.write(lambda tx: keys.adopt(tx, name, key)).result()


def make_admin(store: Store, keys: Keys, path: Path, *, name: str) -> bool:
    """Make the first admin of an empty database and write its key down; False otherwise.

    The key is in a file beside `path` before the database knows it, and gets its name after.
    """
    with store.read() as tx:
        is_empty = not tx.actors.users()
    if not is_empty:
        return _finish(store, keys, path)
    if path.exists():
        raise _taken(path)
    key = keys.make()
    _write_partial(path, key)
    store.write(lambda tx: keys.adopt(tx, name, key)).result()
    _put_in_place(path)
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
    _write_partial(path, key)
    _put_in_place(path)


def _finish(store: Store, keys: Keys, path: Path) -> bool:
    """Give the key its name if the server that made it ended just before that."""
    key = read_key(_partial(path))
    if key is None or path.exists():
        return False
    try:
        with store.read() as tx:
            keys.authenticate(tx, key)
    except Unauthenticated:  # of a server that ended before its database knew it
        return False
    _put_in_place(path)
    return True


def _write_partial(path: Path, key: str) -> None:
    partial = _partial(path)
    partial.unlink(missing_ok=True)
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise _taken(partial) from None
    with os.fdopen(handle, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def _put_in_place(path: Path) -> None:
    _partial(path).replace(path)
    _sync_folder(path.parent)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _taken(path: Path) -> Invalid:
    return Invalid(
        f"{path} is there already: move it away, or name another with --admin-key-file",
        field="admin_key_file",
        value=str(path),
    )
