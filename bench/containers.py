"""Containers through shipway, beside the bare engine's own command line, on both engines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Result, at_most, interleave
from shipway import launch_add
from shipway.builders.container import ContainerBuilder
from shipway.plugins.image_builder import ImageRequest
from tests.support.embedded import Embedded, embedded
from tests.support.engines import BASE, ENGINES, TestEngine, an_engine

EXTRA_MS = 50.0  # that a run through a queue may cost beside its share
SHARE = 1.15
END_S = 60.0
REBUILD = 1.5  # for the key, the check of what is there, and a context of our own
DOCKERFILE = f"FROM {BASE}\nRUN echo packages > /packages\nWORKDIR /app\nCOPY . .\n"
PROGRAM = ("python3", "-c", "import time; print(time.time_ns(), flush=True)")


def containers(*, times: int) -> list[Result]:
    """Run one command in a container, by us and by the bare engine, in turn."""
    return [row for name in ENGINES for row in _on(name, times=times)]


def _on(name: str, *, times: int) -> list[Result]:
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with an_engine(name) as lent, _site(lent):
        rebuilt, bare_rebuilt = _rebuilds(lent, times=times)
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
        at_most(
            "containers", f"an image anew after one line of code changed, beside {name} build",
            REBUILD, ours=rebuilt, theirs=bare_rebuilt,
        ),
    ]  # fmt: skip


def _rebuilds(lent: TestEngine, *, times: int) -> tuple[list[float], list[float]]:
    """Change a line and build: by our builder, by the engine; both know the layers below."""
    with tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder:
        builder = ContainerBuilder()
        sides = [Path(folder, side) for side in ("ours", "theirs")]
        for tree in sides:
            tree.mkdir()
            (tree / "Dockerfile.shipway").write_text(DOCKERFILE)
        count = 0

        def changed(tree: Path) -> Path:
            nonlocal count
            count += 1
            (tree / "main.py").write_text(f"print({count})\n")
            return tree

        def ours() -> float:
            tree = changed(sides[0])
            begin = time.monotonic()
            builder.build(
                ImageRequest(
                    tree=tree, start=tree, entry_point=("main.py",), name="bench",
                    cache=Path(folder, "cache"), env=lent.env, print=lambda _: None,
                )
            )  # fmt: skip
            return (time.monotonic() - begin) * 1000

        def theirs() -> float:
            tree = changed(sides[1])
            words = ["build", "-q", "--network=host", "-t", "localhost/bench:plain"]
            words += ["-f", f"{tree}/Dockerfile.shipway", str(tree)]
            begin = time.monotonic()
            subprocess.run([lent.program, *words], env=lent.env, check=True, capture_output=True)
            return (time.monotonic() - begin) * 1000

        return interleave(ours, theirs, times=times)


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
