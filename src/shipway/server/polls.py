"""Agents' open polls: who is woken for which queue, and told of which stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import Any

from shipway.domain.agent import Agent
from shipway.domain.ids import AgentId, ItemId, QueueId, Token
from shipway.domain.item import Event, ItemEvent, Note
from shipway.server.waits import Watch
from shipway.service.ports import Tx

Work = Callable[[Tx], Any]

WAITING = frozenset({Note.ENQUEUE.value, Event.REQUEUE.value})  # after these an item waits
REPEAT_STOPS_S = 2.0  # a stop that was told is told again so much later, in case it was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What decides which items fit: polls of one group can stand in for each other."""

    queue_ids: tuple[QueueId, ...]
    resources: tuple[str, ...]
    run_as: str
    user: str


class Poll:
    """One open lease poll."""

    __slots__ = ("agent", "claim", "group", "is_gone", "is_urgent", "is_woken_by_look", "watch",
                 "work")  # fmt: skip

    def __init__(self, agent: AgentId, group: Group | None, work: Work) -> None:
        self.agent = agent
        self.group = group  # None: it wants no work, only stops
        self.work = work  # its call for work
        self.claim: Future[Any] | None = None  # its call, once the writer took it from the line
        self.watch = Watch()
        self.is_urgent = False  # to be answered even with nothing
        self.is_woken_by_look = False
        self.is_gone = False

    def leave(self) -> None:
        """Take note that the agent's connection is gone."""
        self.is_gone = True
        self.watch.hint()


class LeasePolls:
    """Every open lease poll of this server; hints only, the rows decide."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = Lock()  # of the lines: the writer takes polls from them too
        self._groups: dict[Group, dict[Poll, None]] = {}  # in the order of arrival
        self._by_queue: dict[QueueId, dict[Group, None]] = {}
        self._by_agent: dict[AgentId, dict[Poll, None]] = {}
        self._hints = 0  # how many there were, so that none is lost while a poll is opened
        self._queue_hints: dict[QueueId, int] = {}
        self._agent_hints: dict[AgentId, int] = {}
        self._told: dict[AgentId, tuple[frozenset[tuple[ItemId, Token]], float]] = {}
        self.is_closed = False

    def __len__(self) -> int:
        return sum(len(polls) for polls in self._by_agent.values())

    def mark(self) -> int:
        """Return a mark for `add`: hints that come after it are not lost."""
        return self._hints

    def add(self, agent: Agent, work: Work, *, wants_work: bool, since: int) -> Poll:
        """Open a poll; it is woken at once for hints since a mark."""
        group = None
        if wants_work:
            group = Group(
                queue_ids=agent.queue_ids,
                resources=agent.resources,
                run_as=agent.run_as,
                user=agent.user,
            )
        poll = Poll(agent.id, group, work)
        newest = self._agent_hints.get(agent.id, 0)
        if wants_work:
            newest = max([newest, *(self._queue_hints.get(q, 0) for q in agent.queue_ids)])
        if self.is_closed or newest > since:
            poll.watch.hint()
        self._by_agent.setdefault(agent.id, {})[poll] = None
        self.rejoin(poll)
        return poll

    def rejoin(self, poll: Poll) -> None:
        """Stand at the end of the line again, after a hint that came to nothing."""
        if poll.group is None:
            return
        with self._lock:
            poll.claim = None
            line = self._groups.setdefault(poll.group, {})
            line.pop(poll, None)
            line[poll] = None
            for queue_id in poll.group.queue_ids:
                self._by_queue.setdefault(queue_id, {})[poll.group] = None

    def leave(self, poll: Poll) -> Future[Any] | None:
        """Stand in no line; return the call for work if the writer has taken it already."""
        if poll.group is None:
            return None
        with self._lock:
            self._leave(poll, poll.group)
            return poll.claim

    def claims(self, events: Sequence[ItemEvent]) -> list[Poll]:
        """Take the first poll of each group that takes from where an item waits; in any thread."""
        if not self._by_queue:
            return []
        queue_ids = dict.fromkeys(event.queue_id for event in events if event.event in WAITING)
        with self._lock:
            found = [poll for queue_id in queue_ids for poll in self._take_first(queue_id)]
            for poll in found:
                poll.claim = Future()
        return found

    def remove(self, poll: Poll) -> None:
        """Close a poll; a second call does nothing."""
        polls = self._by_agent.get(poll.agent)
        if polls is not None:
            polls.pop(poll, None)
            if not polls:
                del self._by_agent[poll.agent]
        self.leave(poll)

    def queues(self) -> list[QueueId]:
        """Return the queues that somebody waits for."""
        return list(self._by_queue)

    def hint_queue(self, queue_id: QueueId, *, is_look: bool = False) -> None:
        """Wake one poll of each group that takes from a queue."""
        self._hints += 1
        self._queue_hints[queue_id] = self._hints
        with self._lock:
            found = self._take_first(queue_id)
        for poll in found:
            poll.is_woken_by_look = is_look
            poll.watch.hint()

    def hint_agents(self, agents: Iterable[AgentId]) -> None:
        """Make the polls of these agents answer now."""
        for agent in agents:
            self._hints += 1
            self._agent_hints[agent] = self._hints
            for poll in self._by_agent.get(agent, ()):
                poll.is_urgent = True
                poll.watch.hint()

    def is_news(self, agent: AgentId, stops: frozenset[tuple[ItemId, Token]]) -> bool:
        """Tell whether an agent was not just told of these stops, and note that it now is."""
        if not stops:
            self._told.pop(agent, None)
            return False
        told, at = self._told.get(agent, (frozenset(), 0.0))
        now = self._monotonic()
        if stops <= told and now - at < REPEAT_STOPS_S:
            return False
        self._told[agent] = (stops, now)
        return True

    def close(self) -> None:
        """Answer every poll now; later ones are answered at once."""
        self.is_closed = True
        self.hint_agents(list(self._by_agent))

    def _take_first(self, queue_id: QueueId) -> list[Poll]:
        groups = list(self._by_queue.get(queue_id, ()))
        found = [next(iter(self._groups[group])) for group in groups]
        for poll, group in zip(found, groups, strict=True):
            self._leave(poll, group)
        return found

    def _leave(self, poll: Poll, group: Group) -> None:
        line = self._groups.get(group)
        if line is None:
            return
        line.pop(poll, None)
        if not line:
            del self._groups[group]
            for queue_id in group.queue_ids:
                groups = self._by_queue.get(queue_id, {})
                groups.pop(group, None)
                if not groups:
                    self._by_queue.pop(queue_id, None)
