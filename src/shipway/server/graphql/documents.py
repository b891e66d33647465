"""Parses and validates documents, within limits, once for each text."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from functools import cache

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    validate,
)

TEXT_LIMIT = 64 << 10  # characters of a document
TOKENS_LIMIT = 4_000
NESTING_LIMIT = 40  # brackets within brackets, before anything is parsed
DEPTH_LIMIT = 20  # fields within fields
FIELDS_LIMIT = 500  # fragments counted wherever they are spread
ALIASES_LIMIT = 50
KEPT_LIMIT = 500  # documents
ERRORS_LIMIT = 5  # shown of a document that is not valid

_BRACKET = re.compile(r'"""(?:\\"""|.)*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*|[{(\[]|[})\]]', re.DOTALL)


class Refused(Exception):
    """A document that is not executed."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


class Documents:
    """Documents by their text; a client's are few and never change."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept: OrderedDict[str, DocumentNode] = OrderedDict()

    def get(self, text: str) -> DocumentNode:
        """Return a document that may be executed, or raise `Refused`."""
        known = self._kept.get(text)
        if known is not None:
            self._kept.move_to_end(text)
            return known
        document = self._read(text)
        self._kept[text] = document
        while len(self._kept) > KEPT_LIMIT:
            self._kept.popitem(last=False)
        return document

    def _read(self, text: str) -> DocumentNode:
        if len(text) > TEXT_LIMIT:
            raise _refused(f"the document is longer than {TEXT_LIMIT} characters")
        if _nesting(text) > NESTING_LIMIT:
            raise _refused(f"the document is nested deeper than {NESTING_LIMIT} levels")
        try:
            document = parse(text, max_tokens=TOKENS_LIMIT, no_location=True)
        except GraphQLSyntaxError as error:
            raise Refused([error]) from None
        _check_size(document)  # first: to validate costs the square of it
        errors = validate(self._schema, document, max_errors=ERRORS_LIMIT)
        if errors:
            raise Refused(errors)
        return document


def _refused(message: str) -> Refused:
    return Refused([GraphQLError(message)])


def _nesting(text: str) -> int:
    depth = deepest = 0
    for found in _BRACKET.finditer(text):
        char = found.group()
        if char in {"{", "(", "["}:
            depth += 1
            deepest = max(deepest, depth)
        elif char in {"}", ")", "]"}:
            depth -= 1
    return deepest


def _check_size(document: DocumentNode) -> None:
    fragments = {
        one.name.value: one.selection_set
        for one in document.definitions
        if isinstance(one, FragmentDefinitionNode)
    }

    open_ones: list[str] = []

    @cache  # each fragment once: they may be spread in each other many times over
    def of_fragment(name: str) -> tuple[int, int, int]:
        if name in open_ones:
            raise _refused(f"the fragment {name} spreads itself")
        open_ones.append(name)
        found = measure(fragments.get(name), of_fragment)
        open_ones.pop()
        return found

    for operation in document.definitions:
        if not isinstance(operation, OperationDefinitionNode):
            continue
        depth, fields, aliases = measure(operation.selection_set, of_fragment)
        if depth > DEPTH_LIMIT:
            raise _refused(f"the document asks for fields deeper than {DEPTH_LIMIT} levels")
        if fields > FIELDS_LIMIT:
            raise _refused(f"the document asks for more than {FIELDS_LIMIT} fields")
        if aliases > ALIASES_LIMIT:
            raise _refused(f"the document has more than {ALIASES_LIMIT} aliases")


def measure(
    selections: SelectionSetNode | None, of_fragment: Callable[[str], tuple[int, int, int]]
) -> tuple[int, int, int]:
    """Return depth, fields and aliases of a selection, spread fragments counted in."""
    depth = fields = aliases = 0
    for one in selections.selections if selections is not None else ():
        if isinstance(one, FragmentSpreadNode):
            below, more, names = of_fragment(one.name.value)
        else:
            assert isinstance(one, FieldNode | InlineFragmentNode)
            below, more, names = measure(one.selection_set, of_fragment)
            if isinstance(one, FieldNode):
                below, more, names = below + 1, more + 1, names + (one.alias is not None)
        depth, fields, aliases = max(depth, below), fields + more, aliases + names
    return depth, fields, aliases
