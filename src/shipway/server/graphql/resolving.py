"""Types of what every resolver gets and is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from graphql import GraphQLResolveInfo

from shipway.server.call import Call

Info: TypeAlias = "GraphQLResolveInfo[Call]"
Resolvers: TypeAlias = Mapping[str, Mapping[str, Callable[..., Any]]]
