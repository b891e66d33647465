"""Turns an answer that is no success into the error of its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shipway.domain.errors import (
    Code,
    Conflict,
    Exists,
    Forbidden,
    Invalid,
    KeyReused,
    LeaseLost,
    NotAvailable,
    NotFound,
    Overloaded,
    ShipwayError,
    StorageFull,
    TooLarge,
    Unauthenticated,
    UnknownOutcome,
    WrongOffset,
)

TEXT_LIMIT = 300  # characters shown of an answer that is not one of shipway's

_CLASSES: Mapping[str, type[ShipwayError]] = {
    kind.code: kind
    for kind in (
        Conflict,
        Exists,
        Forbidden,
        KeyReused,
        LeaseLost,
        NotAvailable,
        NotFound,
        Overloaded,
        StorageFull,
        TooLarge,
        Unauthenticated,
        UnknownOutcome,
    )
}
_BY_STATUS: Mapping[int, Code] = {
    400: Code.INVALID,
    401: Code.UNAUTHENTICATED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.NO_ROUTE,
    408: Code.TOO_SLOW,
    409: Code.CONFLICT,
    410: Code.DELETED,
    413: Code.TOO_LARGE,
    422: Code.INVALID,
    429: Code.RATE_LIMITED,
    431: Code.TOO_LARGE,
    501: Code.NOT_AVAILABLE,
    503: Code.OVERLOADED,
    507: Code.STORAGE_FULL,
}


def failure_of(status: int, body: bytes, *, address: str) -> ShipwayError:
    """Return the error that an answer stands for; `address` is whom it came from."""
    try:
        error = json.loads(body)["error"]
        code, message = Code(error["code"]), str(error["message"])
        details = error.get("details") or {}
    except (ValueError, KeyError, TypeError):
        return _foreign(status, body, address)
    return error_of(code, message, details)


def error_of(code: Code, message: str, details: Mapping[str, Any]) -> ShipwayError:
    """Return an instance of the class that has this code."""
    if code is Code.OFFSET and isinstance(details.get("size"), int):
        return WrongOffset(offset=int(details.get("offset") or 0), size=details["size"])
    if code is Code.INVALID:
        invalid = Invalid(message)
        invalid.details.update(details)
        return invalid
    return _CLASSES.get(code, ShipwayError)(message, code=code, details=details)


def _foreign(status: int, body: bytes, address: str) -> ShipwayError:
    """Name an answer that did not come from shipway's own routes, such as a proxy's page."""
    text = " ".join(body[: TEXT_LIMIT * 4].decode("utf-8", "replace").split())[:TEXT_LIMIT]
    return ShipwayError(
        f"{address} answered with HTTP status {status}, which is no answer of a shipway server: "
        f"{text or 'an empty page'}",
        code=_BY_STATUS.get(status, Code.INTERNAL),
        details={"status": status},
    )
