"""The named statements and their reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.item import Item
from shipway.store.file_system import check_is_local, mount_of
from shipway.store.queries import parse, postgres_queries, sqlite_queries, to_psycopg
from shipway.store.rows import check_text, to_json


def test_both_databases_have_the_same_statements() -> None:
    assert sqlite_queries().keys() == postgres_queries().keys()


def test_overridden_statements_take_the_same_parameters() -> None:
    shared, own = sqlite_queries(), postgres_queries()
    for name, text in shared.items():
        expected = set(re.findall(r"(?<!:):([a-z_]+)", text))
        assert set(re.findall(r"%\(([a-z_]+)\)s", own[name])) == expected, name


def test_an_items_columns_are_its_fields_in_their_order() -> None:
    for queries in (sqlite_queries(), postgres_queries()):
        for name in ("item", "lease_items"):
            columns = re.split(r"RETURNING|SELECT", queries[name])[-1].partition("FROM")[0]
            assert [column.strip() for column in columns.split(",")] == list(Item._fields)


def test_only_two_statements_move_items() -> None:
    for queries in (sqlite_queries(), postgres_queries()):
        moving = [name for name, text in queries.items() if re.search(r"\bSET\s+state = ", text)]
        assert sorted(moving) == ["lease_items", "move_items", "set_agent_state"]


def test_parameters_are_said_in_psycopgs_words() -> None:
    assert to_psycopg("a = :b AND c::text LIKE '%x'") == "a = %(b)s AND c::text LIKE '%%x'"


def test_a_statement_must_say_why_it_is_there() -> None:
    text = "-- fragment: cols\na, b\n\n-- name: one\n-- Because.\nSELECT {cols} FROM t\n"
    assert parse(text) == {"one": "SELECT a, b FROM t"}
    with pytest.raises(AssertionError):
        parse("-- name: one\nSELECT 1\n")
    with pytest.raises(AssertionError):
        parse("-- name: one\n-- A.\nSELECT 1\n-- name: one\n-- B.\nSELECT 2\n")


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/ada/local\\040disk xfs rw 0 0
host /mnt/share cifs rw 0 0
tmpfs /ram tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/homes/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada", "nfs4"),
        ("/home/ada/local disk/x", "xfs"),
        ("/ram/x", "tmpfs"),
    ],
)
def test_the_innermost_mount_counts(path: str, kind: str) -> None:
    assert mount_of(path, MOUNTS)[0] == kind


def test_a_network_file_system_is_refused() -> None:
    with pytest.raises(Invalid, match=r"local disk"):
        check_is_local(Path("/mnt/share/x"), mounts=MOUNTS)
    with pytest.raises(Invalid, match=r"nfs4"):
        check_is_local(Path("/home/x"), mounts=MOUNTS)
    check_is_local(Path("/var/x"), mounts=MOUNTS)
    check_is_local(Path("/var/x"), mounts="")


def test_json_is_ascii_and_takes_what_is_not_a_number() -> None:
    text = to_json({"a": "\0\ud800é", "b": float("nan")})
    assert text == '{"a":"\\u0000\\ud800\\u00e9","b":NaN}'
    with pytest.raises(Invalid):
        to_json({"a": {1, 2}})


def test_text_that_no_database_holds_is_named() -> None:
    check_text(name="é\N{ROCKET}", other=None)
    for bad in ("a\0", "é\udc00"):
        with pytest.raises(Invalid) as caught:
            check_text(name=bad)
        assert caught.value.details["field"] == "name"
