"""An order as the runner writes it and as a slot reads it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.domain.order import BIG_ORDER, LOOK, PACKED, Command, Order
from shipway.domain.spool import MARK_VARIABLE

JSON = 0  # the form that supervisors of 0.1 read
TEXTS = st.text(st.characters())  # also those that no program can have


def an_order(argv: tuple[str, ...] = ("/bin/true",), env: dict[str, str] | None = None) -> Order:
    return Order(
        mark="item.1",
        token="t",
        argv=argv,
        env=env or {},
        cwd="/where/it/starts",
        folder="/folder/item.1",
        grace_ms=1,
        run_limit_ms=2,
        log_cap=3,
    )


def texts(values: list[bytes] | list[str]) -> list[str]:
    return [os.fsdecode(value) for value in values]


@pytest.mark.parametrize("form", [JSON, PACKED])
@settings(max_examples=25)
@given(argv=st.lists(TEXTS, min_size=1), env=st.dictionaries(TEXTS, TEXTS))
def test_order_comes_back_as_it_was(form: int, argv: list[str], env: dict[str, str]) -> None:
    found = Command.from_bytes(an_order(tuple(argv), env).to_bytes(form))
    names, values = texts([*found.env]), texts([*found.env.values()])
    assert dict(zip(names, values, strict=True)) == {**env, MARK_VARIABLE: "item.1"}
    assert texts(found.argv) == argv
    assert (found.mark, found.token) == ("item.1", "t")
    assert (found.cwd, found.folder) == ("/where/it/starts", "/folder/item.1")
    assert (found.grace_ms, found.run_limit_ms, found.log_cap) == (1, 2, 3)


@pytest.mark.parametrize("form", [JSON, PACKED])
def test_order_keeps_bytes_that_are_no_text(form: int) -> None:
    argv = (b"\xff\xfe".decode("utf-8", "surrogateescape"),)
    assert texts(Command.from_bytes(an_order(argv).to_bytes(form)).argv) == [*argv]


def test_order_for_an_older_supervisor_is_json() -> None:
    assert an_order().to_bytes(JSON).startswith(b'["item", 1, "t", ["/bin/true"], {}, "/where')


def test_order_is_never_taken_for_another_message() -> None:
    for form in (JSON, PACKED):
        assert an_order().to_bytes(form)[:1] not in (BIG_ORDER, LOOK)


def test_order_for_a_supervisor_of_today_is_packed() -> None:
    order = an_order(("/bin/true", "-x"), {"A": "1", "B": "2"})
    texts = ["item.1", "t", "/where/it/starts", "/folder/item.1", "1 2 3 2"]
    texts += ["/bin/true", "-x", "A", "B", "1", "2"]
    assert order.to_bytes(PACKED) == b"\2" + "\0".join(texts).encode()
    assert an_order(("a\0b",)).to_bytes(PACKED).startswith(b"[")
    assert an_order(("\ud800",)).to_bytes(PACKED).startswith(b"[")
