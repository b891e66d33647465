"""Agents that clients bring along: what they are leased, ack, fail, and how their leases go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.agent import Agent, AgentState
from shipway.domain.errors import Invalid, NotFound, Unauthenticated
from shipway.domain.ids import ItemId
from shipway.domain.item import FailureClass, Item, Note, Stage, State
from shipway.domain.launch_spec import Draft
from shipway.domain.run import RunState
from shipway.service.client_agents import ClientAsk, ClientGrant, ClientSays
from shipway.service.client_leases import RENEWED_MS, SILENT_MS, STOPPED_MS
from shipway.service.leases import Starts
from shipway.service.tracked_runs import RunAsk, StreamReport
from tests.unit.conftest import SOURCE, World

POLL_MS = 10_000  # how often such an agent asks
BROKEN = ClientSays(message="no such job\nTraceback", stage=Stage.AGENT, files=("x/error.log",))


class Clients:
    """An agent of wandb's on ann's default queue, with a job that it can read."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.job = self.do(
            lambda tx: world.service.jobs.create(
                tx, world.ann, {"kind": "git", "name": "train", "project": "demo", "source": SOURCE}
            )
        ).address
        self.agent = self.register()

    def do(self, work: Any) -> Any:
        """Run one transaction."""
        return self.world.do(work)

    def register(self, actor: Actor | None = None, *, slots: int = 1, **ask: Any) -> Agent:
        """Register an agent."""
        who, service = actor or self.world.ann, self.world.service

        def work(tx: Any) -> Agent:
            queue = service.queues.named(tx, self.world.ann, "default")
            asked = ClientAsk(
                client="wandb", queue_ids=[queue.id], hostname="h",
                version="wandb@0.20.1", slots=slots,
            )  # fmt: skip
            return service.client_agents.register(tx, who, replace(asked, **ask))

        return self.do(work)

    def change_queue(self, **settings: Any) -> None:
        """Change the queue's rules."""
        queues, root = self.world.service.queues, self.world.root
        queue = self.do(lambda tx: queues.named(tx, self.world.ann, "default"))
        self.do(lambda tx: queues.update(tx, root, queue, settings))

    def add(self, actor: Actor | None = None, **draft: Any) -> Item:
        """Add an item of the job."""
        made = Draft.from_json({"job": self.job, "queue_entity": "ann", **draft})
        who, items = actor or self.world.ann, self.world.service.items
        return self.do(lambda tx: items.enqueue(tx, who, [(made, None)]))[0][0]

    def pop(self, agent: Agent | None = None) -> ClientGrant | None:
        """Let the agent ask for work."""
        asks, agents = (agent or self.agent).id, self.world.service.client_agents
        return self.do(
            lambda tx: agents.pop(
                tx, self.world.ann, asks, "default", entity="ann", project="model-registry"
            )
        )

    def popped(self, **draft: Any) -> ClientGrant:
        """Add an item and let the agent take it."""
        self.add(**draft)
        grant = self.pop()
        assert grant is not None
        return grant

    def acked(self, **draft: Any) -> ClientGrant:
        """Add an item and bring it past the start gate."""
        grant = self.popped(**draft)
        assert self.ack(grant)
        return grant

    def ack(self, grant: ClientGrant, run_id: str | None = None) -> bool:
        """Let the agent ack."""
        agents, run = self.world.service.client_agents, run_id or grant.item.run_id
        return self.do(lambda tx: agents.ack(tx, self.world.ann, grant.name, run))

    def fail(self, grant: ClientGrant, says: ClientSays = BROKEN) -> bool:
        """Let the agent report a failure."""
        agents = self.world.service.client_agents
        return self.do(lambda tx: agents.fail(tx, self.world.ann, grant.name, says))

    def warn(self, grant: ClientGrant) -> bool:
        """Let the agent warn."""
        says = ClientSays(message="unschedulable", stage=Stage.RUN)
        agents = self.world.service.client_agents
        return self.do(lambda tx: agents.warn(tx, self.world.ann, grant.name, says))

    def poll(self) -> Agent:
        """Let the agent ask how it stands."""
        agents = self.world.service.client_agents
        return self.do(lambda tx: agents.poll(tx, self.world.ann, self.agent.id))

    def pass_time(self, ms: int, *, is_polling: bool = True) -> None:
        """Let time pass, with the agent or without."""
        for _ in range(ms // POLL_MS):
            self.world.pass_time(POLL_MS)
            if is_polling:
                self.poll()

    def program(self, grant: ClientGrant) -> Actor:
        """Return what the program's own key makes it."""
        return self.do(lambda tx: self.world.service.keys.authenticate(tx, grant.job_key))

    def speak(self, grant: ClientGrant, **said: Any) -> None:
        """Let the program report, as its wandb does."""
        tracked, actor = self.world.service.tracked, self.program(grant)

        def work(tx: Any) -> None:
            ask = RunAsk(project="demo", id=grant.item.run_id, is_begun=True)
            view, _ = tracked.upsert(tx, actor, ask)
            tracked.report(tx, actor, view, StreamReport(**said))

        self.do(work)

    def run_state(self, grant: ClientGrant) -> RunState:
        """Return how the run stands."""
        tracked, item = self.world.service.tracked, grant.item
        return self.do(
            lambda tx: tracked.get(tx, self.world.ann, item.entity, item.project, item.run_id)
        ).state

    def item(self, grant: ClientGrant) -> Item:
        """Return the item as it is now."""
        return self.world.item(grant.item.id)


@pytest.fixture
def clients(world: World) -> Iterator[Clients]:
    return Clients(world)


def test_jobs_and_images_alone_are_leased_to_a_client_s_agent(clients: Clients) -> None:
    code = clients.world.add()
    limited = clients.add(resource_args={"local-process": {"run_limit_s": 5}})
    job = clients.add()
    boxed = clients.do(
        lambda tx: clients.world.service.queues.create(
            tx, clients.world.ann, name="boxes", resource="local-container"
        )
    )
    image = clients.world.add(source=None, docker_image="example.test/box", queue="boxes")
    assert boxed.id == image.queue_id
    assert [one.suits_clients for one in (code, limited, job, image)] == [False, False, True, True]
    grant = clients.pop()
    assert grant is not None
    assert (grant.item.id, grant.item.lease_agent) == (job.id, clients.agent.id)
    assert clients.pop() is None


def test_our_agents_and_clients_never_hold_an_item_both(clients: Clients) -> None:
    added = {clients.add().id for _ in range(4)}
    theirs = [clients.pop(), clients.pop()]
    ours = clients.world.lease(limit=9).leases
    assert clients.pop() is None
    held = [one.item.id for one in (*theirs, *ours) if one is not None]
    assert (len(held), set(held)) == (4, added)


def test_a_client_s_agent_takes_what_others_of_the_entity_submitted(clients: Clients) -> None:
    clients.add(clients.world.root)
    grant = clients.pop()
    assert grant is not None
    assert grant.item.submitted_by == "root"


def test_an_item_that_no_client_s_agent_can_run_says_so(clients: Clients) -> None:
    world = clients.world
    world.do(lambda tx: tx.agents.set_state(world.agent, AgentState.GONE))
    waiting = world.add()
    said = world.do(lambda tx: world.service.items.explain(tx, world.ann, waiting.id))
    assert [one.code for one in said.reasons] == ["client_agents"]
    job = clients.add()
    said = world.do(lambda tx: world.service.items.explain(tx, world.ann, job.id))
    assert [one.code for one in said.reasons] == ["behind"]


def test_a_program_s_end_is_its_item_s(clients: Clients) -> None:
    good, bad = clients.acked(), clients.acked()
    assert clients.run_state(good) is RunState.PENDING, "nobody knows yet that it runs"
    assert clients.item(good).state is State.RUNNING
    clients.speak(good)
    assert clients.run_state(good) is RunState.RUNNING
    clients.speak(good, is_complete=True)
    clients.speak(bad, is_complete=True, exit_code=3)
    ended = clients.item(bad)
    assert (clients.item(good).state, clients.item(good).exit_code) == (State.FINISHED, 0)
    assert (ended.state, ended.exit_code) == (State.FAILED, 3)
    assert ended.failure is not None
    assert (ended.failure.failure_class, clients.run_state(bad)) == (
        FailureClass.EXIT, RunState.FAILED,
    )  # fmt: skip
    with pytest.raises(Unauthenticated):
        clients.program(good)


def test_a_second_ack_changes_nothing(clients: Clients) -> None:
    grant = clients.acked()
    before = clients.item(grant)
    assert not clients.ack(grant)
    assert clients.item(grant) == before


def test_a_former_lease_s_ack_and_failure_change_nothing(clients: Clients) -> None:
    old = clients.popped()
    clients.world.pass_time(61_000)
    assert clients.item(old).state is State.PENDING
    assert not clients.ack(old)
    new = clients.pop()
    assert new is not None
    assert (new.item.id, new.item.attempt) == (old.item.id, 2)
    assert new.name != old.name
    assert not clients.ack(old)
    assert not clients.fail(old)
    assert not clients.warn(old)
    assert clients.item(new).state is State.LEASED
    assert clients.ack(new)
    assert not clients.fail(old)
    clients.speak(new, is_complete=True)
    assert not clients.fail(new), "it has ended"
    assert clients.item(new).state is State.FINISHED


def test_an_ack_names_the_item_s_own_run(clients: Clients) -> None:
    grant = clients.popped()
    with pytest.raises(Invalid, match=r"is .*, not .other."):
        clients.ack(grant, "other")
    assert clients.item(grant).state is State.LEASED


@pytest.mark.parametrize("name", ["", "x", "x.", ".y", "x.-1", "x.9999999999"])
def test_an_id_that_is_no_lease_s_is_refused(clients: Clients, name: str) -> None:
    agents = clients.world.service.client_agents
    with pytest.raises(Invalid, match="no id of a lease"):
        clients.do(lambda tx: agents.ack(tx, clients.world.ann, name, "r"))


def test_nobody_else_acts_for_an_agent(clients: Clients) -> None:
    world, agents, grant = clients.world, clients.world.service.client_agents, clients.popped()
    bob = replace(world.bob, entity="ann")
    assert not clients.do(lambda tx: agents.ack(tx, bob, grant.name, grant.item.run_id))
    assert not clients.do(lambda tx: agents.fail(tx, bob, grant.name, BROKEN))
    assert clients.item(grant).state is State.LEASED
    with pytest.raises(NotFound):
        clients.do(lambda tx: agents.poll(tx, bob, clients.agent.id))
    with pytest.raises(NotFound):
        clients.do(lambda tx: agents.poll(tx, world.ann, world.agent))
    with pytest.raises(NotFound):
        clients.register(world.bob)


def test_what_is_not_acked_waits_again_and_a_living_agent_s_is_not_counted(
    clients: Clients,
) -> None:
    grant = clients.popped()
    clients.pass_time(50_000)
    assert clients.item(grant).state is State.PENDING
    assert clients.item(grant).lost_count == 0
    again = clients.pop()
    assert again is not None
    clients.pass_time(70_000, is_polling=False)
    assert (clients.item(again).state, clients.item(again).lost_count) == (State.PENDING, 1)


def test_an_agent_s_failure_has_its_stage_and_message(clients: Clients) -> None:
    early, late = clients.popped(), clients.acked()
    assert clients.warn(early)
    assert clients.fail(early)
    assert clients.fail(late, ClientSays(message="pip said no", stage=Stage.BUILD))
    first, second = clients.item(early), clients.item(late)
    assert first.failure is not None
    assert second.failure is not None
    assert (first.state, first.failure.stage) == (State.FAILED, Stage.AGENT)
    assert first.failure.reason == f"no such job (see run {clients.agent.id}: x/error.log)"
    assert first.failure.log_tail == ("Traceback",)
    assert (second.failure.stage, second.started_at) == (Stage.BUILD, None)
    events = clients.do(lambda tx: tx.events.of_item(first.id))
    assert [e.data["reason"] for e in events if e.event == Note.WARNING] == ["unschedulable"]


def test_an_agent_that_polls_keeps_what_has_not_begun_for_as_long_as_it_takes(
    clients: Clients,
) -> None:
    clients.change_queue(lost_after_s=60)
    grant = clients.acked()
    clients.pass_time(300_000)
    assert clients.item(grant).state is State.RUNNING
    assert clients.poll().used_slots == 1


def test_polls_that_follow_one_another_write_nothing(clients: Clients) -> None:
    grant = clients.acked()
    clients.world.pass_time(RENEWED_MS)
    first, item = clients.poll(), clients.item(grant)
    clients.world.pass_time(RENEWED_MS - 1_000)
    assert (clients.poll(), clients.item(grant)) == (first, item)
    clients.world.pass_time(1_000)
    assert clients.poll().seen_at > first.seen_at
    assert (clients.item(grant).lease_deadline or 0) > (item.lease_deadline or 0)


def test_a_program_that_speaks_needs_no_agent(clients: Clients) -> None:
    grant = clients.acked()
    clients.change_queue(lost_after_s=60)
    for _ in range(10):
        clients.pass_time(30_000, is_polling=False)
        clients.speak(grant)
    clients.speak(grant, is_complete=True)
    assert clients.item(grant).state is State.FINISHED


def test_where_neither_speaks_the_queue_s_rule_decides(clients: Clients) -> None:
    clients.change_queue(on_lost="retry:1", lost_after_s=60)
    grant = clients.acked()
    clients.speak(grant)
    clients.pass_time(80_000, is_polling=False)
    assert clients.item(grant).state is State.PENDING
    again = clients.pop()
    assert again is not None
    assert clients.ack(again)
    assert clients.run_state(again) is RunState.PENDING, "the new attempt has not spoken"
    with pytest.raises(Unauthenticated):
        clients.program(grant)
    clients.pass_time(80_000, is_polling=False)
    ended = clients.item(again)
    assert ended.failure is not None
    assert ended.failure.failure_class is FailureClass.LOST
    assert clients.run_state(again) is RunState.CRASHED


@pytest.mark.parametrize("jump", [86_400_000, -86_400_000])
def test_a_program_that_falls_silent_is_lost_though_its_agent_polls(
    clients: Clients, jump: int
) -> None:
    grant = clients.acked()
    clients.speak(grant)
    clients.world.clock.jump(jump)
    clients.pass_time(SILENT_MS - 20_000)
    assert clients.item(grant).state is State.RUNNING
    clients.pass_time(30_000)
    ended = clients.item(grant)
    assert ended.failure is not None
    assert ended.failure.failure_class is FailureClass.LOST
    assert "nothing was heard of its program for 3" in ended.failure.reason


def test_a_stop_is_the_program_s_end_and_its_agent_s_kill(clients: Clients) -> None:
    world = clients.world
    told, killed, waiting = clients.acked(), clients.acked(), clients.popped()
    for grant in (told, killed):
        clients.speak(grant)
    for grant in (told, killed, waiting):
        world.do(
            lambda tx, item=grant.item.id: world.service.items.stop(tx, world.ann, ItemId(item))
        )
    clients.speak(told, is_complete=True, exit_code=255)
    assert clients.item(told).state is State.STOPPED
    assert not clients.ack(waiting), "the gate stays shut"
    assert clients.fail(waiting)
    assert clients.item(waiting).state is State.STOPPED
    clients.pass_time(STOPPED_MS + 10_000)
    assert clients.item(killed).state is State.STOPPED


def test_a_draining_agent_gets_nothing_and_an_ending_one_is_gone(clients: Clients) -> None:
    world, agents = clients.world, clients.world.service.client_agents
    begun, taken = clients.acked(), clients.popped()
    clients.add()
    ask = world.service.agents.ask
    world.do(lambda tx: ask(tx, world.ann, clients.agent.id, AgentState.DRAINING))
    assert clients.pop() is None
    assert clients.poll().state is AgentState.DRAINING
    world.do(lambda tx: agents.leave(tx, world.ann, clients.agent.id))
    assert clients.poll().state is AgentState.GONE
    world.do(lambda tx: ask(tx, world.ann, clients.agent.id, AgentState.DRAINING))
    assert clients.poll().state is AgentState.GONE
    assert clients.item(taken).state is State.PENDING
    assert clients.item(begun).state is State.RUNNING, "its program may go on without the agent"


def test_a_queue_that_it_does_not_serve_is_refused(clients: Clients) -> None:
    world = clients.world
    world.do(
        lambda tx: world.service.queues.create(tx, world.ann, name="q", resource="local-process")
    )
    with pytest.raises(Invalid, match="does not serve"):
        world.do(
            lambda tx: world.service.client_agents.pop(
                tx, world.ann, clients.agent.id, "q", entity="ann", project="model-registry"
            )
        )
    with pytest.raises(Invalid, match="max_jobs"):
        clients.register(slots=-2)
    with pytest.raises(Invalid, match="1 to 64 queues"):
        clients.register(queue_ids=[])


def test_an_agent_of_ours_may_not_take_the_part_of_a_client_s(clients: Clients) -> None:
    grant = clients.world.lease(starts=Starts(limit=1, sources=[])).leases
    assert not grant
    clients.add()
    (ours,) = clients.world.lease().leases
    name = f"{ours.item.id}.{ours.item.attempt}"
    agents = clients.world.service.client_agents
    assert not clients.do(lambda tx: agents.ack(tx, clients.world.ann, name, ours.item.run_id))


def test_runs_that_clients_make_for_their_work_are_in_no_list(world: World) -> None:
    tracked = world.service.tracked
    ask = RunAsk(project="model-registry", id="agent-1", is_begun=True, is_hidden=True)
    world.do(lambda tx: tracked.upsert(tx, world.ann, ask))
    found = world.do(lambda tx: tracked.get(tx, world.ann, "ann", "model-registry", "agent-1"))
    assert found.run.is_hidden
    listed = world.do(lambda tx: list(tracked.of_project(tx, world.ann, "ann", "model-registry")))
    newest = world.do(
        lambda tx: list(
            tracked.of_project(tx, world.ann, "ann", "model-registry", is_newest_first=True)
        )
    )
    assert (listed, newest) == ([], [])
    assert world.do(lambda tx: tracked.count(tx, world.ann, "ann", "model-registry")) == 0
    assert not world.do(lambda tx: tracked.projects(tx, world.ann, "ann"))
    runs = world.do(lambda tx: world.service.runs.find(tx, world.ann, entity=None, project=None))
    assert runs == []


def test_a_person_s_edit_is_no_sign_of_a_program(clients: Clients) -> None:
    grant = clients.acked()
    tracked, ann = clients.world.service.tracked, clients.world.ann
    ask = RunAsk(project="demo", id=grant.item.run_id, facts={"notes": "n"})
    clients.do(lambda tx: tracked.upsert(tx, ann, ask))
    assert clients.run_state(grant) is RunState.PENDING
    assert ann.role is Role.MEMBER
