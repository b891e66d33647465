"""`shipway agents`: lists, drains and stops agents."""

from __future__ import annotations

import time
from typing import Any

import click

from shipway.cli.connection import connect
from shipway.cli.output import ago, as_json, emit, emit_list, fields, say, table
from shipway.domain.agent import SILENT_AFTER_MS, AgentState

COLUMNS = {
    "id": "id",
    "hostname": "host",
    "user": "user",
    "version": "version",
    "state": "state",
    "queues": "queues",
    "resources": "resources",
    "used": "slots",
    "seen": "seen",
}
FIELDS = {
    "id": "agent",
    "hostname": "host",
    "user": "user",
    "version": "version",
    "state": "state",
    "queues": "queues",
    "resources": "resources",
    "run_as": "runs as",
    "used": "slots",
    "items": "items",
    "seen": "seen",
}


@click.group()
def agents() -> None:
    """List, drain and stop agents."""


@agents.command("ls")
@as_json
def list_agents(*, is_json: bool) -> None:
    """List the agents of the queues that you may see."""
    rows = connect().agents.find()
    if is_json:
        emit_list(rows)
    else:
        table([readable(row) for row in rows], COLUMNS, empty="no agents")


@agents.command("show")
@click.argument("agent")
@as_json
def show(*, agent: str, is_json: bool) -> None:
    """Show what an agent has told of itself."""
    found = connect().agents.get(agent)
    if is_json:
        emit(found)
    else:
        fields(readable(found), FIELDS)


@agents.command("drain")
@click.argument("agent")
@click.option("--undo", is_flag=True, help="Let it take work again.")
@as_json
def drain(*, agent: str, undo: bool, is_json: bool) -> None:
    """Let an agent finish what it has and take nothing new."""
    routes = connect().agents
    changed = routes.resume(agent) if undo else routes.drain(agent)
    _answer(changed, f"agent {agent} {'takes work again' if undo else 'drains'}", is_json=is_json)


@agents.command("stop")
@click.argument("agent")
@as_json
def stop(*, agent: str, is_json: bool) -> None:
    """Ask an agent to end; its programs go on and are found again by the next one."""
    _answer(connect().agents.stop(agent), f"agent {agent} was asked to end", is_json=is_json)


def readable(agent: dict[str, Any]) -> dict[str, Any]:
    """Return an agent as tables show it."""
    slots = agent.get("slots", 0)
    state, now = agent.get("state"), time.time_ns() // 1_000_000
    is_silent = state != AgentState.GONE and now - agent.get("seen_at", now) >= SILENT_AFTER_MS
    return {
        **agent,
        "state": f"{state}, silent" if is_silent else state,
        "used": f"{agent.get('used_slots', 0)} of {'any' if slots == -1 else slots}",
        "seen": ago(agent.get("seen_at"), now) + " ago",
    }


def _answer(found: dict[str, Any], sentence: str, *, is_json: bool) -> None:
    if is_json:
        emit(found)
    else:
        say(sentence)
