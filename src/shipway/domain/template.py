"""Template variables: what a queue lets each launch fill into its config."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shipway.domain.errors import Invalid

FIELD = "template_variables"
VARIABLES_LIMIT = 100  # of one queue
NAME_LIMIT = 64  # characters
CHOICES_LIMIT = 200  # of one variable
SHOWN_LIMIT = 20  # choices in an error's sentence

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*\Z")
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_\-]*)\s*\}\}")
_KEYS = ("type", "enum", "minimum", "maximum", "default")


class VariableType(StrEnum):
    """What a variable's values are."""

    STRING = "string"  # text
    INTEGER = "integer"  # a whole number
    NUMBER = "number"  # any number


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable of a queue, with the values that it may take."""

    name: str
    type: VariableType
    choices: tuple[Any, ...] = ()  # empty: any
    minimum: float | None = None
    maximum: float | None = None
    default: Any = None  # None: a launch has to give a value

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if self.choices:
            more = "" if len(self.choices) <= SHOWN_LIMIT else ", …"
            return f"one of {', '.join(map(repr, self.choices[:SHOWN_LIMIT]))}{more}"
        bounds = ""
        if self.minimum is not None and self.maximum is not None:
            bounds = f" from {self.minimum} to {self.maximum}"
        elif self.minimum is not None:
            bounds = f" of at least {self.minimum}"
        elif self.maximum is not None:
            bounds = f" of at most {self.maximum}"
        return _WORDS[self.type] + bounds

    def takes(self, value: object) -> bool:
        """Tell whether a value is of the type, among the choices and within the bounds."""
        if not _is_of(value, self.type):
            return False
        if self.choices and value not in self.choices:
            return False
        if not isinstance(value, int | float):
            return True
        is_above = self.minimum is None or value >= self.minimum
        return is_above and (self.maximum is None or value <= self.maximum)


_WORDS: Mapping[VariableType, str] = {
    VariableType.STRING: "text",
    VariableType.INTEGER: "a whole number",
    VariableType.NUMBER: "a number",
}


def read_variables(value: Mapping[str, Any]) -> dict[str, Variable]:
    """Read `{name: {"schema": {...}}}`; raise `Invalid` naming what of it cannot be."""
    if len(value) > VARIABLES_LIMIT:
        raise Invalid(
            f"a queue has at most {VARIABLES_LIMIT} template variables, not {len(value)}",
            field=FIELD,
            value=len(value),
        )
    return {name: _read(name, one) for name, one in value.items()}


def check_placeholders(config: Mapping[str, Any], variables: Mapping[str, Variable]) -> None:
    """Raise `Invalid` for a placeholder in a queue's config that no variable fills."""
    for path, name in placeholders(config, "config"):
        if name not in variables:
            declared = ", ".join(variables) or "none"
            raise Invalid(
                f"{path} holds {{{{{name}}}}}, which no template variable fills (there are: "
                f"{declared}): declare {name!r} in {FIELD}",
                field=path,
                value=name,
            )


def choose_values(
    variables: Mapping[str, Variable], given: Mapping[str, Any], *, queue: str
) -> dict[str, Any]:
    """Return the value of each variable, given or by default; None counts as not given."""
    unknown = [name for name in given if name not in variables]
    if unknown:
        declared = ", ".join(variables) or "none"
        raise Invalid(
            f"queue {queue!r} has no template variable {unknown[0]!r} (there are: {declared})",
            field=f"{FIELD}.{unknown[0]}",
            value=given[unknown[0]],
        )
    return {name: _chosen(one, given.get(name), queue) for name, one in variables.items()}


