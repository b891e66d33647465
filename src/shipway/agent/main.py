"""Puts an agent together and runs it until there is a reason to end."""

from __future__ import annotations

import logging
import os
import platform
import random
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import shipway.runside
from shipway import __version__
from shipway.agent.building import Preparer
from shipway.agent.cleaning import Cleaner
from shipway.agent.config import Config
from shipway.agent.containing import ContainerPreparer
from shipway.agent.courier import Reply
from shipway.agent.environment import surroundings
from shipway.agent.events import Event
from shipway.agent.fetching import Fetcher
from shipway.agent.home import Home, boot_id, boot_ms, now_ms
from shipway.agent.journal import Journal
from shipway.agent.lease import Report
from shipway.agent.link import POLL_S, Link
from shipway.agent.loop import Loop, Reason
from shipway.agent.parent import watch_parent
from shipway.agent.pool import Pool
from shipway.agent.settle import settle
from shipway.agent.shelves import BUILDER, shelves_of
from shipway.agent.shipping import Shipper
from shipway.agent.state import UNSTARTED, State
from shipway.agent.transport import ServerBlobs, Transport
from shipway.agent.upkeep import Upkeep, room_of
from shipway.agent.watcher import Watcher
from shipway.agent.work import Work
from shipway.agent.workdir import Folders
from shipway.client import Client
from shipway.domain.errors import ShipwayError
from shipway.domain.item import Event as ItemEvent
from shipway.plugins.builder import Builder
from shipway.plugins.errors import PermanentError
from shipway.plugins.find import find, installed
from shipway.plugins.image_builder import ImageBuilder
from shipway.plugins.runner import Runner, RunnerContext

log = logging.getLogger(__name__)

IMAGE_BUILDER = "container"
THREADS = 8  # that fetch and build
SHIPPING_THREADS = 4
SYNC_PAUSE_S = 0.02  # marks in the journal that come meanwhile share one sync
GOODBYE_S = 1.5  # for giving back what was not started yet, and saying that we are gone

