"""What of a config's schema is looked at, and what is no schema."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.config_schema import DEPTH_LIMIT, check_work, checkable
from shipway.domain.errors import Invalid


def test_what_only_people_read_and_what_costs_too_much_is_left_out() -> None:
    schema = {
        "type": "object", "title": "T", "required": True, "format": "secret", "$defs": {"a": 1},
        "additionalProperties": False,
        "properties": {
            "a": {"type": ["integer", "null"], "minimum": 1, "pattern": "(a+)+$"},
            "b": {"type": "array", "items": {"enum": ["x"]}, "maxItems": 2, "uniqueItems": True},
            "c": {"anyOf": [{"const": 1}, {"type": "string", "maxLength": 3}]},
        },
    }  # fmt: skip
    assert checkable(schema, field="s") == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "a": {"type": ["integer", "null"], "minimum": 1},
            "b": {"type": "array", "items": {"enum": ["x"]}, "maxItems": 2},
            "c": {"anyOf": [{"const": 1}, {"type": "string", "maxLength": 3}]},
        },
    }


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ([], "s"),
        ({"type": "float"}, "s.type"),
        ({"type": []}, "s.type"),
        ({"enum": "ab"}, "s.enum"),
        ({"maximum": True}, "s.maximum"),
        ({"minItems": -1}, "s.minItems"),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}}, "s.properties.a.$ref"),
        ({"properties": []}, "s.properties"),
        ({"items": [{}]}, "s.items"),
        ({"allOf": [{"type": 1}]}, "s.allOf.0.type"),
        ({"anyOf": []}, "s.anyOf"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_path(schema: Any, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        checkable(schema, field="s")
    assert refused.value.details["field"] == field


def test_a_schema_has_a_depth() -> None:
    deep: dict[str, Any] = {}
    for _ in range(DEPTH_LIMIT + 1):
        deep = {"items": deep}
    with pytest.raises(Invalid, match=f"at most {DEPTH_LIMIT} deep"):
        checkable(deep, field="s")


def test_a_server_s_time_has_an_end() -> None:
    many = {"items": {"anyOf": [{"const": at} for at in range(600)]}}
    check_work(many, [0] * 100, field="run_config")
    with pytest.raises(Invalid, match="too much to check") as refused:
        check_work(many, [0] * 1_000, field="run_config")
    assert refused.value.details["field"] == "run_config"