def fill(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy with every placeholder filled; text that is just one takes the typed value."""
    if isinstance(config, str):
        whole = _PLACEHOLDER.fullmatch(config)
        if whole is not None and whole[1] in values:
            return values[whole[1]]
        return _PLACEHOLDER.sub(lambda found: _shown(found, values), config)
    if isinstance(config, Mapping):
        return {key: fill(one, values) for key, one in config.items()}
    if isinstance(config, list | tuple):
        return [fill(one, values) for one in config]
    return config


def templated(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the part of a config that these variables fill: whole lists, single keys of dicts."""
    wanted = set(names)
    part: dict[str, Any] = {}
    for key, one in config.items():
        if isinstance(one, Mapping):
            below = templated(one, names)
            if below:
                part[key] = below
        elif wanted.intersection(name for _, name in placeholders(one, key)):
            part[key] = one
    return part


def fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a config that no variable fills, to be checked before any value is."""
    part: dict[str, Any] = {}
    for key, one in config.items():
        if isinstance(one, Mapping):
            part[key] = fixed(one)
        elif not any(placeholders(one, key)):
            part[key] = one
    return part


def placeholders(config: Any, path: str) -> list[tuple[str, str]]:
    """Return where which variables stand."""
    if isinstance(config, str):
        return [(path, found[1]) for found in _PLACEHOLDER.finditer(config)]
    if isinstance(config, Mapping):
        return [
            place for key, one in config.items() for place in placeholders(one, f"{path}.{key}")
        ]
    if isinstance(config, list | tuple):
        return [
            place
            for index, one in enumerate(config)
            for place in placeholders(one, f"{path}[{index}]")
        ]
    return []


def read_text(text: str, variable: Variable) -> Any:
    """Read a value from a command line by a variable's type; `Invalid` where it is none."""
    value: Any = text
    if variable.type is not VariableType.STRING:
        with suppress(ValueError):  # then it stays text, which no number's variable takes
            value = int(text) if variable.type is VariableType.INTEGER else _number(text)
    if not variable.takes(value):
        raise _refused(variable, value)
    return value


def _read(name: str, value: object) -> Variable:
    path = f"{FIELD}.{name}"
    if len(name) > NAME_LIMIT or not _NAME.match(name):
        raise Invalid(
            f"{name[:80]!r} is no name of a template variable: use 1 to {NAME_LIMIT} letters, "
            "digits, '_' and '-', beginning with a letter or '_'",
            field=path,
            value=name,
        )
    schema = value.get("schema") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(schema, Mapping) or len(value) > 1:
        raise Invalid(
            f'{path} must be {{"schema": {{"type": …}}}} and nothing else, not {value!r}',
            field=path,
            value=value,
        )
    path = f"{path}.schema"
    for key in schema:
        if key not in _KEYS:
            known = ", ".join(_KEYS)
            raise Invalid(
                f"{path} has the unknown key {key!r} (known: {known})",
                field=f"{path}.{key}",
                value=schema[key],
            )
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in list(VariableType):
        raise Invalid(
            f"{path}.type must be one of {', '.join(VariableType)}, not {kind!r}",
            field=f"{path}.type",
            value=kind,
        )
    return _bounded(name, VariableType(kind), schema, path)


def _bounded(name: str, kind: VariableType, schema: Mapping[str, Any], path: str) -> Variable:
    choices = _choices(schema.get("enum"), kind, f"{path}.enum")
    for key in ("minimum", "maximum"):
        bound = schema.get(key)
        if bound is None:
            continue
        if kind is VariableType.STRING or not _is_of(bound, VariableType.NUMBER):
            what = "of a number's variable only" if kind is VariableType.STRING else "a number"
            raise Invalid(
                f"{path}.{key} must be {what}, not {bound!r}", field=f"{path}.{key}", value=bound
            )
    made = Variable(
        name=name,
        type=kind,
        choices=choices,
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        default=schema.get("default"),
    )
    if made.minimum is not None and made.maximum is not None and made.minimum > made.maximum:
        raise Invalid(
            f"{path}.minimum {made.minimum} is above its maximum {made.maximum}",
            field=f"{path}.minimum",
            value=made.minimum,
        )
    if made.default is not None and not made.takes(made.default):
        raise Invalid(
            f"{path}.default must be {made.allowed}, not {made.default!r}",
            field=f"{path}.default",
            value=made.default,
        )
    return made


def _choices(value: object, kind: VariableType, path: str) -> tuple[Any, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= CHOICES_LIMIT:
        raise Invalid(
            f"{path} must be a list of 1 to {CHOICES_LIMIT} values, not {value!r}",
            field=path,
            value=value,
        )
    for one in value:
        if not _is_of(one, kind):
            raise Invalid(
                f"{path} must hold values of the type {kind}, not {one!r}", field=path, value=one
            )
    return tuple(value)


def _chosen(variable: Variable, given: Any, queue: str) -> Any:
    if given is None and variable.default is None:
        raise Invalid(
            f"queue {queue!r} needs a value of its template variable {variable.name!r}: "
            f"{variable.allowed}",
            field=f"{FIELD}.{variable.name}",
        )
    value = variable.default if given is None else given
    if not variable.takes(value):
        raise _refused(variable, value)
    return value


def _refused(variable: Variable, value: Any) -> Invalid:
    return Invalid(
        f"template variable {variable.name!r} must be {variable.allowed}, not {value!r}",
        field=f"{FIELD}.{variable.name}",
        value=value,
    )


def _is_of(value: object, kind: VariableType) -> bool:
    if kind is VariableType.STRING:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind is VariableType.INTEGER:
        return isinstance(value, int)
    return isinstance(value, int) or math.isfinite(value)


def _shown(found: re.Match[str], values: Mapping[str, Any]) -> str:
    if found[1] not in values:
        return found[0]
    value = values[found[1]]
    return value if isinstance(value, str) else json.dumps(value)


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)
