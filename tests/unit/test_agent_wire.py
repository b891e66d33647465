"""What the server answers, as the agent's events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shipway.agent.effects import Mark, Record
from shipway.agent.events import Leased
from shipway.agent.journal import Journal
from shipway.agent.lease import Lease, write_lease
from shipway.agent.wire import SPECS, Specs, leased


def an_answer(*runs: str, args: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "leases": [
            {
                "item": f"item-{run}",
                "attempt": 1,
                "token": "t",
                "job_key": "sw_j",
                "term_ms": 30_000,
                "item_json": {
                    "resource": "local-process",
                    "run_id": run,
                    "spec": {"args": list(args), "run_id": run},
                },
            }
            for run in runs
        ]
    }


def read(answer: dict[str, Any], specs: Specs) -> tuple[Lease, ...]:
    (event,) = leased(answer, specs, grace_s=10.0, sent_at=1, at=2)
    assert isinstance(event, Leased)
    return event.leases


def test_equal_specs_are_one_object_also_across_answers() -> None:
    specs = Specs()
    first, second = read(an_answer("a", "b"), specs)
    (third,) = read(an_answer("c"), specs)
    (other,) = read(an_answer("d", args=("x",)), specs)
    assert first.spec is second.spec is third.spec
    assert other.spec == {"args": ["x"]}
    assert [lease.facts["run_id"] for lease in (first, second, third)] == ["a", "b", "c"]


def test_no_more_than_a_few_specs_are_remembered() -> None:
    specs = Specs()
    (first,) = read(an_answer("a"), specs)
    for number in range(SPECS):
        read(an_answer("b", args=(str(number),)), specs)
    (again,) = read(an_answer("c"), specs)
    assert again.spec == first.spec
    assert again.spec is not first.spec


def test_leases_with_a_shared_spec_are_found_again_whole(tmp_path: Path) -> None:
    leases = read(an_answer("a", "b"), Specs())
    journal = Journal(tmp_path / "journal", boot_id="boot")
    journal.open()
    journal.write([Record(mark=Mark.LEASE, key=one.key, lease=one, at=7) for one in leases])
    journal.close()
    kept = Journal(tmp_path / "journal", boot_id="boot").open()
    assert [write_lease(one.lease) for one in kept] == [write_lease(one) for one in leases]
