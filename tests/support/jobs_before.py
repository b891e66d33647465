"""Jobs as schema 5 kept them, and what must be there of them since."""

from __future__ import annotations

from shipway.domain.actor import Actor, Role
from shipway.domain.ids import KeyId, UserName
from shipway.domain.job import Job, JobKind
from shipway.service.jobs import Jobs
from shipway.service.ports import Store
from shipway.testing.clock import ManualClock

ROWS = """
INSERT INTO artifact_collections (
    entity, entity_folded, project, project_folded, name, type, tags, version_count, created_at,
    created_by
) VALUES ('Ada', 'ada', 'demo', 'demo', 'taken', 'dataset', '[]', 1, 1, 'ada');
INSERT INTO artifacts (
    collection_seq, state, digest, version, tags, wanted, created_at, updated_at, manifest, contents
) VALUES (1, 'committed', 'd', 0, '[]', '[]', 1, 1, 'm', 'c');
INSERT INTO artifact_aliases VALUES (1, 'latest', 1);
INSERT INTO jobs VALUES (
    'Ada', 'ada', 'Demo', 'demo', 'train', 'train', 0, 'git', '{"kind":"git"}', NULL, '[]', '{}',
    NULL, '{}', NULL, '', 'ada', 7
), (
    'Ada', 'ada', 'Demo', 'demo', 'Train', 'train', 1, 'code', '{"kind":"capsule"}', '["a.py"]',
    '["--x"]', '{"a":Infinity}', 'slurm', '{"slurm":{}}', '3.1"2', 'said', 'bob', 8
), (
    'Ada', 'ada', 'Demo', 'demo', 'taken', 'taken', 0, 'image', '{"kind":"image"}', NULL, '[]',
    '{}', NULL, '{}', NULL, '', 'ada', 9
);
INSERT INTO job_aliases VALUES
('ada', 'demo', 'train', 'best', 0),
('ada', 'demo', 'train', 'latest', 1),
('ada', 'demo', 'taken', 'latest', 0);
"""
NUMBER = 5  # the last schema that kept them so
_ADA = Actor(user=UserName("ada"), role=Role.MEMBER, entity="ada", key_id=KeyId("k"))


def check_moved(store: Store) -> None:
    """Assert that each version and alias is there, with all that was said, and that it goes on."""
    jobs = Jobs(clock=ManualClock())
    with store.read() as tx:
        newest = jobs.get(tx, _ADA, "ada/demo/Train:latest")
        assert newest == Job(
            entity="Ada", project="Demo", name="Train", version=1, aliases=("latest",),
            kind=JobKind.CODE, source={"kind": "capsule"}, entry_point=("a.py",), args=("--x",),
            run_config={"a": float("inf")}, resource="slurm", resource_args={"slurm": {}},
            python='3.1"2', description="said", created_by="bob", created_at=8,
        )  # fmt: skip
        first = jobs.get(tx, _ADA, "ada/demo/Train:best")
        assert (first.version, first.kind, first.entry_point) == (0, JobKind.GIT, None)
        found = jobs.find(tx, _ADA, entity=None, project=None)
        assert [job.name for job in found] == ["Train", "taken-job-of-shipway"]
        kept = tx.collections.named("ada", "demo", "taken")
        assert kept is not None
        assert tx.aliases.get(kept.seq, "latest") == 1
    said = {"name": "Train", "project": "demo", "kind": "image"}
    made = store.write(
        lambda tx: jobs.create(tx, _ADA, {**said, "source": {"kind": "image", "image": "a"}})
    )
    assert made.result(30).version == 2
