"""Adds items to queues, shows them, and stops, deletes, retries them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.client_agent import suits_clients
from shipway.domain.container_args import check_rights
from shipway.domain.errors import Conflict, Exists, Forbidden, Invalid, KeyReused, NotFound
from shipway.domain.ids import Digest, ItemId, Random, RunId, new_item_id, new_run_id
from shipway.domain.item import TERMINAL, Event, Item, ItemEvent, Note, State
from shipway.domain.launch_spec import Draft, LaunchSpec, complete
from shipway.domain.names import DEFAULT_QUEUE, fold
from shipway.domain.policy import Explanation, explain
from shipway.domain.queue import Priority, Queue, parse_priority
from shipway.domain.run import Run
from shipway.domain.source import SourceKind
from shipway.domain.tombstone import KEPT_MS
from shipway.service.access import READERS, WRITERS, check_sees, missing, own_entity, require
from shipway.service.jobs import Jobs
from shipway.service.ports import Clock, ItemFilter, Move, Tx
from shipway.service.queues import Queues, known_entity
from shipway.service.resources import Resources
from shipway.service.runs import item_of_run
from shipway.service.space import Space
from shipway.service.uploads import FRESH_MS, check_uploaded

KEY_LIMIT = 255  # characters of an idempotency key
GRACE_LIMIT_S = 3600.0
LIST_LIMIT = 1_000


class Items:
    """Use cases of queue items."""

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        queues: Queues,
        jobs: Jobs,
        resources: Resources,
        space: Space,
    ) -> None:
        self._space = space
        self._clock = clock
        self._random = random
        self._queues = queues
        self._jobs = jobs
        self._resources = resources

    def enqueue(
        self, tx: Tx, actor: Actor, asked: Sequence[tuple[Draft, str | None]]
    ) -> list[tuple[Item, bool]]:
        """Add items with their runs by drafts and idempotency keys; False where a key was known.

        One that is refused refuses them all.
        """
        require(actor, WRITERS, "add items")
        queues = _Named(self._queues, tx, actor)
        return [self._enqueue(tx, actor, draft, queues, key=key) for draft, key in asked]

    def _enqueue(
        self, tx: Tx, actor: Actor, draft: Draft, queues: _Named, *, key: str | None
    ) -> tuple[Item, bool]:
        job = self._jobs.get(tx, actor, draft.job) if draft.job is not None else None
        ran = item_of_run(tx, actor, draft.run) if draft.run is not None else None
        if ran is not None:
            _check_kept(ran, self._clock.now())
        original = LaunchSpec.from_json(json.loads(ran.spec)) if ran is not None else None
        below = job or original
        entity = own_entity(actor, draft.entity or (below.entity if below else None))
        if fold(entity) != fold(actor.entity):
            known_entity(tx, entity)
        body_hash = _body_hash(draft) if key is not None else None
        if key is not None:
            known = self._known(tx, entity, key, body_hash)
            if known is not None:
                return known, False
        queue = queues.get(draft, entity)
        spec = complete(
            draft,
            job=job,
            original=original,
            queue=queue,
            run_id=RunId(draft.run_id) if draft.run_id else new_run_id(self._random),
            entity=entity,
            project=None,
            author=draft.author or actor.user,
            known_resources=sorted(self._resources.known(tx, draft.resource)),
        )
        self._check(actor, spec, queue)
        if job is not None:
            self._resources.check_inputs(job, spec)
        lock = ran.lock_digest if ran is not None and not draft.refresh else None
        item = self._insert(tx, actor, spec, queue, key=key, body_hash=body_hash, lock=lock)
        if spec.run is None:  # last: an SDK uploads once nothing else is wrong
            since = 0 if draft.job is not None else self._clock.now() - FRESH_MS
            check_uploaded(tx, queue.entity, spec.source, since=since)
        return item, True

    def get(self, tx: Tx, actor: Actor, item_id: str) -> Item:
        """Return an item, tombstones too."""
        item = tx.items.get(ItemId(item_id))
        if item is None or not _may_see(actor, item):
            raise NotFound(missing(f"item {item_id!r}"))
        check_sees(actor, item.entity, f"item {item_id!r}")
        return item

    def find(self, tx: Tx, actor: Actor, query: ItemFilter) -> list[Item]:
        """Return items, newest first, of the entities that the actor sees."""
        require(actor, READERS, "list items")
        if actor.role is not Role.ADMIN:
            if query.entity is not None:
                check_sees(actor, query.entity, f"entity {query.entity!r}")
            query = replace(query, entity=actor.entity)
        return tx.items.find(replace(query, limit=min(query.limit, LIST_LIMIT)))

    def events(self, tx: Tx, actor: Actor, item_id: str, *, after_seq: int = 0) -> list[ItemEvent]:
        """Return what happened to an item, oldest first."""
        self.get(tx, actor, item_id)
        return tx.events.of_item(ItemId(item_id), after_seq=after_seq)

    def explain(self, tx: Tx, actor: Actor, item_id: str) -> Explanation:
        """Say why an item stands as it does."""
        item = self.get(tx, actor, item_id)
        queue = tx.queues.get(item.queue_id)
        if queue is None:  # deleted since, so the item has ended
            queue = Queue(
                id=item.queue_id, entity=item.entity, project=item.project_queue,
                name=item.queue, resource=item.resource,
            )  # fmt: skip
        ahead = tx.items.count_ahead(item) if item.state is State.PENDING else 0
        agents = tx.agents.find(queue_id=item.queue_id)
        now, short = self._clock.now(), self._space.short
        return explain(item, queue, agents, ahead=ahead, now=now, short=short)

    def stop(self, tx: Tx, actor: Actor, item_id: str, *, grace_s: float | None = None) -> Item:
        """Ask for an item's end; one that waits ends at once, an ended one stays as it is."""
        item = self._changeable(tx, actor, item_id, "stop items")
        if grace_s is not None and not 0 <= grace_s <= GRACE_LIMIT_S:
            raise Invalid(
                f"grace_s must be from 0 to {GRACE_LIMIT_S:.0f} seconds, not {grace_s!r}",
                field="grace_s",
                value=grace_s,
            )
        grace = _grace_of(item) if grace_s is None else grace_s
        now = self._clock.now()
        asked = tx.items.request_stop(item.id, by=actor.label, grace_s=grace, now=now)
        if asked is None:
            return item
        self._note(tx, asked, Note.STOP_REQUEST.value, actor, {"grace_s": grace})
        if asked.state is not State.PENDING:
            return asked
        tx.leases.move(
            Move(
                items={item.id: None},
                event=Event.STOP,
                before=State.PENDING,
                after=State.STOPPED,
                now=now,
            )
        )
        stopped = tx.items.get(item.id)
        assert stopped is not None
        self._note(tx, stopped, Event.STOP.value, actor, {})
        return stopped

    def delete(self, tx: Tx, actor: Actor, item_id: str) -> Item:
        """Stop an item and leave a tombstone; a second call changes nothing."""
        item = self._changeable(tx, actor, item_id, "delete items")
        if item.deleted_at is not None:
            return item
        if item.state not in TERMINAL:
            self.stop(tx, actor, item_id)
        gone = tx.items.amend(item.id, deleted_at=self._clock.now())
        assert gone is not None
        self._note(tx, gone, Note.DELETE.value, actor, {})
        return gone

    def set_priority(self, tx: Tx, actor: Actor, item_id: str, value: object) -> Item:
        """Change the priority of an item that still waits."""
        item = self._changeable(tx, actor, item_id, "change priorities")
        if item.state is not State.PENDING:
            raise Conflict(f"item {item.id} is {item.state}: only a pending one has an order")
        priority = parse_priority(value)
        queue = tx.queues.get(item.queue_id)
        assert queue is not None
        _check_critical(actor, queue, priority)
        changed = tx.items.amend(item.id, priority=priority, rank=_rank(queue, priority))
        assert changed is not None
        self._note(tx, changed, Note.PRIORITY.value, actor, {"priority": priority.name.lower()})
        return changed

    def retry(self, tx: Tx, actor: Actor, item_id: str, *, key: str | None = None) -> Item:
        """Add an ended item again, as it was, with a run of its own."""
        old = self._changeable(tx, actor, item_id, "retry items")
        if old.state not in TERMINAL:
            raise Conflict(f"item {old.id} is {old.state}: stop it first, or wait for its end")
        if key is not None and (known := self._known(tx, old.entity, key, f"retry:{old.id}")):
            return known
        _check_kept(old, self._clock.now())
        queue = tx.queues.get(old.queue_id)
        if queue is None:
            raise NotFound(f"queue {old.queue!r} of item {old.id} was deleted")
        before = LaunchSpec.from_json(json.loads(old.spec))
        _check_critical(actor, queue, Priority(before.priority))
        spec = replace(before, run_id=new_run_id(self._random))
        return self._insert(
            tx, actor, spec, queue, key=key, body_hash=f"retry:{old.id}",
            lock=old.lock_digest, retry_of=old.id,
        )  # fmt: skip

    def succeed(self, tx: Tx, actor: Actor, old: Item) -> Item:
        """Add a failed item again with the run that it had, which goes on as the new item's."""
        assert old.state is State.FAILED
        _check_kept(old, self._clock.now())
        run = tx.runs.get(old.entity, old.project, old.run_id)
        queue = tx.queues.get(old.queue_id)
        if queue is None:
            raise NotFound(f"queue {old.queue!r} of item {old.id} was deleted")
        assert run is not None
        spec = LaunchSpec.from_json(json.loads(old.spec))
        return self._insert(
            tx, actor, spec, queue, key=None, body_hash=None, lock=old.lock_digest,
            retry_of=old.id, run=run,
        )  # fmt: skip

    def _known(self, tx: Tx, entity: str, key: str, body_hash: str | None) -> Item | None:
        if not key or len(key) > KEY_LIMIT or not key.isprintable():
            raise Invalid(
                f"an idempotency key has 1 to {KEY_LIMIT} printable characters",
                field="idempotency_key",
                value=key,
            )
        known = tx.items.by_key(entity, key)
        if known is not None and known.body_hash != body_hash:
            raise KeyReused(
                f"idempotency key {key!r} was used for item {known.id} with another body",
                details={"item": known.id},
            )
        return known

    def _check(self, actor: Actor, spec: LaunchSpec, queue: Queue) -> None:
        _check_critical(actor, queue, Priority(spec.priority))
        for resource, values in spec.resource_args.items():
            self._resources.check_args(resource, values, path=f"resource_args.{resource}")

    def _insert(
        self, tx: Tx, actor: Actor, spec: LaunchSpec, queue: Queue, *,
        key: str | None, body_hash: str | None, lock: Digest | None = None,
        retry_of: ItemId | None = None, run: Run | None = None,
    ) -> Item:  # fmt: skip
        check_rights(spec, queue)  # the one way in: a spec of before is held to the queue of now
        self._space.check()
        now = self._clock.now()
        priority = Priority(spec.priority)
        item = Item(
            seq=0,
            id=new_item_id(now, self._random),
            queue_id=queue.id,
            queue=queue.name,
            project_queue=queue.project,
            entity=spec.entity,
            project=spec.project,
            run_id=RunId(spec.run_id),
            name=spec.name,
            author=spec.author,
            submitted_by=actor.user,
            sweep_id=spec.sweep_id,
            priority=priority,
            rank=_rank(queue, priority),
            resource=spec.resource,
            spec=spec.dumps(),
            suits_clients=suits_clients(spec),
            state=State.PENDING,
            created_at=now,
            lock_digest=lock,
            retry_of=retry_of,
            idempotency_key=key,
            body_hash=body_hash if key is not None else None,
        )
        if run is None:
            self._insert_run(tx, item, spec)
        else:
            tx.tracked.hand_over(run, item.id)
        stored = tx.items.insert(item)
        self._note(tx, stored, Note.ENQUEUE.value, actor, {})
        return stored

    def _insert_run(self, tx: Tx, item: Item, spec: LaunchSpec) -> None:
        run = Run(
            seq=0,
            id=item.run_id,
            entity=item.entity,
            project=item.project,
            name=item.name,
            item_id=item.id,
            created_at=item.created_at,
            config=spec.run_config,
        )
        try:
            tx.runs.insert(run)
        except Exists:
            if spec.sweep_id is not None and _adopted(tx, run, spec.sweep_id):
                return
            raise Exists(
                f"run id {item.run_id!r} is used already in {item.entity}/{item.project}: "
                "choose another, or none",
                details={"field": "run_id", "value": item.run_id},
            ) from None

    def _changeable(self, tx: Tx, actor: Actor, item_id: str, what: str) -> Item:
        item = self.get(tx, actor, item_id)
        require(actor, WRITERS, what)
        return item

    def _note(self, tx: Tx, item: Item, name: str, actor: Actor, data: Mapping[str, Any]) -> None:
        tx.events.append(
            ItemEvent(
                seq=0,
                item_id=item.id,
                queue_id=item.queue_id,
                event=name,
                state=item.state,
                attempt=item.attempt,
                actor=actor.label,
                at=self._clock.now(),
                data=data,
            )
        )


