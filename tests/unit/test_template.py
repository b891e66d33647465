"""Template variables: what a queue may declare, what a launch may give, and what is filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.template import (
    CHOICES_LIMIT,
    NAME_LIMIT,
    SHOWN_LIMIT,
    VARIABLES_LIMIT,
    check_placeholders,
    choose_values,
    fill,
    fixed,
    read_text,
    read_variables,
    templated,
)


def declared(**schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return a queue's variables by their schemas."""
    return {name: {"schema": dict(schema)} for name, schema in schemas.items()}


def chosen(schema: Mapping[str, Any], *given: Any) -> Any:
    """Return the value that one variable takes."""
    variables = read_variables(declared(v=schema))
    return choose_values(variables, {"v": given[0]} if given else {}, queue="gpus")["v"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 8}, 1),
        ({"type": "integer", "minimum": 1, "maximum": 8}, 8),
        ({"type": "integer"}, -(1 << 70)),
        ({"type": "number", "minimum": 0.5}, 0.5),
        ({"type": "number"}, 3),
        ({"type": "string"}, ""),
        ({"type": "string", "enum": ["a", "b"]}, "b"),
        ({"type": "integer", "enum": [1, 2]}, 2),
        ({"type": "integer", "minimum": 4, "maximum": 4}, 4),
        ({"type": "string", "enum": ["x"] * CHOICES_LIMIT}, "x"),
    ],
)
def test_a_value_that_fits_is_taken_as_it_is(schema: dict[str, Any], value: Any) -> None:
    taken = chosen(schema, value)
    assert (taken, type(taken)) == (value, type(value))


@pytest.mark.parametrize(
    ("schema", "value", "allowed"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 8}, 9, "a whole number from 1 to 8"),
        ({"type": "integer", "minimum": 1, "maximum": 8}, 0, "a whole number from 1 to 8"),
        ({"type": "integer", "minimum": 1}, 0, "a whole number of at least 1"),
        ({"type": "number", "maximum": 0.5}, 0.6, "a number of at most 0.5"),
        ({"type": "integer"}, "2", "a whole number"),
        ({"type": "integer"}, 2.0, "a whole number"),
        ({"type": "integer"}, True, "a whole number"),
        ({"type": "number"}, False, "a number"),
        ({"type": "number"}, float("nan"), "a number"),
        ({"type": "string"}, 2, "text"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "one of 'a', 'b'"),
        ({"type": "integer", "enum": [1, 2]}, 3, "one of 1, 2"),
        ({"type": "integer", "enum": [1, 2], "maximum": 1}, 2, "one of 1, 2"),
    ],
)
def test_another_value_is_refused_with_what_is_allowed(
    schema: dict[str, Any], value: Any, allowed: str
) -> None:
    with pytest.raises(Invalid) as refused:
        chosen(schema, value)
    assert refused.value.message == f"template variable 'v' must be {allowed}, not {value!r}"
    assert refused.value.details["field"] == "template_variables.v"


def test_a_default_stands_in_for_a_value_and_without_one_a_value_is_needed() -> None:
    assert chosen({"type": "integer", "default": 2}) == 2
    assert chosen({"type": "integer", "default": 2}, None) == 2
    assert chosen({"type": "integer", "default": 2}, 3) == 3
    assert chosen({"type": "integer", "default": 0}) == 0
    with pytest.raises(Invalid) as refused:
        chosen({"type": "integer", "minimum": 1, "maximum": 8})
    assert refused.value.message == (
        "queue 'gpus' needs a value of its template variable 'v': a whole number from 1 to 8"
    )
    assert refused.value.details["field"] == "template_variables.v"


def test_a_variable_that_nobody_declared_is_told_with_those_there_are() -> None:
    variables = read_variables(declared(a={"type": "string"}, b={"type": "string"}))
    with pytest.raises(Invalid) as refused:
        choose_values(variables, {"a": "x", "c": 1}, queue="gpus")
    assert refused.value.message == "queue 'gpus' has no template variable 'c' (there are: a, b)"
    with pytest.raises(Invalid, match=r"\(there are: none\)"):
        choose_values({}, {"c": 1}, queue="gpus")


