"""Makes rows for tests, with everything but what a test is about filled in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from shipway.domain.actor import Key, Role, User
from shipway.domain.agent import Agent, AgentState, RunAs
from shipway.domain.attempt import LogChunk
from shipway.domain.errors import Exists, ShipwayError
from shipway.domain.ids import AgentId, Digest, ItemId, KeyId, QueueId, RunId, Token, UserName
from shipway.domain.item import Event, Item, ItemEvent, State, after
from shipway.domain.lease import LeaseQuery, Move
from shipway.domain.queue import Queue
from shipway.domain.run import Run
from shipway.service.ports import Store, Tx

T = TypeVar("T")

ENTITY, PROJECT, RESOURCE = "ada", "demo", "local-process"
USER, AGENT = UserName("ada"), AgentId("agent-1")
ANSWER_S = 30.0  # that a commit may take on a busy machine


def write(store: Store, work: Callable[[Tx], T]) -> T:
    """Write and wait for the commit."""
    return store.write(work).result(timeout=ANSWER_S)


def a_queue(name: str = "default", **changes: Any) -> Queue:
    """Make a queue."""
    queue = Queue(id=QueueId(0), entity=ENTITY, project=PROJECT, name=name, resource=RESOURCE)
    return replace(queue, **changes)


def an_item(queue: Queue, number: int = 1, **changes: Any) -> Item:
    """Make a new item; equal numbers make equal ids."""
    item = Item(
        seq=0,
        id=ItemId(f"item{number:022}"),
        queue_id=queue.id,
        queue=queue.name,
        project_queue=queue.project,
        entity=queue.entity,
        project=PROJECT,
        run_id=RunId(f"run{number:05}"),
        name=None,
        author="Ada",
        submitted_by=USER,
        sweep_id=None,
        priority=2,
        rank=2,
        resource=RESOURCE,
        spec="{}",
        state=State.PENDING,
        created_at=1_000 + number,
    )
    return item._replace(**changes)


def add(tx: Tx, item: Item) -> Item:
    """Store a new item after its run, as a launch does."""
    run = a_run(id=item.run_id, entity=item.entity, project=item.project, item_id=item.id)
    with suppress(Exists):  # the item says so itself
        tx.runs.insert(run)
    return tx.items.insert(item)


def an_event(item: Item, event: str = "enqueue", **changes: Any) -> ItemEvent:
    """Make an event of an item as it stands."""
    made = ItemEvent(
        seq=0,
        item_id=item.id,
        queue_id=item.queue_id,
        event=event,
        state=item.state,
        attempt=item.attempt,
        actor="ada",
        at=2_000,
        data={},
    )
    return made._replace(**changes)


def a_lease_query(queue: Queue, *, limit: int = 1, first: int = 1, **changes: Any) -> LeaseQuery:
    """Ask for items of a queue, with tokens `t<first>`, `t<first + 1>`, …"""
    query = LeaseQuery(
        agent=AGENT,
        queue_ids=(queue.id,),
        resources=(RESOURCE,),
        submitted_by=None,
        limit=limit,
        tokens=tuple(Token(f"t{number}") for number in range(first, first + limit)),
        deadline=30_000,
        term=30_000,
        now=3_000,
    )
    return replace(query, **changes)


def a_move(item: Item, event: Event, **changes: Any) -> Move:
    """Make the move that an event means for an item as it stands."""
    to = after(item.state, event)
    assert to is not None
    move = Move(
        items={item.id: item.lease_token},
        event=event,
        before=item.state,
        after=to,
        now=4_000,
    )
    return replace(move, **changes)


def a_run(number: int = 1, **changes: Any) -> Run:
    """Make a run."""
    run = Run(
        seq=0,
        id=RunId(f"run{number:05}"),
        entity=ENTITY,
        project=PROJECT,
        name=None,
        item_id=ItemId(f"item{number:022}"),
        created_at=1_000 + number,
    )
    return replace(run, **changes)


def a_chunk(item: Item, offset: int, length: int, **changes: Any) -> LogChunk:
    """Make a chunk of an item's program log."""
    chunk = LogChunk(
        item_id=item.id,
        attempt=item.attempt,
        name="program",
        offset=offset,
        length=length,
        digest=a_digest(offset),
        first_at=5_000,
        last_at=6_000,
    )
    return replace(chunk, **changes)


def a_digest(number: int) -> Digest:
    """Make a digest."""
    return Digest(f"{number:064x}")


def an_agent(id: str = AGENT, **changes: Any) -> Agent:
    """Make an agent."""
    agent = Agent(
        id=AgentId(id),
        user=USER,
        hostname="machine",
        version="0.1.0",
        state=AgentState.ACTIVE,
        queue_ids=(QueueId(1),),
        queues=("default",),
        resources=(RESOURCE,),
        run_as=RunAs.SELF,
        slots=4,
        used_slots=0,
        facts={"platform": "linux"},
        created_at=1_000,
        seen_at=1_000,
    )
    return replace(agent, **changes)


def a_user(name: str = USER, **changes: Any) -> User:
    """Make a user."""
    user = User(
        name=UserName(name), role=Role.MEMBER, entity=name, is_disabled=False, created_at=1_000
    )
    return replace(user, **changes)


def a_key(id: str = "k1", **changes: Any) -> Key:
    """Make a key."""
    key = Key(
        id=KeyId(id), user=USER, role=Role.MEMBER, secret_hash="0" * 64, label="", created_at=1_000
    )
    return replace(key, **changes)


def filled(store: Store, count: int) -> tuple[Queue, list[Item]]:
    """Make a queue with so many items, each a commit's work of its own."""
    queue = write(store, lambda tx: tx.queues.insert(a_queue()))
    futures = [
        store.write(lambda tx, n=number: add(tx, an_item(queue, n)))  # type: ignore[misc] # bound now
        for number in range(1, count + 1)
    ]
    return queue, [future.result(timeout=ANSWER_S) for future in futures]


def lease(
    store: Store, queue: Queue, *, limit: int = 1, first: int = 1, **changes: object
) -> list[Item]:
    """Lease items of a queue, with tokens `t<first>` and on."""
    query = a_lease_query(queue, limit=limit, first=first, **changes)
    return write(store, lambda tx: tx.leases.lease(query))


def move(store: Store, item: Item, event: Event, **changes: object) -> Item:
    """Make a move that must succeed."""
    moved = write(store, lambda tx: tx.leases.move(a_move(item, event, **changes)))[item.id]
    with store.read() as tx:
        after = tx.items.get(item.id)
    assert after is not None
    said = (after.queue_id, after.attempt, after.state, after.lease_term)
    assert (moved.queue_id, moved.attempt, moved.state, moved.lease_term) == said
    return after


def caught(store: Store, work: object) -> BaseException | None:
    """Return what a failed work's future raises."""
    return store.write(work).exception(timeout=ANSWER_S)  # type: ignore[arg-type] # any work


def error(store: Store, work: object) -> ShipwayError:
    """Return the error with a code that work must end in."""
    raised = caught(store, work)
    assert isinstance(raised, ShipwayError)
    return raised
