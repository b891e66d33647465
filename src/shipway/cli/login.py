"""`shipway login`: stores a server's address and a key for this user."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from shipway.cli.output import as_json, emit, say
from shipway.client import Client
from shipway.domain.errors import Invalid
from shipway.domain.ids import split_key
from shipway.sdk.settings import store_login, user_config


@click.command()
@click.argument("base_url", metavar="ADDRESS")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read the key from a file; else it is asked for, or read from stdin.",
)
@as_json
def login(*, base_url: str, key_file: Path | None, is_json: bool) -> None:
    """Store a server's address and a key; a key never stands on a command line."""
    if not base_url.startswith(("http://", "https://")):
        raise Invalid(
            f"the address {base_url!r} begins with neither http:// nor https://",
            field="base_url",
            value=base_url,
        )
    if key_file is not None:
        key = key_file.read_text().strip()
    elif sys.stdin.isatty():
        key = str(click.prompt("key", hide_input=True)).strip()
    else:
        key = sys.stdin.readline().strip()
    if split_key(key) is None:
        raise Invalid("that is not a key of shipway: it looks like sw_…-… with 40 last characters")
    me = Client(base_url, key, patience_s=0).me()
    path = user_config(os.environ)
    store_login(path, base_url=base_url.rstrip("/"), api_key=key)
    if is_json:
        emit({**me, "config": str(path)})
    else:
        say(f"signed in to {base_url} as {me['user']} ({me['role']}); stored in {path}")
