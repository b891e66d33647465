"""Turns rows into domain objects; the other way round, turns values into what columns hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shipway.domain.actor import Key, Role, Session, User
from shipway.domain.agent import Agent, AgentState, RunAs
from shipway.domain.attempt import LogChunk
from shipway.domain.errors import Invalid
from shipway.domain.item import Failure, Item, ItemEvent, State
from shipway.domain.lease import Moved
from shipway.domain.queue import OnLost, Queue
from shipway.domain.run import Run, RunFacts, RunFile, RunState
from shipway.store.session import Row

_STATES = {state.value: state for state in State}  # a dict lookup costs a tenth of State(...)
_STATE, _FAILURE = Item._fields.index("state"), Item._fields.index("failure")
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def to_json(value: object) -> str:
    """Return JSON of ASCII alone, which every database takes; NaN and Infinity are allowed."""
    if value == {}:
        return "{}"
    try:
        return _ENCODE(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"a value cannot be stored as JSON: {error}") from None


def check_text(**columns: str | None) -> None:
    """Refuse text that PostgreSQL cannot hold: NUL, and halves of surrogate pairs."""
    every = "".join(filter(None, columns.values()))
    if every.isascii() and "\0" not in every:
        return
    for field, text in columns.items():
        if text is None:
            continue
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise Invalid(
                f"{field} holds a character that cannot be stored (NUL or half a surrogate pair)",
                field=field,
                value=text.encode("ascii", "backslashreplace").decode().replace("\0", "\\0"),
            )


def failure_json(failure: Failure | None) -> str | None:
    """Return what the failure column holds."""
    return None if failure is None else _ENCODE(failure.to_json())


def to_moved(row: Row) -> Moved:
    """Build what a move answers."""
    id, queue_id, attempt, state, lease_term = row
    return Moved(id, queue_id, attempt, _STATES[state], lease_term)


def to_item(row: Row) -> Item:
    """Build an item from the columns of fragment `item`."""
    failure = row[_FAILURE]
    if failure is not None:
        failure = Failure.from_json(json.loads(failure))
    state = _STATES[row[_STATE]]
    between, rest = row[_STATE + 1 : _FAILURE], row[_FAILURE + 1 :]
    return Item._make((*row[:_STATE], state, *between, failure, *rest))


def to_event(row: Row) -> ItemEvent:
    """Build an event from the columns of fragment `event`."""
    seq, item_id, queue_id, event, state, attempt, actor, at, data = row
    return ItemEvent(
        seq, item_id, queue_id, event, _STATES[state], attempt, actor, at, _object(data)
    )


def to_queue(row: Row) -> Queue:
    """Build a queue from the columns of fragment `queue`."""
    return Queue(
        id=row[0],
        entity=row[1],
        project=row[2],
        name=row[3],
        resource=row[4],
        config=_object(row[5]),
        template_variables=_object(row[6]),
        has_priorities=bool(row[7]),
        is_critical_for_admins=bool(row[8]),
        is_paused=bool(row[9]),
        on_lost=OnLost(row[10]),
        on_lost_retries=row[11],
        lost_after_s=row[12],
        max_attempts=row[13],
        created_at=row[14],
        created_by=row[15],
        external_links=_object(row[16]),
        is_personal=bool(row[17]),
    )


def to_run(row: Row) -> Run:
    """Build a run from the columns of fragment `run`."""
    return Run(
        seq=row[0],
        id=row[1],
        entity=row[2],
        project=row[3],
        name=row[4],
        item_id=row[5],
        created_at=row[6],
        config=_object(row[7]),
        summary=_object(row[8]),
        history_size=row[9],
        state=None if row[10] is None else RunState(row[10]),
        facts=RunFacts.from_json(_object(row[11])),
        created_by=row[12],
        exit_code=row[13],
        heard_at=row[14],
        deadline=row[15],
        stop_requested_at=row[16],
        deleted_at=row[17],
        is_hidden=bool(row[18]),
    )


def to_file(row: Row) -> RunFile:
    """Build a run's file."""
    return RunFile(path=row[0], digest=row[1], size=row[2], at=row[3], md5=row[4])


def to_chunk(row: Row) -> LogChunk:
    """Build a log's chunk."""
    return LogChunk(
        item_id=row[0],
        attempt=row[1],
        name=row[2],
        offset=row[3],
        length=row[4],
        digest=row[5],
        first_at=row[6],
        last_at=row[7],
    )


def to_agent(row: Row) -> Agent:
    """Build an agent from the columns of fragment `agent`."""
    return Agent(
        id=row[0],
        user=row[1],
        hostname=row[2],
        version=row[3],
        state=AgentState(row[4]),
        queue_ids=tuple(json.loads(row[5])),
        queues=tuple(json.loads(row[6])),
        resources=tuple(json.loads(row[7])),
        run_as=RunAs(row[8]),
        slots=row[9],
        used_slots=row[10],
        facts=_object(row[11]),
        created_at=row[12],
        seen_at=row[13],
    )


def to_user(row: Row) -> User:
    """Build a user."""
    return User(
        name=row[0], role=Role(row[1]), entity=row[2], is_disabled=bool(row[3]), created_at=row[4]
    )


def to_key(row: Row) -> Key:
    """Build a key."""
    return Key(
        id=row[0],
        user=row[1],
        role=Role(row[2]),
        secret_hash=row[3],
        label=row[4],
        created_at=row[5],
        revoked_at=row[6],
    )


def to_session(row: Row) -> Session:
    """Build a browser's session."""
    return Session(id_hash=row[0], key_id=row[1], csrf=row[2], created_at=row[3], seen_at=row[4])


def _object(text: str) -> Mapping[str, Any]:
    if text == "{}":
        return {}
    value: dict[str, Any] = json.loads(text)
    return value
