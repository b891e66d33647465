"""A client: it adds items and does things to them, again and again until it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shipway.client.wire import READ_TIMEOUT_S
from shipway.domain.errors import Code, ShipwayError
from shipway.testing.simulate.history import History, What
from shipway.testing.simulate.network import Answer
from shipway.testing.simulate.node import Node
from shipway.testing.simulate.plan import Act, Deed, Task

AGAIN_MS = (50.0, 1_000.0)
TRIES = 12
WAIT_S = 5.0
LOOK_MS = 200.0  # until an item that is not there yet is looked for again

Post = Callable[[Node, str, dict[str, Any], float, Answer], None]
_PASSING = frozenset(
    {Code.UNREACHABLE, Code.TIMEOUT, Code.OVERLOADED, Code.UNKNOWN_OUTCOME, Code.STORAGE_FULL}
)


class Client:
    """Everything that people do in one history."""

    def __init__(self, node: Node, history: History, post: Post) -> None:
        self.node = node
        self._history = history
        self._post = post
        self._items: dict[int, str] = {}
        self._given_up: set[int] = set()
        self.open = 0  # operations that are not over

    def add(self, task: Task) -> None:
        """Add an item at its time."""
        key = f"key-{task.number}"
        body = {"draft": _draft(task), "key": key}
        self.open += 1

        def done(value: Any) -> None:
            if value is None:
                self._given_up.add(task.number)
                return
            self._items.setdefault(task.number, value["id"])
            if task.is_repeated:
                self.open += 1
                self.node.after(
                    self.node.kernel.between(*AGAIN_MS),
                    lambda: self._do("add", body, lambda _: None, key=key),
                )

        self.node.after(task.at, lambda: self._do("add", body, done, key=key))

    def act(self, act: Act) -> None:
        """Do something to an item once it is there."""
        self.open += 1
        self.node.after(act.at, lambda: self._act(act))

    def _act(self, act: Act) -> None:
        item = self._items.get(act.task)
        if item is None:
            if act.task in self._given_up:
                self.open -= 1
            else:
                self.node.after(LOOK_MS, lambda: self._act(act))
            return
        body: dict[str, Any] = {"item": item}
        if act.deed is Deed.STOP:
            body["grace_s"] = act.grace_s
        elif act.deed is Deed.PRIORITY:
            body["priority"] = 1
        elif act.deed is Deed.WAIT:
            body["timeout_s"] = WAIT_S
        elif act.deed is Deed.RETRY:
            body["key"] = f"retry-{act.task}-{act.at:.3f}"
        self._do(act.deed.value, body, lambda _: None, item=item, key=body.get("key", ""))

    def _do(
        self, route: str, body: dict[str, Any], done: Callable[[Any], None], *, item: str = "",
        key: str = "",
    ) -> None:  # fmt: skip
        """Send a request until it is answered or patience ends."""
        self._history.note(self.node.name, What.INVOKE, item, op=route, key=key)
        timeout_ms = (READ_TIMEOUT_S + body.get("timeout_s", 0)) * 1000
        tries = 0

        def send() -> None:
            nonlocal tries
            tries += 1
            self._post(self.node, route, body, timeout_ms, hear)

        def hear(value: Any, error: ShipwayError | None) -> None:
            note, who = self._history.note, self.node.name
            if error is None:
                self.open -= 1
                state = value["state"]
                note(who, What.OK, value["id"], op=route, key=key, of=item, state=state)
                done(value)
            elif error.code not in _PASSING:
                self.open -= 1
                note(who, What.FAIL, item, op=route, key=key, code=error.code.value)
                done(None)
            elif tries < TRIES:
                self.node.after(self.node.kernel.between(*AGAIN_MS), send)
            else:
                self.open -= 1
                note(who, What.UNKNOWN, item, op=route, key=key)
                done(None)

        send()


def _draft(task: Task) -> dict[str, Any]:
    commit = f"{task.source + 1:x}" * 40
    return {
        "source": {
            "kind": "git", "url": "https://example.org/a.git", "commit": commit, "ref": "main"
        },
        "queue": task.queue,
        "resource": "local-process",
        "entry_point": ["program", str(task.number)],
        "resource_args": {"local-process": {"grace_s": task.grace_s}},
    }  # fmt: skip
