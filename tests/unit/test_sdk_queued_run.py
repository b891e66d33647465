"""The handle never hangs: what ends a wait, and with which error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shipway.domain.errors import Code, LaunchError, NotFound, ShipwayError
from shipway.sdk.connection import Connection
from shipway.sdk.line import AWAY_LIMIT_S, Line
from shipway.sdk.queued_run import QueuedRun
from shipway.sdk.run import Run
from shipway.sdk.settings import Settings

Step = dict[str, Any] | ShipwayError
UNREACHABLE = ShipwayError("no answer from http://x", code=Code.UNREACHABLE)


def item(state: str, **more: Any) -> dict[str, Any]:
    started = 5 if state in {"running", "finished"} else None
    return {
        "id": "i1", "queue": "default", "project_queue": "model-registry", "entity": "ada",
        "project": "demo", "run_id": "r1", "priority": "medium", "state": state, "attempt": 1,
        "error": None, "started_at": started, "deleted_at": None, "url": "http://x/items/i1",
    } | more  # fmt: skip


def failure(stage: str) -> dict[str, Any]:
    return {
        "stage": stage, "failure_class": "build", "reason": "no version of torch fits",
        "exit_code": None, "signal": None, "log_tail": ["a", "b"], "remedy": "read the build log",
    }  # fmt: skip


class FakeServer:
    """Items and runs as a script has them; the last step stays."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.now = 0.0
        self.asked: list[tuple[str, Any]] = []
        self.items = self
        self.runs = self

    def _next(self) -> dict[str, Any]:
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, ShipwayError):
            raise step
        return step

    def wait(self, item_id: str, *, until: str, timeout_s: float, **_: Any) -> dict[str, Any]:
        self.asked.append((until, timeout_s))
        found = self._next()
        self.now += timeout_s
        return found

    def get(self, *path: str) -> dict[str, Any]:
        if len(path) == 1:
            return self._next()
        return {
            "id": path[2], "entity": path[0], "project": path[1], "state": "finished",
            "exit_code": 0, "config": {"a": 1}, "summary": {}, "name": None, "item_id": "i1",
            "url": "http://x/ada/demo/runs/r1",
        }  # fmt: skip

    def stop(self, item_id: str, *, grace_s: float | None) -> dict[str, Any]:
        self.asked.append(("stop", grace_s))
        return item("running")

    def retry(self, item_id: str, *, idempotency_key: str) -> dict[str, Any]:
        self.asked.append(("retry", idempotency_key))
        return item("pending", id="i2")

    def explain(self, item_id: str) -> dict[str, Any]:
        reasons = [{"code": "ahead", "text": "2 are ahead"}]
        return {"sentence": "It waits.", "reasons": reasons, "position": 3, "ahead": 2}

    def events(self, item_id: str) -> list[dict[str, Any]]:
        return [
            {
                "seq": 1,
                "event": "enqueue",
                "state": "pending",
                "attempt": 0,
                "actor": "ada",
                "at": 1,
            }
        ]

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def a_handle(*steps: Step) -> tuple[QueuedRun, FakeServer]:
    server = FakeServer(*steps)
    client: Any = server
    connection = Connection(client=client, settings=Settings(), home=None)
    line = Line(connection, clock=server.clock, sleep=server.sleep)
    return QueuedRun(line, item("pending", attempt=0)), server


WAITS: list[Callable[[QueuedRun], Run]] = [
    QueuedRun.wait_until_started,
    QueuedRun.wait_until_running,
    QueuedRun.wait_until_finished,
]


@pytest.mark.parametrize("wait", WAITS)
def test_a_failure_before_the_start_gate_ends_every_wait(wait: Callable[[QueuedRun], Run]) -> None:
    handle, _ = a_handle(item("pending"), item("failed", error=failure("build")))
    with pytest.raises(LaunchError, match="no version of torch fits") as caught:
        wait(handle)
    error = caught.value
    assert error.code is Code.FAILED
    assert (error.stage, error.failure_class, error.exit_code) == ("build", "build", None)
    assert error.log_tail == ["a", "b"]
    assert "read the build log" in error.message


def test_the_builders_words_are_told_once() -> None:
    words = "Because you require\n  six==1 and six==2, it fails."
    tail = ["Resolving", "Because you require", "  six==1 and six==2, it fails."]
    told = {**failure("build"), "reason": f"it does not resolve:\n{words}", "log_tail": tail}
    handle, _ = a_handle(item("failed", error=told))
    with pytest.raises(LaunchError) as caught:
        handle.wait_until_finished()
    assert caught.value.message.count("six==1 and six==2") == 1
    assert caught.value.log_tail == tail


