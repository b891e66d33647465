"""`shipway user`: adds, lists and disables people and service accounts."""

from __future__ import annotations

import shlex

import click

from shipway.cli.connection import connect
from shipway.cli.output import as_json, emit, emit_list, say, table

COLUMNS = {"name": "user", "role": "role", "entity": "entity", "is_disabled": "disabled"}
ROLES = click.Choice(["admin", "member", "viewer", "agent"])


@click.group()
def user() -> None:
    """Add, list and disable people and service accounts."""


@user.command("create")
@click.argument("name")
@click.option("--role", type=ROLES, default="member", show_default=True, help="What they may do.")
@click.option("--entity", help="The entity whose queues they share; their own unless named.")
@as_json
def create(*, name: str, role: str, entity: str | None, is_json: bool) -> None:
    """Add a person or a service account; those of one entity share its queues."""
    made = connect().people.create_user(name, role, entity=entity)
    if is_json:
        emit(made)
    else:
        say(f"user {name} is there; make a key: shipway key create --user {shlex.quote(name)}")


@user.command("ls")
@as_json
def list_users(*, is_json: bool) -> None:
    """List all users."""
    rows = connect().people.users()
    if is_json:
        emit_list(rows)
    else:
        table(rows, COLUMNS, empty="no users")


@user.command("disable")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Accept the user's keys again.")
@as_json
def disable(*, name: str, undo: bool, is_json: bool) -> None:
    """Refuse all of a user's keys."""
    people = connect().people
    changed = people.enable_user(name) if undo else people.disable_user(name)
    if is_json:
        emit(changed)
    else:
        say(f"user {name} is {'enabled' if undo else 'disabled'}")
