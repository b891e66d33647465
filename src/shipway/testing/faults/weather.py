"""Decides what becomes of each exchange on a bad network, from a seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

LONGEST_DELAY_S = 0.3


class Fault(StrEnum):
    """What a network does to one request and its answer."""

    NONE = "none"  # both get through
    DELAY = "delay"  # the request, then the answer, come late
    REORDER = "reorder"  # the request waits until one of another connection was answered
    RESET_REQUEST = "reset request"  # the connection breaks at a byte of the request
    RESET_ANSWER = "reset answer"  # the request is done, and it breaks at a byte of the answer
    DROP = "drop"  # the request is done, and nothing of its answer comes
    TRUNCATE = "truncate"  # the answer ends early, in good order
    DUPLICATE = "duplicate"  # the request is done twice, one after the other
    RACE = "race"  # the request is done twice at once


EVERY = tuple(fault for fault in Fault if fault is not Fault.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one exchange."""

    fault: Fault
    place: float  # how far into the bytes, from 0 to 1
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad a network is."""

    seed: int
    rate: float  # of exchanges that something happens to
    faults: tuple[Fault, ...] = EVERY

    def fate(self, connection: int, exchange: int) -> Fate:
        """Return what becomes of the nth exchange on a connection."""
        chance = Random(f"{self.seed} {connection} {exchange}")
        fault = chance.choice(self.faults) if chance.random() < self.rate else Fault.NONE
        return Fate(
            fault=fault, place=chance.random(), delay_s=chance.random() * LONGEST_DELAY_S
        )  # fmt: skip
