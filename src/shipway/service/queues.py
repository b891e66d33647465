"""Makes, changes and shows queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.container_args import check_restricted_variables
from shipway.domain.docker_options import own_spelling
from shipway.domain.errors import Conflict, Forbidden, Invalid, NotFound
from shipway.domain.ids import QueueId
from shipway.domain.item import LIVE, State
from shipway.domain.names import (
    DEFAULT_QUEUE,
    DEFAULT_QUEUE_PROJECT,
    QUEUE_NAME_LIMIT,
    check_name,
    fold,
)
from shipway.domain.queue import (
    ANY_RESOURCE,
    MIN_LOST_AFTER_S,
    Queue,
    check_links,
    parse_on_lost,
)
from shipway.domain.template import check_placeholders, fixed, read_variables
from shipway.service.access import (
    AGENTS,
    READERS,
    WRITERS,
    check_sees,
    missing,
    own_entity,
    require,
    sees,
)
from shipway.service.ports import Clock, Tx
from shipway.service.resources import Resources

SEERS = READERS | AGENTS  # of one queue; no program: its config may say what is not for it
ATTEMPTS_LIMIT = 1_000
ENTITIES_SHOWN = 20  # in an error's sentence
LOST_AFTER_LIMIT_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue with how many items it has in each state."""

    queue: Queue
    counts: Mapping[State, int]


