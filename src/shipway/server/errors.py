"""Turns errors into answers: the one table from code to HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shipway.domain.errors import Code, ShipwayError

STATUS: Mapping[Code, int] = {
    Code.INVALID: 400,
    Code.NOT_FOUND: 404,
    Code.EXISTS: 409,
    Code.CONFLICT: 409,
    Code.LEASE_LOST: 409,
    Code.OFFSET: 409,
    Code.KEY_REUSED: 409,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NO_ROUTE: 404,
    Code.TOO_LARGE: 413,
    Code.TOO_SLOW: 408,
    Code.RATE_LIMITED: 429,
    Code.OVERLOADED: 503,
    Code.UNKNOWN_OUTCOME: 503,
    Code.STORAGE_FULL: 507,
    Code.NOT_AVAILABLE: 501,
    Code.UNREACHABLE: 502,
    Code.TIMEOUT: 504,
    Code.FAILED: 409,
    Code.STOPPED: 409,
    Code.DELETED: 410,
    Code.INTERNAL: 500,
}

RETRY_AFTER_S: Mapping[Code, int] = {
    Code.RATE_LIMITED: 60,
    Code.OVERLOADED: 1,
    Code.UNKNOWN_OUTCOME: 1,
    Code.STORAGE_FULL: 5,
}
ENDS_CONNECTION = frozenset({Code.TOO_SLOW})  # the rest of the request cannot be told apart


def error_json(error: ShipwayError) -> dict[str, Any]:
    """Return an error as it goes over the wire."""
    return {"code": error.code.value, "message": error.message, "details": error.details}


def error_answer(
    error: ShipwayError, *, is_graphql: bool = False
) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Return status, body and headers of the answer that an error gets."""
    shown: dict[str, Any] = {"error": error_json(error)}
    if is_graphql:
        shown["errors"] = [{"message": error.message}]
    body = json.dumps(shown, default=str).encode()
    headers = [(b"content-type", b"application/json")]
    if error.code in RETRY_AFTER_S:
        headers.append((b"retry-after", str(RETRY_AFTER_S[error.code]).encode()))
    if error.code in ENDS_CONNECTION:
        headers.append((b"connection", b"close"))
    if error.code is Code.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b'Bearer realm="shipway"'))
    return graphql_status(error) if is_graphql else STATUS[error.code], body, headers


def graphql_status(error: ShipwayError) -> int:
    """Return the status for the wandb client, which repeats some for hours: those are a 400."""
    status = STATUS[error.code]
    return 400 if status in {413, 501} else status
