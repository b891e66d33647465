"""Builds the schema of its SDL and the resolvers of each noun."""

from __future__ import annotations

from importlib.resources import files

from graphql import GraphQLObjectType, GraphQLSchema, build_schema, is_abstract_type

from shipway.server.graphql import (
    artifact_changes,
    artifact_collections,
    artifacts,
    consoles,
    histories,
    launch_agents,
    launch_leases,
    people,
    projects,
    pushes,
    queue_items,
    queues,
    run_files,
    runs,
    sweep_agents,
    sweeps,
)
from shipway.server.graphql.resolving import Resolvers

NOUNS: tuple[Resolvers, ...] = (
    people.RESOLVERS,
    projects.RESOLVERS,
    runs.RESOLVERS,
    consoles.RESOLVERS,
    histories.RESOLVERS,
    run_files.RESOLVERS,
    artifacts.RESOLVERS,
    artifact_collections.RESOLVERS,
    artifact_changes.RESOLVERS,
    queues.RESOLVERS,
    queue_items.RESOLVERS,
    pushes.RESOLVERS,
    launch_agents.RESOLVERS,
    launch_leases.RESOLVERS,
    sweeps.RESOLVERS,
    sweep_agents.RESOLVERS,
)
TYPE_OF = "__resolve_type"  # tells which type a thing of an abstract one is


def make_schema() -> GraphQLSchema:
    """Return the schema; every resolver must be of a field that is there."""
    text = files("shipway.server.graphql").joinpath("schema.graphql").read_text(encoding="utf-8")
    schema = build_schema(text)
    for resolvers in NOUNS:
        for kind, fields in resolvers.items():
            found = schema.type_map[kind]
            if is_abstract_type(found):
                found.resolve_type = fields[TYPE_OF]
                continue
            assert isinstance(found, GraphQLObjectType)
            for name, resolve in fields.items():
                assert found.fields[name].resolve is None, f"{kind}.{name} is resolved twice"
                found.fields[name].resolve = resolve
    return schema