class Queues:
    """Use cases of queues."""

    def __init__(self, *, clock: Clock, resources: Resources) -> None:
        self._clock = clock
        self._resources = resources

    def create(
        self,
        tx: Tx,
        actor: Actor,
        *,
        name: str,
        resource: str,
        entity: str | None = None,
        project: str | None = None,
        settings: Mapping[str, Any] | None = None,
        is_personal: bool = False,
    ) -> Queue:
        """Make a queue, perhaps its maker's alone; `settings` are the keys of `update`."""
        require(actor, WRITERS, "make queues")
        owner = known_entity(tx, own_entity(actor, entity))
        blank = Queue(
            id=QueueId(0),
            entity=owner,
            project=check_name(project or DEFAULT_QUEUE_PROJECT, field="project"),
            name=check_name(name, field="name", limit=QUEUE_NAME_LIMIT),
            resource=self._check_resource(tx, resource),
            created_at=self._clock.now(),
            created_by=actor.label,
            is_personal=is_personal,
        )
        return tx.queues.insert(self._with(blank, settings or {}))

    def check(
        self, tx: Tx, actor: Actor, *, entity: str, resource: str, settings: Mapping[str, Any]
    ) -> None:
        """Raise what `create` would raise of resource and settings, and store nothing."""
        require(actor, WRITERS, "make queues")
        owner = known_entity(tx, own_entity(actor, entity))
        blank = Queue(
            id=QueueId(0), entity=owner, project=DEFAULT_QUEUE_PROJECT, name=DEFAULT_QUEUE,
            resource=self._check_resource(tx, resource),
        )  # fmt: skip
        self._with(blank, settings)

    def put(
        self, tx: Tx, actor: Actor, *, name: str, resource: str, entity: str, project: str,
        settings: Mapping[str, Any],
    ) -> Queue:  # fmt: skip
        """Make a queue, or give the one of that name another resource and these settings."""
        owner = own_entity(actor, entity)
        known = tx.queues.by_name(owner, project, name)
        if known is None:
            return self.create(
                tx, actor, name=name, resource=resource, entity=owner, project=project,
                settings=settings,
            )  # fmt: skip
        changed = replace(known, resource=self._check_resource(tx, resource))
        return self.update(tx, actor, changed, settings)

    def ensure_default(self, tx: Tx, entity: str, *, by: str) -> Queue:
        """Return an entity's `default` queue, made if it is not there."""
        known = tx.queues.by_name(entity, DEFAULT_QUEUE_PROJECT, DEFAULT_QUEUE)
        return known or tx.queues.insert(
            Queue(
                id=QueueId(0),
                entity=entity,
                project=DEFAULT_QUEUE_PROJECT,
                name=DEFAULT_QUEUE,
                resource=ANY_RESOURCE,
                has_priorities=True,
                created_at=self._clock.now(),
                created_by=by,
            )
        )

    def get(
        self, tx: Tx, actor: Actor, name: str, *, entity: str | None = None,
        project: str | None = None,
    ) -> QueueView:  # fmt: skip
        """Return a queue with its counts."""
        require(actor, READERS, "see queues")
        queue = self.named(tx, actor, name, entity=entity, project=project)
        return QueueView(queue=queue, counts=tx.queues.counts(queue.id))

    def find(self, tx: Tx, actor: Actor, *, entity: str | None = None) -> list[QueueView]:
        """Return the queues that the actor sees."""
        require(actor, READERS, "see queues")
        if entity is None and actor.role is not Role.ADMIN:
            entity = actor.entity
        if entity is not None:
            check_sees(actor, entity, f"entity {entity!r}")
        return [
            QueueView(queue=queue, counts=tx.queues.counts(queue.id))
            for queue in tx.queues.find(entity=entity)
            if _may_use(actor, queue)
        ]

    def by_id(self, tx: Tx, actor: Actor, queue_id: int) -> Queue:
        """Return a queue that the actor sees by its number."""
        require(actor, SEERS, "see queues")
        queue = tx.queues.get(QueueId(queue_id))
        if queue is None or not sees(actor, queue.entity) or not _may_use(actor, queue):
            raise NotFound(missing("queue of that id"), details={"field": "queueID"})
        return queue

    def update(self, tx: Tx, actor: Actor, queue: Queue, settings: Mapping[str, Any]) -> Queue:
        """Change a queue's settings; items that wait keep what they were given."""
        self._require_owner(actor, queue)
        changed = tx.queues.update(self._with(queue, settings))
        assert changed is not None
        return changed

    def set_paused(self, tx: Tx, actor: Actor, queue: Queue, *, is_paused: bool) -> Queue:
        """Pause a queue, so that nothing more is leased from it, or let it go on."""
        self._require_owner(actor, queue)
        changed = tx.queues.update(replace(queue, is_paused=is_paused))
        assert changed is not None
        return changed

    def delete(self, tx: Tx, actor: Actor, queue: Queue) -> None:
        """Delete a queue that nothing waits or runs in."""
        self._require_owner(actor, queue)
        counts = tx.queues.counts(queue.id)
        live = sum(counts.get(state, 0) for state in LIVE)
        if live:
            raise Conflict(
                f"queue {queue.name!r} has {live} items that have not ended: stop them, or wait"
            )
        tx.queues.delete(queue.id)

    def named(
        self, tx: Tx, actor: Actor, name: str, *, entity: str | None = None,
        project: str | None = None,
    ) -> Queue:  # fmt: skip
        """Return the queue of that name that the actor sees; `NotFound` names those there are."""
        require(actor, SEERS, "see queues")
        owner = entity or actor.entity
        what = f"queue {name!r} of {owner}"
        check_sees(actor, owner, what)
        queue = tx.queues.by_name(owner, project or DEFAULT_QUEUE_PROJECT, name)
        if queue is None or not _may_use(actor, queue):
            known = [q.name for q in tx.queues.find(entity=owner) if _may_use(actor, q)][:20]
            raise NotFound(
                f"{missing(what)} (there are: {', '.join(known) or 'none'}); "
                f"make it: shipway queue create {name} --resource local-process",
                details={"field": "queue_name", "value": name},
            )
        return queue

    def _require_owner(self, actor: Actor, queue: Queue) -> None:
        check_sees(actor, queue.entity, f"queue {queue.name!r}")
        require(actor, WRITERS, "change queues")
        if actor.role is not Role.ADMIN and queue.created_by != actor.user:
            raise Forbidden(
                f"queue {queue.name!r} is {queue.created_by}'s: only they and admins change it"
            )

    def _check_resource(self, tx: Tx, resource: object) -> str:
        known = self._resources.known(tx, str(resource))
        if resource == ANY_RESOURCE:
            return ANY_RESOURCE
        if not isinstance(resource, str) or resource not in known:
            raise Invalid(
                f"resource {resource!r} is not known (known: any, {', '.join(sorted(known))})",
                field="resource",
                value=resource,
            )
        return resource

    def _with(self, queue: Queue, settings: Mapping[str, Any]) -> Queue:
        unknown = sorted(set(settings) - set(_SETTINGS))
        if unknown:
            raise Invalid(
                f"{unknown[0]!r} is no setting of a queue (settings: {', '.join(_SETTINGS)})",
                field=unknown[0],
                value=settings[unknown[0]],
            )
        config = dict(_mapping(settings, "config", queue.config))
        if isinstance(config.get("resource_args"), Mapping):
            args = own_spelling(config["resource_args"], field="config.resource_args")
            config["resource_args"] = args
        variables = dict(_mapping(settings, "template_variables", queue.template_variables))
        self._check_config(config, variables)
        on_lost, retries = queue.on_lost, queue.on_lost_retries
        if settings.get("on_lost") is not None:
            on_lost, retries = parse_on_lost(settings["on_lost"])
        return replace(
            queue,
            config=config,
            template_variables=variables,
            has_priorities=_flag(settings, "priorities", is_set=queue.has_priorities),
            is_critical_for_admins=_flag(
                settings, "critical_for_admins", is_set=queue.is_critical_for_admins
            ),
            on_lost=on_lost,
            on_lost_retries=retries,
            lost_after_s=_whole(
                settings, "lost_after_s", queue.lost_after_s, MIN_LOST_AFTER_S, LOST_AFTER_LIMIT_S
            ),
            max_attempts=_whole(settings, "max_attempts", queue.max_attempts, 1, ATTEMPTS_LIMIT),
            external_links=check_links(_mapping(settings, "external_links", queue.external_links)),
        )

    def _check_config(self, config: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        args = config.get("resource_args", {})
        if not isinstance(args, Mapping):
            raise Invalid(
                "config.resource_args must be a mapping from resource to its arguments",
                field="config.resource_args",
                value=args,
            )
        declared = read_variables(variables)
        check_placeholders(config, declared)
        check_restricted_variables(config, declared)
        for resource, values in args.items():
            known = fixed(values) if isinstance(values, Mapping) else values
            self._resources.check_args(resource, known, path=f"config.resource_args.{resource}")
        extra = sorted(set(config) - {"resource_args"})
        if extra:
            raise Invalid(
                f"config key {extra[0]!r} is not known (known: resource_args)",
                field=f"config.{extra[0]}",
                value=config[extra[0]],
            )


_SETTINGS: Sequence[str] = (
    "config",
    "template_variables",
    "priorities",
    "critical_for_admins",
    "on_lost",
    "lost_after_s",
    "max_attempts",
    "external_links",
)


def _may_use(actor: Actor, queue: Queue) -> bool:
    is_own = queue.created_by == actor.user or actor.role is Role.ADMIN
    return is_own or not queue.is_personal


def known_entity(tx: Tx, entity: str) -> str:
    """Return an entity as it was first written; `NotFound` where nobody belongs to it."""
    known = {fold(user.entity): user.entity for user in tx.actors.users()}
    if fold(entity) not in known:
        names = ", ".join(sorted(known.values())[:ENTITIES_SHOWN])
        raise NotFound(
            f"{missing(f'entity {entity!r}')} (there are: {names}); a new user brings one: "
            "shipway user create",
            details={"field": "entity", "value": entity},
        )
    return known[fold(entity)]


def _mapping(
    settings: Mapping[str, Any], key: str, default: Mapping[str, Any]
) -> Mapping[str, Any]:
    value = settings.get(key)
    if value is None:
        return default
    if not isinstance(value, Mapping):
        raise Invalid(f"{key} must be a mapping, not {value!r}", field=key, value=value)
    return value


def _flag(settings: Mapping[str, Any], key: str, *, is_set: bool) -> bool:
    value = settings.get(key)
    if value is None:
        return is_set
    if not isinstance(value, bool):
        raise Invalid(f"{key} must be true or false, not {value!r}", field=key, value=value)
    return value


def _whole(settings: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
    value = settings.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Invalid(
            f"{key} must be a whole number from {least} to {most}, not {value!r}",
            field=key,
            value=value,
        )
    return value
