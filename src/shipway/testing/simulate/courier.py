"""Turns the calls that an agent makes into simulated requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from shipway.agent.courier import Call, Courier, Reply
from shipway.client.wire import READ_TIMEOUT_S
from shipway.testing.simulate.network import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A request as its sender wrote it."""

    route: str
    body: dict[str, Any]
    wait_s: float = 0

    @property
    def timeout_ms(self) -> float:
        """Return how long its sender waits for an answer."""
        return (READ_TIMEOUT_S + self.wait_s) * 1000


Post = Callable[[Letter, Answer], None]


class Drafts:
    """The port `Transport`, whose calls return letters: whoever calls has them sent."""

    @property
    def leases(self) -> Drafts:
        """Return the calls about leases."""
        return self

    @property
    def agents(self) -> Drafts:
        """Return the calls about agents."""
        return self

    def lease(self, ask: Mapping[str, Any], *, wait_s: float = 0, patience_s: float = 0) -> Letter:  # noqa: ARG002 - the port's signature
        """Write a call for work."""
        return Letter(route="lease", body={**ask, "wait_s": wait_s}, wait_s=wait_s)

    def renew(
        self, agent: str, held: Sequence[Mapping[str, str]], *, patience_s: float = 0  # noqa: ARG002 - the port's signature
    ) -> Letter:  # fmt: skip
        """Write a renewal."""
        return Letter(route="renew", body={"agent": agent, "leases": list(held)})

    def pin(self, item_id: str, *, token: str, lock: str) -> Letter:
        """Write down which lock an item's environment came from."""
        return Letter(route="pin", body={"item": item_id, "token": token, "lock": lock})

    def register(self, agent: Mapping[str, Any]) -> Letter:
        """Write a registration."""
        return Letter(route="register", body={"agent": dict(agent)})


class SimulatedCourier(Courier):
    """Carries an agent's calls over a simulated network, on no thread."""

    def __init__(
        self, way: str, *, emit: Callable[[Reply], None], boot_ms: Callable[[], int], post: Post
    ) -> None:
        super().__init__(way, emit=emit, boot_ms=boot_ms)
        self._post = post

    def send(self, call: Call, cargo: Any) -> None:
        """Make a call; its reply is emitted."""
        assert not self.is_busy
        self.is_busy = True
        letter = cast(Letter, call())
        sent_at = self._boot_ms()

        def answer(value: Any, error: Any) -> None:
            self._emit(
                Reply(
                    way=self.way,
                    sent_at=sent_at,
                    at=self._boot_ms(),
                    cargo=cargo,
                    answer=value,
                    error=error,
                )
            )

        self._post(letter, answer)
