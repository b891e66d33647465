"""`shipway key`: makes, lists and revokes keys."""

from __future__ import annotations

from pathlib import Path

import click

from shipway.cli.connection import connect, connection
from shipway.cli.output import as_json, emit, emit_list, note, say, table
from shipway.cli.user import ROLES
from shipway.domain.ids import split_key
from shipway.sdk.discovery import FILE_NAME, read_server

COLUMNS = {"id": "id", "user": "user", "role": "role", "label": "label", "revoked_at": "revoked"}


@click.group()
def key() -> None:
    """Make, list and revoke keys."""


@key.command("create")
@click.option("--user", help="Whose key; default: your own. Other people's need an admin.")
@click.option("--role", type=ROLES, help="At most the user's own role, which is the default.")
@click.option("--label", help="A word for yourself, shown in lists.")
@as_json
def create(*, user: str | None, role: str | None, label: str | None, is_json: bool) -> None:
    """Make a key and show it, this once only."""
    made = connect().people.create_key(user=user, role=role, label=label)
    if is_json:
        emit(made)
        return
    note("the key is shown this once; keep it where only you can read it:")
    say(str(made["key"]))


@key.command("ls")
@as_json
def list_keys(*, is_json: bool) -> None:
    """List keys without their secrets."""
    rows = connect().people.keys()
    if is_json:
        emit_list(rows)
    else:
        table(rows, COLUMNS, empty="no keys")


@key.command("revoke")
@click.argument("key_id")
@as_json
def revoke(*, key_id: str, is_json: bool) -> None:
    """Refuse a key from now on, and end the sessions that it began.

    The embedded server's own key may be revoked too: the next `shipway up` makes a fresh one.
    """
    link = connection()
    link.client.people.revoke_key(key_id)
    if is_json:
        emit({"id": key_id, "is_revoked": True})
    else:
        say(f"key {key_id} is revoked")
    if link.home is not None and _own_key(link.home) == key_id:
        note(
            "it was this home's own key: `shipway down` and then `shipway up` make a fresh one; "
            "until then commands here are refused"
        )


def _own_key(home: Path) -> str | None:
    server = read_server(home / FILE_NAME)
    parts = split_key(server.api_key) if server is not None else None
    return parts[0] if parts is not None else None