class _Named:
    """The queues that the drafts of one call name, each looked up once."""

    def __init__(self, queues: Queues, tx: Tx, actor: Actor) -> None:
        self._queues = queues
        self._tx = tx
        self._actor = actor
        self._found: dict[tuple[str, str, str | None], Queue] = {}

    def get(self, draft: Draft, entity: str) -> Queue:
        """Return the queue that a draft names, or the default one."""
        name, owner = draft.queue or DEFAULT_QUEUE, draft.queue_entity or entity
        asked = (name, owner, draft.project_queue)
        queue = self._found.get(asked)
        if queue is None:
            queue = self._queues.named(
                self._tx, self._actor, name, entity=owner, project=draft.project_queue
            )
            self._found[asked] = queue
        return queue


def _adopted(tx: Tx, run: Run, sweep_id: str) -> bool:
    """Tell whether a launch took over the run that its sweep gave to be launched."""
    known = tx.runs.get(run.entity, run.project, run.id)
    if known is None or known.facts.sweep != sweep_id:
        return False
    config = {**known.config, **run.config}
    return tx.sweep_members.adopt(replace(known, item_id=run.item_id, config=config, name=run.name))


def _may_see(actor: Actor, item: Item) -> bool:
    return actor.role is not Role.JOB or actor.item_id == item.id