@pytest.mark.parametrize(
    ("variables", "message", "field"),
    [
        ({"2x": {"schema": {"type": "string"}}}, "'2x' is no name", "2x"),
        ({"": {"schema": {"type": "string"}}}, "'' is no name", ""),
        ({"x" * (NAME_LIMIT + 1): {}}, "is no name of a template variable: use 1 to 64", "x" * 65),
        ({"v": 1}, 'must be {"schema": {"type": …}} and nothing else, not 1', "v"),
        ({"v": {"type": "string"}}, 'must be {"schema"', "v"),
        ({"v": {"schema": {"type": "string"}, "more": 1}}, "and nothing else", "v"),
        ({"v": {"schema": {"type": "string", "pattern": "x"}}},
         "unknown key 'pattern' (known: type, enum, minimum, maximum, default)",
         "v.schema.pattern"),
        ({"v": {"schema": {}}}, "type must be one of string, integer, number, not None",
         "v.schema.type"),
        ({"v": {"schema": {"type": "boolean"}}}, "not 'boolean'", "v.schema.type"),
        ({"v": {"schema": {"type": ["string"]}}}, "not ['string']", "v.schema.type"),
        ({"v": {"schema": {"type": "string", "enum": []}}}, "a list of 1 to 200", "v.schema.enum"),
        ({"v": {"schema": {"type": "string", "enum": "ab"}}}, "a list of 1", "v.schema.enum"),
        ({"v": {"schema": {"type": "string", "enum": ["x"] * (CHOICES_LIMIT + 1)}}},
         "a list of 1 to 200", "v.schema.enum"),
        ({"v": {"schema": {"type": "integer", "enum": [1, "2"]}}},
         "must hold values of the type integer, not '2'", "v.schema.enum"),
        ({"v": {"schema": {"type": "string", "minimum": 1}}},
         "minimum must be of a number's variable only, not 1", "v.schema.minimum"),
        ({"v": {"schema": {"type": "integer", "maximum": "8"}}},
         "maximum must be a number, not '8'", "v.schema.maximum"),
        ({"v": {"schema": {"type": "integer", "minimum": 3, "maximum": 2}}},
         "minimum 3 is above its maximum 2", "v.schema.minimum"),
        ({"v": {"schema": {"type": "integer", "maximum": 2, "default": 3}}},
         "default must be a whole number of at most 2, not 3", "v.schema.default"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_variable_is_named(
    variables: dict[str, Any], message: str, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        read_variables(variables)
    assert message in refused.value.message
    assert refused.value.details["field"] == f"template_variables.{field}"


def test_a_queue_has_so_many_variables_and_no_more() -> None:
    schemas = {f"v{at}": {"type": "string"} for at in range(VARIABLES_LIMIT + 1)}
    with pytest.raises(Invalid, match="at most 100 template variables, not 101"):
        read_variables(declared(**schemas))
    schemas.popitem()
    schemas["x" * NAME_LIMIT] = schemas.pop("v0")
    assert len(read_variables(declared(**schemas))) == VARIABLES_LIMIT


def test_an_error_shows_only_so_many_choices() -> None:
    choices = [str(at) for at in range(SHOWN_LIMIT + 1)]
    allowed = read_variables(declared(v={"type": "string", "enum": choices}))["v"].allowed
    assert allowed.endswith("'19', …")
    allowed = read_variables(declared(v={"type": "string", "enum": choices[:-1]}))["v"].allowed
    assert allowed.endswith("'18', '19'")


def test_every_text_of_a_config_is_filled_and_one_placeholder_takes_the_type() -> None:
    config = {
        "gpus": "{{gpus}}",
        "limits": {"memory": "{{ mem }}Gi", "rate": "{{rate}}"},
        "args": ["--gpus={{gpus}}", {"both": "{{gpus}}/{{mem}}"}, 3, None],
        "{{gpus}}": True,
        "other": "{{ .Names }} {{} {{unknown}}",
    }
    values = {"gpus": 2, "mem": 64, "rate": 0.5}
    assert fill(config, values) == {
        "gpus": 2,
        "limits": {"memory": "64Gi", "rate": 0.5},
        "args": ["--gpus=2", {"both": "2/64"}, 3, None],
        "{{gpus}}": True,
        "other": "{{ .Names }} {{} {{unknown}}",
    }
    assert config["gpus"] == "{{gpus}}"


def test_a_filled_in_text_is_not_filled_again() -> None:
    assert fill("{{a}} {{b}}", {"a": "{{b}}", "b": "x"}) == "{{b}} x"
    assert fill("{{a}}", {"a": "{{b}}", "b": "x"}) == "{{b}}"


def test_a_placeholder_that_no_variable_fills_is_named_with_its_place() -> None:
    config = {"resource_args": {"x": {"env": ["{{a}}", {"b": "-{{ c }}-"}]}}}
    variables = read_variables(declared(a={"type": "string"}, b={"type": "string"}))
    with pytest.raises(Invalid) as refused:
        check_placeholders(config, variables)
    assert refused.value.message == (
        "config.resource_args.x.env[1].b holds {{c}}, which no template variable fills "
        "(there are: a, b): declare 'c' in template_variables"
    )
    with pytest.raises(Invalid, match=r"\(there are: none\)"):
        check_placeholders(config, {})
    check_placeholders({"x": "{{a}}"}, variables)


def test_a_config_is_parted_into_what_is_fixed_and_what_is_filled() -> None:
    config = {"a": 1, "b": {"c": "{{v}}", "d": "x"}, "e": [1, "{{w}}"], "f": {"g": 2}}
    assert fixed(config) == {"a": 1, "b": {"d": "x"}, "f": {"g": 2}}
    assert templated(config, ["v", "w"]) == {"b": {"c": "{{v}}"}, "e": [1, "{{w}}"]}
    assert templated(config, ["w"]) == {"e": [1, "{{w}}"]}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "8", 8),
        ("integer", "-1", -1),
        ("number", "0.5", 0.5),
        ("number", "2", 2),
        ("string", "8", "8"),
        ("string", "a=b", "a=b"),
    ],
)
def test_a_word_of_a_command_line_is_read_by_the_variable_s_type(
    kind: str, text: str, value: Any
) -> None:
    variable = read_variables(declared(v={"type": kind}))["v"]
    read = read_text(text, variable)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer"}, "two"),
        ({"type": "integer"}, "2.5"),
        ({"type": "integer", "maximum": 8}, "9"),
        ({"type": "number"}, "nan"),
        ({"type": "number"}, ""),
        ({"type": "string", "enum": ["a"]}, "b"),
    ],
)
def test_a_word_that_is_none_of_that_type_is_refused(schema: dict[str, Any], text: str) -> None:
    variable = read_variables(declared(v=schema))["v"]
    with pytest.raises(Invalid, match="template variable 'v' must be"):
        read_text(text, variable)