Inbox = SimpleQueue[Event | Reply | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What an agent is started with."""

    home: Path
    base_url: str
    key: str = field(repr=False)
    config: Config
    is_once: bool = False
    parent_pid: int | None = None  # ends within 5 s of it
    parent_fd: int | None = None  # a pipe whose other end the parent holds
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)


def run_agent(options: AgentOptions) -> int:
    """Run an agent until it is asked to end; 0, or 1 where the server will not have it."""
    home = Home(path=options.home)
    lock = home.lock()
    inbox: Inbox = SimpleQueue()
    _catch_signals(inbox)
    watch_parent(lambda: inbox.put(None), pid=options.parent_pid, fd=options.parent_fd)
    client = Client(options.base_url, options.key, env=options.env)
    try:
        return _run(options, home, inbox, client)
    finally:
        os.close(lock)


def _run(options: AgentOptions, home: Home, inbox: Inbox, transport: Transport) -> int:
    agent, process = home.agent_id(random.SystemRandom()), secrets.token_hex(8)
    runners, lacks = find_runners(options.config, home, options.env)
    work = make_work(options, home, inbox, transport, runners)
    journal = Journal(home.journal, boot_id=boot_id(), later=_after_a_pause(Pool("journal", 1)))
    kept = journal.open()
    contexts = {
        name: RunnerContext(
            home=home.runner(name),
            attempts=home.attempts,
            agent=agent,
            slots=options.config.max_jobs,
            base_url=options.base_url,
            key_file=home.keep_key(options.key),
            notify=work.notice,
            given=frozenset(
                one.handle for one in kept if one.handle and one.lease.resource == name
            ),
            env=options.env,
            policy=options.config.container,
        )
        for name in runners
    }
    found = work.open(contexts, [one.lease for one in kept])
    state, missed = settle(kept, found, slots=options.config.max_jobs, now=boot_ms())
    for attempt in state.attempts.values():
        if attempt.handle is not None:
            work.adopt(attempt.lease, attempt.handle)
    log.info("agent begins", extra={"agent": agent, "found": len(state.attempts)})
    link = Link(
        transport=transport,
        registration=registration(
            agent, options.config, tuple(runners), process=process, lacks=lacks
        ),
        emit=inbox.put,
        boot_ms=boot_ms,
        now=now_ms,
        poll_s=0 if options.is_once else POLL_S,
        grace_s=options.config.grace_s,
        is_whole=journal.is_whole,
    )
    loop = Loop(
        state=state,
        link=link,
        work=work,
        journal=journal,
        inbox=inbox,
        boot_ms=boot_ms,
        is_once=options.is_once,
    )
    upkeep = _upkeep(options.config, home, work, transport, inbox)
    try:
        first = upkeep.begin()
        upkeep.start()
        reason = loop.run([*missed, first])
        if reason is not Reason.REFUSED:
            _say_goodbye(transport, agent, process=process, state=loop.state)
    finally:
        upkeep.close()
        work.close()
        journal.close()
    if reason is Reason.REFUSED:
        assert link.refusal is not None
        log.error("the server refuses this agent", extra={"error": link.refusal.message})
        return 1
    log.info("agent ends", extra={"agent": agent, "reason": reason.value})
    return 0


def make_work(
    options: AgentOptions,
    home: Home,
    inbox: Inbox,
    transport: Transport,
    runners: Mapping[str, Runner],
) -> Work:
    """Wire the hands of an agent."""
    config = options.config
    pool = Pool("work", THREADS)
    watcher = Watcher()
    watcher.open()
    folders = Folders(home.attempts, later=pool.submit, watcher=watcher, kept=config.keep_failed)
    runside = home.lay_runside(Path(shipway.runside.__file__).parent)
    around = surroundings(
        options.env,
        base_url=options.base_url,
        runside=runside,
        pass_env=config.pass_env,
        own_bin=str(Path(sys.prefix, "bin")) if sys.prefix != sys.base_prefix else None,
    )
    shipper = Shipper(
        items=transport.items,
        blobs=transport.blobs,
        pool=Pool("shipping", SHIPPING_THREADS),
        emit=inbox.put,
        boot_ms=boot_ms,
        now=now_ms,
    )
    fetcher = Fetcher(
        find=cache(lambda kind: find("shipway.sources", kind)()),
        cache=home.sources,
        policy=config.policy,
        containers=config.container,
        env=options.env,
        blobs=ServerBlobs(transport.blobs),
        folders=folders,
        shipper=shipper,
        pool=pool,
        emit=inbox.put,
        boot_ms=boot_ms,
    )
    images = _containers(
        options, home, emit=inbox.put, runside=runside, folders=folders, shipper=shipper, pool=pool
    )
    preparer = Preparer(
        builder=cache(_make_builder),
        cache=home.environments,
        around=around,
        build_env=dict(options.env),
        transport=transport,
        folders=folders,
        shipper=shipper,
        pool=pool,
        emit=inbox.put,
        boot_ms=boot_ms,
    )
    return Work(
        runners=runners,
        fetcher=fetcher,
        preparer=preparer,
        containers=images,
        folders=folders,
        shipper=shipper,
        emit=inbox.put,
        boot_ms=boot_ms,
    )


def _containers(
    options: AgentOptions,
    home: Home,
    *,
    emit: Callable[[Event], None],
    runside: Path,
    folders: Folders,
    shipper: Shipper,
    pool: Pool,
) -> ContainerPreparer:
    config = options.config
    return ContainerPreparer(
        builder=cache(_make_image_builder),
        cache=home.path / "images",
        runside=runside,
        base_url=options.base_url,
        policy=config.container,
        repository=config.repository,
        env=options.env,
        folders=folders,
        shipper=shipper,
        pool=pool,
        emit=emit,
        boot_ms=boot_ms,
    )


def _upkeep(config: Config, home: Home, work: Work, transport: Transport, inbox: Inbox) -> Upkeep:
    agent = home.agent_id(random.SystemRandom())
    return Upkeep(
        cleaner=Cleaner(home, config.bounds, lambda: shelves_of(home)),
        room=lambda: room_of(home.path),
        in_use=work.in_use,
        expire=lambda: work.expire(older_s=config.bounds.keep_work_s),
        emit=inbox.put,
        tell=lambda facts: transport.agents.tell(agent, facts),
        boot_ms=boot_ms,
    )


def _make_builder() -> Builder:
    builder: Builder = find("shipway.builders", BUILDER)()
    return builder


def _make_image_builder() -> ImageBuilder:
    builder: ImageBuilder = find("shipway.builders", IMAGE_BUILDER)()
    return builder


def find_runners(
    config: Config, home: Home, env: Mapping[str, str]
) -> tuple[dict[str, Runner], dict[str, str]]:
    """Load the runners that the agent's policy allows, by resource; and say which cannot run here.

    One that cannot is loaded all the same where it has something to see to its end.
    """
    names = config.resources or tuple(installed("shipway.runners"))
    if not names:
        raise PermanentError("no runner is installed: install shipway again")
    found: dict[str, Runner] = {}
    lacks: dict[str, str] = {}
    for name in names:
        kind = find("shipway.runners", name)
        missing = kind.lacks(config.container, env)
        if missing and name in config.resources:
            raise PermanentError(f"resource {name} cannot run here: {missing}")
        if missing:
            lacks[name] = missing
        if not missing or home.runner(name).exists():
            found[name] = kind()
    return found, lacks


def registration(
    agent: str,
    config: Config,
    resources: tuple[str, ...],
    *,
    process: str,
    lacks: Mapping[str, str],
) -> dict[str, Any]:
    """Return what the server is told of this agent."""
    return {
        "id": agent,
        "hostname": socket.gethostname(),
        "version": __version__,
        "queues": list(config.queues),
        "entity": config.entity,
        "resources": [name for name in resources if name not in lacks],
        "run_as": config.run_as.value,
        "slots": config.max_jobs,
        "facts": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "process": process,
            "lacks": dict(lacks),
        },
    }


def _say_goodbye(transport: Transport, agent: str, *, process: str, state: State) -> None:
    """Let others have at once what was not started, and nobody wait for this agent.

    Unanswered, the items go back and the agent is forgotten by themselves, only later.
    """
    reports = [
        Report(key=a.lease.key, item=a.lease.item, token=a.lease.token, event=ItemEvent.REQUEUE)
        for a in state.attempts.values()
        if a.progress in UNSTARTED and not a.is_lost
    ]

    def call() -> None:
        try:
            if reports:
                transport.leases.report(agent, [report.to_json(now_ms()) for report in reports])
            transport.agents.leave(agent, process=process)
        except ShipwayError as error:
            log.info("left without goodbye", extra={"error": error.message})

    thread = threading.Thread(target=call, name="goodbye", daemon=True)
    thread.start()
    thread.join(GOODBYE_S)


def _after_a_pause(pool: Pool) -> Callable[[Callable[[], None]], None]:
    def submit(call: Callable[[], None]) -> None:
        pool.submit(wait_and_call, call)

    def wait_and_call(call: Callable[[], None]) -> None:
        time.sleep(SYNC_PAUSE_S)
        call()

    return submit


def _catch_signals(inbox: Inbox) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: inbox.put(None))
