"""The suite that every store must pass, on each kind of database."""

from __future__ import annotations

from shipway.testing.store_artifacts_suite import ArtifactSuite
from shipway.testing.store_records_suite import (
    ActorSuite,
    AgentSuite,
    BlobSuite,
    LogSuite,
    QueueSuite,
    RunSuite,
)
from shipway.testing.store_streams_suite import StreamSuite, TrackedRunSuite
from shipway.testing.store_suite import EventSuite, ItemSuite, LeaseSuite
from shipway.testing.store_sweeps_suite import SweepSuite


class TestItems(ItemSuite):
    pass


class TestLeases(LeaseSuite):
    pass


class TestEvents(EventSuite):
    pass


class TestQueues(QueueSuite):
    pass


class TestRuns(RunSuite):
    pass


class TestTrackedRuns(TrackedRunSuite):
    pass


class TestStreams(StreamSuite):
    pass


class TestLogs(LogSuite):
    pass


class TestAgents(AgentSuite):
    pass


class TestActors(ActorSuite):
    pass


class TestArtifacts(ArtifactSuite):
    pass


class TestBlobs(BlobSuite):
    pass


class TestSweeps(SweepSuite):
    pass
