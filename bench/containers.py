"""Containers through shipway, beside the bare engine's own command line, on both engines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

from bench.measure import Result, at_most
from shipway import launch_add
from tests.support.embedded import Embedded, embedded
from tests.support.engines import BASE, ENGINES, TestEngine, an_engine

EXTRA_MS = 50.0  # that a run through a queue may cost beside its share
SHARE = 1.15
END_S = 60.0
PROGRAM = ("python3", "-c", "import time; print(time.time_ns(), flush=True)")


def containers(*, times: int) -> list[Result]:
    """Run one command in a container, by us and by the bare engine, in turn."""
    return [row for name in ENGINES for row in _on(name, times=times)]


def _on(name: str, *, times: int) -> list[Result]:
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with an_engine(name) as lent, _site(lent):
        for number in range(times + 1):
            pair = (_launch(), _bare(lent))
            if number:  # the first round starts the supervisor, and looks the image up
                ours.append(pair[0])
                theirs.append(pair[1])
    firsts, ends = ([one[i] for one in ours] for i in (0, 1))
    bare_firsts, bare_ends = ([one[i] for one in theirs] for i in (0, 1))
    note = f"less {EXTRA_MS:g} ms that are allowed"

    def row(what: str, mine: list[float], other: list[float]) -> Result:
        said = f"launch_add to {what} on {name}, beside {name} run --rm"
        spent = [one - EXTRA_MS for one in mine]
        return at_most("containers", said, SHARE, ours=spent, theirs=other, notes=note)

    return [
        row("the end of a container", ends, bare_ends),
        row("a container's first line", firsts, bare_firsts),
    ]


def _launch() -> tuple[float, float]:
    """Return ms to the program's first line, and to the return of the wait."""
    begin = time.time_ns()
    item = launch_add(docker_image=BASE, entry_point=list(PROGRAM))
    run = item.wait_until_finished(timeout=END_S)
    end = time.time_ns()
    assert run.state == "finished", item.error
    first = int(str(next(iter(item.logs()))))
    return (first - begin) / 1e6, (end - begin) / 1e6


def _bare(lent: TestEngine) -> tuple[float, float]:
    begin = time.time_ns()
    words = ["run", "--rm", "--network=host", "--pull=never", BASE, *PROGRAM]
    done = subprocess.run([lent.program, *words], env=lent.env, capture_output=True, check=True)
    end = time.time_ns()
    return (int(done.stdout) - begin) / 1e6, (end - begin) / 1e6


@contextlib.contextmanager
def _site(lent: TestEngine) -> Iterator[Embedded]:
    """Run an embedded shipway whose agent finds that engine, and let `launch_add` find it."""
    with embedded(**lent.env) as made:
        made.configure_agent(max_jobs=2)
        made.up()
        before = os.environ.get("SHIPWAY_HOME")
        os.environ["SHIPWAY_HOME"] = str(made.home)
        try:
            yield made
        finally:
            os.environ.pop("SHIPWAY_HOME")
            if before is not None:
                os.environ["SHIPWAY_HOME"] = before
