"""Puts the use cases together, each with what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipway.domain.ids import Random
from shipway.plugins.find import find
from shipway.plugins.search import Search
from shipway.service.agents import Agents
from shipway.service.artifact_lists import ArtifactLists
from shipway.service.artifact_uploads import ArtifactUploads
from shipway.service.artifacts import Artifacts
from shipway.service.client_agents import ClientAgents
from shipway.service.client_leases import ClientLeases
from shipway.service.items import Items
from shipway.service.job_files import JobFiles
from shipway.service.jobs import Jobs
from shipway.service.keys import Keys
from shipway.service.lease_time import LeaseTime
from shipway.service.leases import Leases
from shipway.service.logs import Logs
from shipway.service.ports import Clock
from shipway.service.queues import Queues
from shipway.service.requeues import Requeues
from shipway.service.resources import Check, Resources
from shipway.service.run_files import RunFiles
from shipway.service.run_history import RunHistory
from shipway.service.runs import Runs
from shipway.service.space import Space
from shipway.service.stored_blobs import StoredBlobs
from shipway.service.sweep_agents import SweepAgents
from shipway.service.sweep_launches import SweepLaunches
from shipway.service.sweep_places import SweepPlaces
from shipway.service.sweeps import Sweeps
from shipway.service.tracked_runs import TrackedRuns
from shipway.service.upkeep import Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Every use case, by noun."""

    items: Items
    requeues: Requeues
    leases: Leases
    logs: Logs
    runs: Runs
    tracked: TrackedRuns
    history: RunHistory
    run_files: RunFiles
    queues: Queues
    agents: Agents
    client_agents: ClientAgents
    jobs: Jobs
    job_files: JobFiles
    artifacts: Artifacts
    artifact_lists: ArtifactLists
    artifact_uploads: ArtifactUploads
    sweeps: Sweeps
    sweep_agents: SweepAgents
    sweep_launches: SweepLaunches
    keys: Keys
    blobs: StoredBlobs
    upkeep: Upkeep
    space: Space
    resources: Resources

    @classmethod
    def build(
        cls, *, clock: Clock, random: Random, schemas: Mapping[str, Mapping[str, Any]], check: Check
    ) -> Service:
        """Make the service; `schemas` are those of the resources' arguments."""
        resources = Resources(schemas=schemas, check=check)
        queues = Queues(clock=clock, resources=resources)
        jobs = Jobs(clock=clock)
        space = Space()
        items = Items(
            clock=clock, random=random, queues=queues, jobs=jobs, resources=resources, space=space
        )
        lease_time = LeaseTime(clock=clock)
        places = SweepPlaces(clock=clock, stop_item=items.stop)
        runs = Runs(places=places)
        leases = Leases(clock=clock, random=random, lease_time=lease_time, space=space)
        client_leases = ClientLeases(leases=leases, lease_time=lease_time)
        tracked = TrackedRuns(
            clock=clock, random=random, lease_time=lease_time, runs=runs, items=items,
            client_leases=client_leases, places=places,
        )  # fmt: skip
        sweep_agents = SweepAgents(clock=clock, random=random, lease_time=lease_time, find=_search)
        artifacts = Artifacts(clock=clock, tracked=tracked)
        return cls(
            items=items,
            requeues=Requeues(items=items, leases=leases),
            leases=leases,
            logs=Logs(items=items),
            runs=runs,
            tracked=tracked,
            history=RunHistory(),
            run_files=RunFiles(clock=clock, tracked=tracked),
            queues=queues,
            agents=Agents(clock=clock, queues=queues, resources=resources),
            client_agents=ClientAgents(
                clock=clock,
                random=random,
                queues=queues,
                jobs=jobs,
                leases=leases,
                held=client_leases,
            ),
            jobs=jobs,
            job_files=JobFiles(clock=clock),
            artifacts=artifacts,
            artifact_lists=ArtifactLists(clock=clock, artifacts=artifacts),
            artifact_uploads=ArtifactUploads(clock=clock, artifacts=artifacts),
            sweeps=Sweeps(clock=clock, random=random, places=places, find=_search),
            sweep_agents=sweep_agents,
            sweep_launches=SweepLaunches(clock=clock, items=items),
            keys=Keys(clock=clock, random=random, queues=queues),
            blobs=StoredBlobs(clock=clock),
            upkeep=Upkeep(
                clock=clock,
                leases=leases,
                lease_time=lease_time,
                tracked=tracked,
                artifacts=artifacts,
                sweep_agents=sweep_agents,
            ),
            space=space,
            resources=resources,
        )


def _search(method: str) -> Search:
    search: Search = find("shipway.search", method)()
    return search
