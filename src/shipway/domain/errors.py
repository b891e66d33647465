"""Errors that people and programs see, each with a code of the one closed list."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Why something was refused or went wrong; the wire and the SDK use these words."""

    INVALID = "invalid"  # a field has a value that cannot be accepted
    NOT_FOUND = "not_found"  # no such thing, or not visible to this actor
    EXISTS = "exists"  # a thing of that name or id is there already
    CONFLICT = "conflict"  # the thing's present state does not allow it
    LEASE_LOST = "lease_lost"  # the token is not the item's present one
    OFFSET = "offset"  # a chunk does not begin where the stream ends
    KEY_REUSED = "key_reused"  # idempotency key known with another body
    UNAUTHENTICATED = "unauthenticated"  # no key, or one that is not valid
    FORBIDDEN = "forbidden"  # the actor's role does not allow it
    NO_ROUTE = "no_route"  # the address is none of this server's
    TOO_LARGE = "too_large"  # a body, header or file is over its limit
    TOO_SLOW = "too_slow"  # a request did not arrive in time
    RATE_LIMITED = "rate_limited"  # too many wrong keys from one address
    OVERLOADED = "overloaded"  # more work waits than the server takes on
    UNKNOWN_OUTCOME = "unknown_outcome"  # a commit may or may not have happened; repeat it
    STORAGE_FULL = "storage_full"  # the disk is full; nothing was stored
    NOT_AVAILABLE = "not_available"  # documented, but not in this release
    UNREACHABLE = "unreachable"  # no answer from the server's address
    TIMEOUT = "timeout"  # a wait ran out of its own time
    FAILED = "failed"  # the launch ended before its program came to be
    STOPPED = "stopped"  # the launch was stopped before its program came to be
    DELETED = "deleted"  # the item was deleted
    INTERNAL = "internal"  # a fault of shipway itself; see the server's log


class ShipwayError(Exception):
    """Any error with a code, one clear sentence, and details for programs."""

    code: Code = Code.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details: dict[str, Any] = dict(details or {})


class Invalid(ShipwayError):
    """A field has a value that cannot be accepted; details name `field` and `value`."""

    code = Code.INVALID

    def __init__(self, message: str, *, field: str = "", value: object = None) -> None:
        details: dict[str, Any] = {}
        if field:
            details = {"field": field, "value": _printable(value)}
        super().__init__(message, details=details)


class NotFound(ShipwayError):
    """There is no such thing, or this actor may not see it."""

    code = Code.NOT_FOUND


class Exists(ShipwayError):
    """A thing of that name or id is there already."""

    code = Code.EXISTS


class Conflict(ShipwayError):
    """The thing's present state does not allow it."""

    code = Code.CONFLICT


class LeaseLost(ShipwayError):
    """The token is not the item's present one: stop quietly."""

    code = Code.LEASE_LOST


class WrongOffset(ShipwayError):
    """A chunk does not begin where the stream ends; details give `size`."""

    code = Code.OFFSET

    def __init__(self, *, offset: int, size: int) -> None:
        super().__init__(
            f"the chunk begins at {offset}, the stream has {size} bytes: send from {size}",
            details={"offset": offset, "size": size},
        )


class KeyReused(ShipwayError):
    """The idempotency key is known with another body."""

    code = Code.KEY_REUSED


class Unauthenticated(ShipwayError):
    """No key was sent, or one that is not valid."""

    code = Code.UNAUTHENTICATED


class Forbidden(ShipwayError):
    """The actor's role does not allow it."""

    code = Code.FORBIDDEN


class TooLarge(ShipwayError):
    """A body, header or file is over its limit."""

    code = Code.TOO_LARGE


class NotAvailable(ShipwayError):
    """Documented, but not in this release."""

    code = Code.NOT_AVAILABLE


class StorageFull(ShipwayError):
    """The disk is full; nothing was stored."""

    code = Code.STORAGE_FULL


class UnknownOutcome(ShipwayError):
    """A commit may or may not have happened; the same request may be sent again."""

    code = Code.UNKNOWN_OUTCOME


class Overloaded(ShipwayError):
    """More work waits than the server takes on; try again later."""

    code = Code.OVERLOADED


class LaunchError(ShipwayError):
    """A launch was refused, or ended before its program came to be.

    `stage`, `failure_class`, `exit_code` and `log_tail` are set for a launch that failed.
    """

    code = Code.FAILED

    @property
    def stage(self) -> str | None:
        """Where it failed: `agent`, `source`, `build` or `run`."""
        return self.details.get("stage")

    @property
    def failure_class(self) -> str | None:
        """What kind of failure it was, one of `FailureClass`."""
        return self.details.get("failure_class")

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, if it had one."""
        return self.details.get("exit_code")

    @property
    def log_tail(self) -> list[str]:
        """The last lines of the log, oldest first."""
        return list(self.details.get("log_tail") or ())


def _printable(value: object) -> object:
    """Keep JSON scalars as they are, and cut the text of anything else."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
