"""Makes and reads the ids of nodes, which the client also makes by itself."""

from __future__ import annotations

import base64
import binascii
import hashlib

from shipway.domain.errors import Invalid
from shipway.domain.names import fold

SEQ_DIGITS = 18  # what a column holds


def run_node(name: str, project: str, entity: str) -> str:
    """Return a run's id, exactly in the form in which clients make it."""
    return _encode(f"Run:v1:{name}:{project}:{entity}")


def read_run_node(node: str) -> tuple[str, str, str]:
    """Return name, project and entity of a run's id."""
    parts = _decode(node).split(":")
    if len(parts) != 5 or parts[:2] != ["Run", "v1"]:
        raise Invalid(f"{node[:80]!r} is no id of a run", field="id", value=node)
    return parts[2], parts[3], parts[4]


def sweep_node(name: str, project: str, entity: str) -> str:
    """Return a sweep's id."""
    return _encode(f"Sweep:v1:{name}:{project}:{entity}")


def read_sweep_node(node: str) -> tuple[str, str, str]:
    """Return name, project and entity of a sweep's id."""
    parts = _decode(node).split(":")
    if len(parts) != 5 or parts[:2] != ["Sweep", "v1"]:
        raise Invalid(f"{node[:80]!r} is no id of a sweep", field="id", value=node)
    return parts[2], parts[3], parts[4]


def node(kind: str, *names: str) -> str:
    """Return the id of another thing."""
    return _encode(":".join((kind, *names)))


def read_node(kind: str, node: str) -> str:
    """Return what an id of this kind holds behind the kind."""
    found, _, text = _decode(node).partition(":")
    if found != kind:
        raise Invalid(f"{node[:80]!r} is no id of this server", field="id", value=node)
    return text


def number(kind: str, seq: int) -> str:
    """Return the id of a numbered thing: base64 without `/`, as artifacts' ids must be."""
    return _encode(f"{kind}:{seq}")


def read_number(kind: str, node: str) -> int:
    """Return the number of a thing's id."""
    found, _, seq = _decode(node).partition(":")
    if found != kind or not seq.isascii() or not seq.isdigit() or len(seq) > SEQ_DIGITS:
        raise Invalid(f"{node[:80]!r} is no id of this server", field="id", value=node)
    return int(seq)


def project_number(entity: str, project: str) -> int:
    """Return a number that stands for a project: clients want one."""
    digest = hashlib.sha256(f"{fold(entity)}/{fold(project)}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(node: str) -> str:
    try:
        return base64.b64decode(node, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Invalid(f"{node[:80]!r} is no id of this server", field="id", value=node) from None
