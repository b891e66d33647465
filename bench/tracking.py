"""P12: what the unmodified wandb client costs the server: one operation, one row of many runs."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from bench.adds import CONNECTIONS, Took, send
from bench.lines import Caller
from bench.measure import Result, within
from bench.server import Server, serving

OPERATIONS = 3_000  # in one repetition
RUNS = 100
ROWS = 100  # of one request, as a client sends them every 15 s
REQUESTS = 5  # of each run
UNKEPT = ("shipway.server.graphql.documents:KEPT_LIMIT=0",)  # every document is parsed anew
KNOWN = """
query Viewer { viewer { id entity username email flags teams { edges { node { name } } } } }
"""
UPSERT = """
mutation UpsertBucket($name: String, $project: String, $config: JSONString, $host: String) {
  upsertBucket(input: {name: $name, modelName: $project, config: $config, host: $host}) {
    bucket { id name displayName config historyLineCount project { name entity { name } } } inserted
  }
}
"""


def p12(*, times: int) -> list[Result]:
    """The server's CPU for a known document, for a run's start, and for a row of 100 runs."""
    with (
        tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder,
        serving(Path(folder, "ours")) as server,
        serving(Path(folder, "anew"), altered=UNKEPT) as anew,
    ):
        _ask(server)
        known = [_ask(server) for _ in range(times)]
        parsed = statistics.median(_us(_ask(anew)) for _ in range(times))
        begun = [_begin(server, number) for number in range(times)]
        rows = [_log(server, number) for number in range(times)]
    rate = statistics.median(took.count / took.seconds for took in rows)
    return [
        within(
            "P12", f"server CPU of a known GraphQL document at {CONNECTIONS} connections", 150,
            values=[_us(one) for one in known], unit="us", notes=f"{parsed:.0f} us if not known",
        ),
        within(
            "P12", "server CPU of a run's first UpsertBucket", 1_500,
            values=[_us(one) for one in begun], unit="us",
        ),
        within(
            "P12", f"server CPU of a row of {RUNS} runs that log at once", 50,
            values=[_us(one) for one in rows], unit="us", notes=f"{rate:.0f} rows/s",
        ),
    ]  # fmt: skip


def _us(took: Took) -> float:
    return took.cpu_s / took.count * 1e6


def _ask(server: Server) -> Took:
    request = Caller(server).post("/graphql", {"query": KNOWN}, root="")
    return send(server, [request] * OPERATIONS, CONNECTIONS)


def _begin(server: Server, number: int) -> Took:
    caller = Caller(server)
    config = json.dumps({"lr": {"value": 0.1}, "_wandb": {"value": {"cli_version": "0.20.1"}}})
    variables = [
        {"name": f"r{number}-{run}", "project": "bench", "config": config, "host": "h"}
        for run in range(RUNS)
    ]
    requests = [
        caller.post("/graphql", {"query": UPSERT, "variables": one}, root="") for one in variables
    ]
    return send(server, requests, CONNECTIONS)


def _log(server: Server, number: int) -> Took:
    """Let the runs that began send their rows; each run's requests are in order."""
    caller = Caller(server)
    requests = [
        caller.post(
            f"/files/admin/bench/r{number}-{run}/file_stream",
            {"files": {"wandb-history.jsonl": {"offset": at, "content": _rows(at)}}},
            root="",
        )
        for at in range(0, ROWS * REQUESTS, ROWS)
        for run in range(RUNS)
    ]
    took = send(server, requests, CONNECTIONS)
    return Took(seconds=took.seconds, cpu_s=took.cpu_s, count=ROWS * REQUESTS * RUNS)


def _rows(start: int) -> list[str]:
    return [
        json.dumps({
            "loss": 1 / (step + 1), "accuracy": step / 1e3, "lr": 1e-3, "epoch": step // 100,
            "_step": step, "_runtime": step * 0.1, "_timestamp": time.time(),
        })
        for step in range(start, start + ROWS)
    ]  # fmt: skip
