"""Makes every refusal of the SDK a `LaunchError` of the same code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from shipway.domain.errors import Code, LaunchError, ShipwayError


@contextmanager
def as_launch_error() -> Iterator[None]:
    """Raise what goes wrong inside as `LaunchError`, code and details kept."""
    try:
        yield
    except LaunchError:
        raise
    except ShipwayError as error:
        raise LaunchError(error.message, code=error.code, details=error.details) from None


def not_started(item: Mapping[str, Any]) -> LaunchError:
    """Return the error of an item that ended before its program came to be."""
    name = f"launch {item['id']}"
    if item.get("deleted_at") is not None:
        return deleted(str(item["id"]))
    if item["state"] == "stopped":
        by = item.get("stop_requested_by")
        return LaunchError(
            f"{name} was stopped{f' by {by}' if by else ''} before its program started",
            code=Code.STOPPED,
            details={"id": item["id"], "stopped_by": by},
        )
    failure: Mapping[str, Any] = item.get("error") or {}
    tail = unsaid(failure)
    message = (
        f"{name} failed before its program started, at stage {failure.get('stage')}: "
        f"{failure.get('reason')}"
    )
    if failure.get("remedy"):
        message += f" ({failure['remedy']})"
    if tail:
        message += "\nthe log's last lines:\n" + "\n".join(f"  {line}" for line in tail)
    return LaunchError(message, code=Code.FAILED, details={"id": item["id"], **failure})


def unsaid(failure: Mapping[str, Any]) -> list[str]:
    """Return the log's last lines, unless the failure's reason holds them already."""
    tail = [str(line) for line in failure.get("log_tail") or ()]
    words = " ".join(str(failure.get("reason")).split())
    said = [" ".join(line.split()) in words for line in tail if line.strip()]
    return [] if said and said[-1] else tail


def deleted(item_id: str) -> LaunchError:
    """Return the error of every wait for a deleted item."""
    return LaunchError(f"launch {item_id} was deleted", code=Code.DELETED, details={"id": item_id})