@pytest.mark.parametrize("wait", WAITS)
def test_a_stop_before_the_start_gate_ends_every_wait(wait: Callable[[QueuedRun], Run]) -> None:
    handle, _ = a_handle(item("stopped", stop_requested_by="eve"))
    with pytest.raises(LaunchError, match="by eve") as caught:
        wait(handle)
    assert caught.value.code is Code.STOPPED


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(
    "step",
    [
        item("pending", deleted_at=9),
        item("finished", deleted_at=9),
        ShipwayError("gone", code=Code.DELETED),
    ],
)
def test_a_deleted_item_ends_every_wait(wait: Callable[[QueuedRun], Run], step: Step) -> None:
    handle, _ = a_handle(step)
    with pytest.raises(LaunchError) as caught:
        wait(handle)
    assert caught.value.code is Code.DELETED


@pytest.mark.parametrize(
    "end",
    [
        item("finished"),
        item("failed", started_at=5, error=failure("run")),
        item("stopped", started_at=5),
        item("failed", error=failure("run")),
    ],
)
def test_an_end_after_the_start_gate_returns_the_run(end: dict[str, Any]) -> None:
    handle, _ = a_handle(item("pending"), item("running"), end)
    run = handle.wait_until_finished()
    assert (run.id, run.state, run.exit_code, run.config) == ("r1", "finished", 0, {"a": 1})


def test_a_started_program_ends_the_wait_for_its_start() -> None:
    handle, server = a_handle(item("running"))
    assert handle.wait_until_started().path == "ada/demo/r1"
    assert server.asked == [("started", 20.0)]


def test_a_run_that_started_before_a_requeue_has_come_to_be() -> None:
    handle, _ = a_handle(item("pending", attempt=1, started_at=5))
    assert handle.wait_until_started().id == "r1"


@pytest.mark.parametrize("wait", WAITS)
def test_a_timeout_ends_every_wait(wait: Callable[..., Run]) -> None:
    handle, server = a_handle(item("pending"))
    with pytest.raises(TimeoutError, match="within 30 s: it is pending"):
        wait(handle, timeout=30)
    assert server.now == pytest.approx(30, abs=1)


def test_a_timeout_of_zero_looks_once() -> None:
    handle, server = a_handle(item("pending"))
    with pytest.raises(TimeoutError):
        handle.wait_until_finished(timeout=0)
    assert len(server.asked) == 1


def test_a_wait_outlives_a_restart_of_the_server() -> None:
    handle, server = a_handle(*[UNREACHABLE] * 10, item("finished"))
    assert handle.wait_until_finished().state == "finished"
    assert server.now < AWAY_LIMIT_S


def test_a_server_that_stays_away_ends_the_wait_naming_it() -> None:
    handle, server = a_handle(UNREACHABLE)
    with pytest.raises(LaunchError, match="http://x") as caught:
        handle.wait_until_finished()
    assert caught.value.code is Code.UNREACHABLE
    assert AWAY_LIMIT_S <= server.now < AWAY_LIMIT_S + 30


def test_a_timeout_ends_the_wait_for_an_away_server() -> None:
    handle, server = a_handle(UNREACHABLE)
    with pytest.raises(TimeoutError):
        handle.wait_until_finished(timeout=5)
    assert server.now == pytest.approx(5, abs=0.5)


def test_an_unknown_item_ends_the_wait() -> None:
    handle, _ = a_handle(NotFound("no item 'i1'"))
    with pytest.raises(LaunchError) as caught:
        handle.wait_until_finished()
    assert caught.value.code is Code.NOT_FOUND


def test_state_and_error_are_asked_for_each_time() -> None:
    handle, _ = a_handle(item("leased"), item("failed", error=failure("source")))
    assert handle.state == "leased"
    error = handle.error
    assert error is not None
    assert (error.stage, error.reason) == ("source", "no version of torch fits")
    assert error.log_tail == ("a", "b")


def test_a_handle_without_an_attempt_has_no_run() -> None:
    handle, _ = a_handle(item("pending", attempt=0))
    assert handle.run is None
    assert handle.error is None


def test_cancel_passes_the_grace_on() -> None:
    handle, server = a_handle(item("running"))
    handle.cancel(grace=3)
    assert server.asked == [("stop", 3)]


def test_a_retry_is_a_new_handle_with_a_key_of_its_own() -> None:
    handle, server = a_handle(item("failed"))
    again, _ = handle.retry(), handle.retry()
    keys = [key for _, key in server.asked]
    assert again.id == "i2"
    assert len(set(keys)) == 2


def test_an_explanation_reads_as_its_sentence() -> None:
    handle, _ = a_handle(item("pending"))
    found = handle.explain()
    assert str(found) == "It waits."
    assert (found.position, found.ahead, found.reasons) == (3, 2, (("ahead", "2 are ahead"),))


def test_events_come_oldest_first() -> None:
    handle, _ = a_handle(item("pending"))
    assert [(event.event, event.actor) for event in handle.events()] == [("enqueue", "ada")]


def test_a_handle_shows_its_queue_and_id() -> None:
    handle, _ = a_handle(item("pending"))
    assert repr(handle) == "<QueuedRun default (i1)>"
    assert (handle.queue_name, handle.entity, handle.project, handle.run_id) == (
        "default", "ada", "demo", "r1",
    )  # fmt: skip
