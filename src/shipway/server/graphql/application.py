"""Answers POST /graphql in the form and with the statuses that the wandb client wants."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    ExecutionResult,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    execute,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shipway.domain.errors import Invalid, ShipwayError
from shipway.server.call import call_in
from shipway.server.errors import RETRY_AFTER_S, graphql_status
from shipway.server.gate import GRAPHQL_PATH
from shipway.server.graphql.documents import Documents, Refused
from shipway.server.graphql.schema import make_schema

log = logging.getLogger("shipway.server")


class GraphQL:
    """The schema with its documents."""

    def __init__(self) -> None:
        self._schema = make_schema()
        self._documents = Documents(self._schema)

    async def answer(self, request: Request) -> Response:
        """Execute one operation."""
        call = call_in(request.scope)
        try:
            query, variables, operation = _asked(call.body)
            document = self._documents.get(query)
        except Refused as refused:
            return _respond(None, refused.errors, 400)
        except Invalid as error:
            return _respond(None, [GraphQLError(error.message)], 400)
        result = execute(
            self._schema,
            document,
            context_value=call,
            variable_values=variables,
            operation_name=operation,
        )
        if inspect.isawaitable(result):
            result = await result
        assert isinstance(result, ExecutionResult)
        is_change = any(
            isinstance(one, OperationDefinitionNode) and one.operation is OperationType.MUTATION
            for one in document.definitions
        )
        return _rendered(result, is_change=is_change)


def graphql_routes() -> Sequence[Route]:
    """Return the one route."""
    return (Route(GRAPHQL_PATH, GraphQL().answer, methods=["POST"]),)


def _asked(body: bytes) -> tuple[str, dict[str, Any] | None, str | None]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", field="body") from None
    if not isinstance(value, dict) or not isinstance(value.get("query"), str):
        raise Invalid("the body must be a JSON object with a query", field="query")
    variables, operation = value.get("variables"), value.get("operationName")
    if variables is not None and not isinstance(variables, dict):
        raise Invalid("variables must be an object", field="variables")
    if operation is not None and not isinstance(operation, str):
        raise Invalid("operationName must be text", field="operationName")
    return value["query"], variables, operation or None


def _rendered(result: ExecutionResult, *, is_change: bool) -> Response:
    """Return the answer; the client shows the message of a refused question only at a 200."""
    if not result.errors:
        return _respond(result.data, [], 200)
    first = result.errors[0].original_error
    if isinstance(first, ShipwayError):
        status = graphql_status(first)
        is_final = 400 <= status < 500 and status != 429
        shown = 200 if is_final and not is_change else status
        return _respond(result.data, result.errors, shown, first)
    if first is None or isinstance(
        first, GraphQLError
    ):  # the values of variables, or null where there must be something
        return _respond(result.data, result.errors, 400 if result.data is None else 500)
    log.error("resolver failed", exc_info=first)
    fault = ShipwayError("a fault of the server itself; its log says more")
    return _respond(None, [GraphQLError(fault.message)], 500)


def _respond(
    data: Mapping[str, Any] | None,
    errors: Sequence[GraphQLError],
    status: int,
    cause: ShipwayError | None = None,
) -> Response:
    body: dict[str, Any] = {"data": data}
    if errors:
        body["errors"] = [_error(error) for error in errors]
    headers = {}
    if cause is not None and cause.code in RETRY_AFTER_S:
        headers["Retry-After"] = str(RETRY_AFTER_S[cause.code])
    text = json.dumps(body, separators=(",", ":"))
    return Response(text.encode(), status, headers=headers, media_type="application/json")


def _error(error: GraphQLError) -> dict[str, Any]:
    shown: dict[str, Any] = {"message": error.message}
    if error.path:
        shown["path"] = list(error.path)
    cause = error.original_error
    if isinstance(cause, ShipwayError):
        shown["extensions"] = {"code": cause.code.value}
    return shown