def _check_kept(item: Item, now: int) -> None:
    """Raise `Conflict` for what was deleted so long ago that its code may be gone."""
    if item.deleted_at is not None and now - item.deleted_at >= KEPT_MS:
        raise Conflict(
            f"item {item.id} was deleted more than {KEPT_MS // 86_400_000} days ago, and its code "
            "may be gone: launch it anew"
        )


def _check_critical(actor: Actor, queue: Queue, priority: Priority) -> None:
    is_kept = queue.is_critical_for_admins and priority is Priority.CRITICAL
    if is_kept and actor.role is not Role.ADMIN:
        raise Forbidden(f"queue {queue.name!r} keeps priority 'critical' to admins; 'high' is free")


def _rank(queue: Queue, priority: Priority) -> int:
    return int(priority) if queue.has_priorities else int(Priority.MEDIUM)


def _grace_of(item: Item) -> float:
    args = json.loads(item.spec).get("resource_args", {}).get(item.resource, {})
    return float(args.get("grace_s", 10))


def _body_hash(draft: Draft) -> str:
    """Return what was asked: an image by its name, whose digest is asked for anew each time."""
    if draft.source is not None and draft.source["kind"] == SourceKind.IMAGE:
        draft = replace(draft, source=None, docker_image=draft.source["image"])
    return hashlib.sha256(draft.dumps().encode()).hexdigest()
