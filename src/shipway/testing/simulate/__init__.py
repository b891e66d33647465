"""Simulates servers, agents, supervisors and clients in virtual time, and what goes wrong."""

from __future__ import annotations

from shipway.testing.simulate.plan import Plan, plan_of
from shipway.testing.simulate.scenario import SCENARIOS
from shipway.testing.simulate.shrink import shrink
from shipway.testing.simulate.simulation import Result, simulate, simulate_plan
from shipway.testing.simulate.trace import trace
from shipway.testing.simulate.verdict import Verdict, Wrong

__all__ = [
    "SCENARIOS",
    "Plan",
    "Result",
    "Verdict",
    "Wrong",
    "plan_of",
    "shrink",
    "simulate",
    "simulate_plan",
    "trace",
]
