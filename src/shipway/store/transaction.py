"""One connection's view of all rows."""

from __future__ import annotations

from shipway.store.actors import Actors, Sessions
from shipway.store.agents import Agents
from shipway.store.artifact_links import Aliases, ArtifactLinks, Manifests
from shipway.store.artifacts import ArtifactPurges, Artifacts, Collections
from shipway.store.blobs import Blobs
from shipway.store.clock import LeaseClock
from shipway.store.events import Events
from shipway.store.items import Items
from shipway.store.leases import Leases
from shipway.store.logs import Logs
from shipway.store.queues import Queues
from shipway.store.references import References
from shipway.store.runs import Runs
from shipway.store.session import Session
from shipway.store.streams import Consoles, Streams
from shipway.store.sweeps import SweepAgents, SweepMembers, SweepRuns, Sweeps
from shipway.store.tombstones import Tombstones
from shipway.store.tracked_runs import TrackedRuns


class Transaction:
    """The port `Tx`; made once for a connection and used for each of its transactions in turn."""

    def __init__(self, session: Session) -> None:
        self.items = Items(session)
        self.leases = Leases(session)
        self.events = Events(session)
        self.queues = Queues(session)
        self.runs = Runs(session)
        self.tracked = TrackedRuns(session)
        self.streams = Streams(session)
        self.consoles = Consoles(session)
        self.logs = Logs(session)
        self.agents = Agents(session)
        self.actors = Actors(session)
        self.sessions = Sessions(session)
        self.collections = Collections(session)
        self.artifacts = Artifacts(session)
        self.aliases = Aliases(session)
        self.manifests = Manifests(session)
        self.artifact_links = ArtifactLinks(session)
        self.artifact_purges = ArtifactPurges(session)
        self.sweeps = Sweeps(session)
        self.sweep_agents = SweepAgents(session)
        self.sweep_runs = SweepRuns(session)
        self.sweep_members = SweepMembers(session)
        self.blobs = Blobs(session)
        self.tombstones = Tombstones(session)
        self.references = References(session)
        self.clock = LeaseClock(session)
