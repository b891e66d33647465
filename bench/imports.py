"""P11: what the SDK and the command line cost before they do anything."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.measure import Result, within
from bench.stack import Stack

BARE = [sys.executable, "-c", "pass"]
SHIPWAY = str(Path(sys.executable).with_name("shipway"))


def p11(stack: Stack, *, times: int) -> list[Result]:
    """Import, help, first byte and launch, each beside bare Python in turn."""
    env = {**os.environ, "SHIPWAY_HOME": str(stack.home)}
    imported = [sys.executable, "-c", "import shipway"]
    parked = {"name": "parked", "resource": "local-container"}  # nobody takes from it
    stack.client.queues.create(parked)
    launch = [SHIPWAY, "launch", "-d", "image:1", "-q", "parked", "--json"]
    bare, ours = _in_turn(times, lambda: _wall(BARE, env), lambda: _wall(imported, env))
    bare2, help_ = _in_turn(
        times, lambda: _wall(BARE, env), lambda: _wall([SHIPWAY, "--help"], env)
    )
    bare3, first = _in_turn(times, lambda: _wall(BARE, env), lambda: _first_byte(env))
    bare4, launched = _in_turn(times, lambda: _wall(BARE, env), lambda: _wall(launch, env))
    return [
        within(
            "P11", "import shipway, over bare Python", 60, values=_over(ours, bare), theirs=bare
        ),
        within("P11", "shipway --help", 150, values=help_, theirs=bare2),
        within(
            "P11", "launch_add to the first byte sent, over bare Python", 80,
            values=_over(first, bare3), theirs=bare3,
        ),
        within(
            "P11", "shipway launch against a running server", 120, values=launched, theirs=bare4
        ),
    ]  # fmt: skip


def _in_turn(
    times: int, a: Callable[[], float], b: Callable[[], float]
) -> tuple[list[float], list[float]]:
    a()
    b()
    pairs = [(a(), b()) for _ in range(times)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _over(ours: Sequence[float], bare: Sequence[float]) -> list[float]:
    return [mine - other for mine, other in zip(ours, bare, strict=True)]


def _wall(argv: list[str], env: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(argv, env=env, check=True, capture_output=True)
    return (time.perf_counter() - begin) * 1000


def _first_byte(env: dict[str, str]) -> float:
    """Return ms from a process's start to the first byte that it sends to a server."""
    program = "import shipway; shipway.launch_add(docker_image='image:1')"
    with socket.create_server(("127.0.0.1", 0)) as server:
        arrived: list[float] = []

        def take() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                arrived.append(time.perf_counter())

        thread = threading.Thread(target=take)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        env = {**env, "SHIPWAY_BASE_URL": url, "SHIPWAY_API_KEY": "sw_bench-" + "0" * 40}
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=env, stderr=subprocess.DEVNULL
        )
        thread.join(30)
        process.kill()
        process.wait()
        return (arrived[0] - begin) * 1000
