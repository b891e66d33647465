"""Kills a server at each of its system calls, and looks at what the next one finds.

`python -m shipway.testing.faults.kills SAMPLE SEED FOLDER [SCENARIO…]` kills at so many calls of
each scenario, or at all of them for 0, and prints a line of JSON for each scenario.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from shipway.domain.errors import ShipwayError
from shipway.testing.faults.hatchery import Hatchery, Server
from shipway.testing.faults.scenarios import SCENARIOS, Facts, Scenario

END_S = 0.05  # for a kill that comes just after the answer
UNKILLED = frozenset({"restart_syscall", "exit", "exit_group"})  # not the program's own, or its end

_CALL = re.compile(r"(\d+) +(\w+)\(")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The nth call of this name in whichever thread comes to it first."""

    call: str
    number: int


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of one scenario."""

    scenario: str
    calls: int = 0  # that the server made, in all threads
    moments: int = 0  # at which it was to be killed
    kills: int = 0  # some moments come in one run and not in the next
    unanswered: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A server that was killed, or that came to an end of its own."""

    home: Path
    answer: Any  # None: it died before
    is_killed: bool


class Range:
    """A place where servers of one scenario are killed, each on a copy of the same home."""

    def __init__(self, hatchery: Hatchery, scenario: Scenario, folder: Path) -> None:
        self._hatchery = hatchery
        self._scenario = scenario
        self._folder = folder
        self._prepared = folder / "prepared"
        self._facts: Facts = {}

    def prepare(self) -> None:
        """Make the home that every run begins with."""
        self._prepared.mkdir(parents=True)
        if self._scenario.name == "first start":
            return
        with self._running(self._prepared, None) as server, closing(server.client()) as client:
            self._facts = self._scenario.prepare(client)

    def moments(self) -> tuple[int, list[Moment]]:
        """Let one server live, and return the number of its calls, and each to kill one at."""
        trace = self._folder / "trace"
        run = self._run(("-o", str(trace), "-e", "signal=none"))
        shutil.rmtree(run.home)
        assert run.answer is not None, "the server died without a kill"
        counts: Counter[tuple[str, str]] = Counter()
        for line in trace.read_text(errors="replace").splitlines():
            if (found := _CALL.match(line)) and found[2] not in UNKILLED:
                counts[found[1], found[2]] += 1
        most: dict[str, int] = {}
        for (_, call), number in counts.items():
            most[call] = max(number, most.get(call, 0))
        moments = [Moment(call=c, number=n + 1) for c, m in sorted(most.items()) for n in range(m)]
        return sum(counts.values()), moments

    def kill_at(self, moment: Moment, tally: Tally) -> None:
        """Kill one server, start another on what it left, and ask again."""
        inject = f"inject={moment.call}:signal=SIGKILL:when={moment.number}"
        run = self._run(("-o", "/dev/null", "-e", f"trace={moment.call}", "-e", inject))
        tally.kills += run.is_killed
        tally.unanswered += run.answer is None
        try:
            with (
                self._running(run.home, self._scenario.migrations) as server,
                closing(server.client()) as client,
            ):
                facts = {**self._facts, "home": str(run.home)}
                self._scenario.again(client, facts, run.answer)
        except (AssertionError, ShipwayError) as error:
            was = "no answer" if run.answer is None else "an answer"
            tally.faults.append(f"killed at {moment.call} {moment.number} with {was}: {error}")
        shutil.rmtree(run.home)

    def _run(self, options: Sequence[str]) -> Run:
        """Let one server answer under strace."""
        home = shutil.copytree(self._prepared, self._folder / "home")
        server = self._hatchery.hatch(home, migrations=self._scenario.migrations)
        is_ready = False
        if not self._scenario.is_opening:
            server.begin()
            is_ready = server.is_ready()
        tracer = _attach(server, options)
        answer = None
        try:
            if self._scenario.is_opening:
                server.begin()
                is_ready = server.is_ready()
            if is_ready:
                with closing(server.client()) as client:
                    answer = self._scenario.ask(client, self._facts) or True
        except ShipwayError:
            answer = None
        try:
            tracer.wait(END_S)
            is_killed = True
        except subprocess.TimeoutExpired:
            is_killed = False
            server.kill()
        server.reap()
        tracer.wait()
        assert tracer.stderr is not None
        tracer.stderr.close()
        return Run(home=home, answer=answer, is_killed=is_killed)

    @contextmanager
    def _running(self, home: Path, migrations: Any) -> Iterator[Server]:
        server = self._hatchery.hatch(home, migrations=migrations)
        server.begin()
        try:
            log = home.parent / f"{home.name}.log"
            assert server.is_ready(), f"the next server does not start: {log.read_text()[-300:]}"
            yield server
        finally:
            server.kill()
            server.reap()


def _attach(server: Server, options: Sequence[str]) -> subprocess.Popen[str]:
    tracer = subprocess.Popen(
        ["strace", "-f", *options, "-p", str(server.pid)], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    assert "attached" in said, f"strace cannot attach: {said}"
    return tracer


def tally_of(
    hatchery: Hatchery, scenario: Scenario, folder: Path, *, sample: int, chance: Random
) -> Tally:
    """Kill servers of one scenario at some calls, or at all for a sample of 0."""
    tally = Tally(scenario=scenario.name)
    place = Range(hatchery, scenario, folder)
    place.prepare()
    tally.calls, moments = place.moments()
    if sample:
        moments = chance.sample(moments, min(sample, len(moments)))
    tally.moments = len(moments)
    for moment in moments:
        place.kill_at(moment, tally)
    return tally


def main(argv: Sequence[str]) -> int:
    """Print what came of each scenario; 1 if any has faults."""
    sample, seed, folder, *names = argv
    hatchery = Hatchery()
    hatchery.warm()
    has_faults = False
    for scenario in SCENARIOS:
        if names and scenario.name not in names:
            continue
        place = Path(folder) / scenario.name.replace(" ", "-")
        tally = tally_of(
            hatchery, scenario, place, sample=int(sample), chance=Random(f"{seed} {scenario.name}")
        )
        shutil.rmtree(place)
        has_faults = has_faults or bool(tally.faults)
        sys.stdout.write(json.dumps(asdict(tally)) + "\n")
        sys.stdout.flush()
    return int(has_faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
