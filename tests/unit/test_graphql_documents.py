"""GraphQL documents within their limits, and the schema that clients probe."""

from __future__ import annotations

import pytest
from graphql import graphql_sync

from shipway.server.graphql import documents
from shipway.server.graphql.documents import Documents, Refused
from shipway.server.graphql.schema import make_schema

SCHEMA = make_schema()
# The client dies where one of these is null.
PROBED = (
    "PushToRunQueueInput", "CreateRunQueueInput", "FailRunQueueItemInput", "CreateLaunchAgentInput",
    "Run", "Artifact", "CreateArtifactInput", "UseArtifactInput", "Project", "ServerInfo", "Query",
    "Mutation",
)  # fmt: skip


def spread(levels: int) -> str:
    """Make a document whose fragments double at each level."""
    text = "query { viewer { ...f0 } }"
    for level in range(levels):
        text += f" fragment f{level} on User {{ ...f{level + 1} ...f{level + 1} }}"
    return text + f" fragment f{levels} on User {{ id name }}"


@pytest.mark.parametrize("name", PROBED)
def test_every_type_that_the_client_cannot_miss_is_there(name: str) -> None:
    query = "query Probe($name: String!) { __type(name: $name) { name } }"
    found = graphql_sync(SCHEMA, query, variable_values={"name": name})
    assert found.data == {"__type": {"name": name}}
    assert graphql_sync(SCHEMA, query, variable_values={"name": "Nothing"}).data == {"__type": None}


def test_a_document_is_read_once() -> None:
    kept = Documents(SCHEMA)
    assert kept.get("{ viewer { id } }") is kept.get("{ viewer { id } }")


def test_the_least_used_document_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "KEPT_LIMIT", 2)
    kept = Documents(SCHEMA)
    first = kept.get("{ viewer { id } }")
    for name in ("name", "email"):
        kept.get(f"{{ viewer {{ {name} }} }}")
    assert kept.get("{ viewer { id } }") is not first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Syntax Error"),
        ("{ viewer { id }", "Syntax Error"),
        ("{ nothing }", "Cannot query field 'nothing'"),
        ("{" * 41 + "}" * 41, "deeper than 40"),
        ("{ viewer { id } } # " + "x" * documents.TEXT_LIMIT, "longer than"),
        ("{ " + "viewer { id } " * 1_001 + "}", "more than 4000 tokens"),
        ("{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(51)) + " }", "50 aliases"),
        (spread(12), "more than 500 fields"),
        ("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "itself"),
        (
            '{ project { run(name: "a") { project '
            + '{ run(name: "a") { project ' * 9
            + "{ id }" + " } }" * 9 + " } } }",
            "deeper than 20",
        ),
    ],
)  # fmt: skip
def test_what_is_no_document_or_too_much_of_one_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        Documents(SCHEMA).get(text)


def test_brackets_in_text_are_no_nesting() -> None:
    Documents(SCHEMA).get('{ project(name: "' + "{" * 100 + '") { id } } # ' + "{" * 100)
