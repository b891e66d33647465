"""Changes one small thing of the domain or the service at a time; a test must turn red each time.

A change that no test notices is printed with its place: a test is missing, or the change means
nothing. No file is written: each mutant lives in a fork of a process that has all tests collected.
Arguments of this script choose modules or lines: `domain/policy.py`, `service/items.py:120`.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.machinery import SourceFileLoader
from math import sqrt
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol
from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/shipway"
TESTS = ("tests/unit", "tests/conformance", "tests/simulation")
OPTIONS = (
    "-s", "-qq", "--no-header", "--no-summary", "--tb=native", "-p", "no:cacheprovider",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip
HISTORIES = 44  # of the simulation; as many as in `make test` would cost a minute a mutant
NEAREST = 8  # test files, besides those that import its module, for what runs at its import
CPU_LIMIT_S = 5.0  # of one test, beyond five times what it takes without a mutant
WALL_LIMIT_S = 60  # of one test, which may wait for ever
MEMORY_LIMIT = 8 << 30  # address space of one mutant

CACHED = type(cache(abs))
Lines = frozenset[tuple[str, int]]  # that ran, by file


@dataclass(slots=True, kw_only=True)
class Map:
    """What ran without a mutant, of all of shipway."""

    lines: dict[str, Lines] = field(default_factory=dict)  # by test
    cost: dict[str, float] = field(default_factory=dict)  # CPU seconds, by test
    at_import: Lines = frozenset()
    libraries: list[str] = field(default_factory=list)  # modules of others that are loaded

    def runs_at_import(self, mutant: Mutant) -> bool:
        """Tell whether a fork that has imported everything is too late for a mutant."""
        there = {(str(mutant.path), line) for line in mutant.lines}
        return mutant.is_import or bool(there & self.at_import)

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that can notice a mutant, the cheapest first."""
        if self.runs_at_import(mutant):
            files = self.nearest(mutant)
            found = [name for name in self.lines if file_of(name) in files]
        else:
            there = {(str(mutant.path), line) for line in mutant.lines}
            found = [name for name, ran in self.lines.items() if there & ran]
        return sorted(found, key=self.cost.__getitem__)

    def nearest(self, mutant: Mutant) -> set[str]:
        """Return the test files that import a mutant's module, and those that run most of it."""
        near: Counter[str] = Counter()
        for name, ran in self.lines.items():
            near[file_of(name)] += sum(path == str(mutant.path) for path, _ in ran)
        package, _, module = mutant.module.removesuffix(".py").partition("/")
        words = f"from shipway.{package}.{module} import "
        importing = {file for file in near if words in (ROOT / file).read_text()}
        return importing | {file for file, lines in near.most_common(NEAREST) if lines}


def file_of(test: str) -> str:
    """Return a test's file."""
    return test.partition("::")[0]


class Chosen:
    """Lets pytest run the chosen tests in their order, each within its limits."""

    def __init__(self, tests: Sequence[str], cost: dict[str, float]) -> None:
        self.tests = {name: place for place, name in enumerate(tests)}
        self.cost = cost

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not self.tests or item.nodeid in self.tests]
        items.sort(key=lambda item: self.tests.get(item.nodeid, 0))
        for item in items:
            if hasattr(item.module, "HISTORIES"):  # type: ignore[attr-defined] # all are functions
                item.module.HISTORIES = HISTORIES  # type: ignore[attr-defined] # as above

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self.tests:
            limit(self.cost[item.nodeid])


class Collected(Chosen):
    """Tries mutants of functions in forks of the process that collected every test."""

    def __init__(self, mutants: Sequence[Mutant]) -> None:
        super().__init__((), {})
        self.mutants = mutants
        self.verdicts: list[bool | None] = []
        self.map = Map()
        self.ran: set[tuple[str, int]] = set()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.settrace(None)
        items = {item.nodeid: item for item in session.items}
        self.map.lines, self.map.cost, red = forked(partial(traced, items))
        self.map.at_import = frozenset(self.ran)
        self.map.libraries = [name for name in sys.modules if is_library(name)]
        for name in red:  # it would take every mutant for noticed
            print(f"left out, red without a mutant: {name}")
            del self.map.lines[name]
        for mutant in self.mutants:
            verdict: bool | None = None
            if not self.map.runs_at_import(mutant):
                tests = [items[name] for name in self.map.tests(mutant)]
                work = partial(is_red, mutant, tests, self.map.cost)
                verdict = bool(tests) and forked(work, died=True)
            self.verdicts.append(verdict if verdict is None else told(mutant, verdict))
        return True


def traced(items: dict[str, pytest.Item]) -> tuple[dict[str, Lines], dict[str, float], list[str]]:
    """Return by test the lines that it runs and what it costs, and the tests that are red."""
    lines, cost, red = {}, {}, []
    caches = [one for one in gc.get_objects() if type(one) is CACHED]
    for name, item in items.items():
        ran: set[tuple[str, int]] = set()
        for cached in caches:  # else only the first test that asks runs its lines
            if str(cached.__module__).startswith("shipway."):
                cached.cache_clear()
        began = time.process_time()
        trace(ran)
        reports = runtestprotocol(item, log=False, nextitem=None)
        sys.settrace(None)
        lines[name], cost[name] = frozenset(ran), time.process_time() - began
        red += [name for report in reports if report.failed]
    return lines, cost, red


def trace(ran: set[tuple[str, int]]) -> None:
    """Gather from now on the lines of the modules that can have mutants, and calls of others."""
    whole = tuple(str(SOURCE / name) for name in ("domain", "service"))

    def line(frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line":
            ran.add((frame.f_code.co_filename, frame.f_lineno))
        return line

    def call(frame: FrameType, _event: str, _arg: Any) -> Any:
        path = frame.f_code.co_filename
        if not path.startswith(str(SOURCE)):
            return None
        ran.add((path, frame.f_lineno))
        return line if path.startswith(whole) else None

    threading.settrace(call)
    sys.settrace(call)


def is_red(mutant: Mutant, tests: list[pytest.Item], cost: dict[str, float]) -> bool | None:
    """Change the functions that are there and run tests up to a red one; None if that cannot be."""
    codes = {(code.co_qualname, code.co_firstlineno): code for code in codes_in(mutant.code())}
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__.co_filename == str(mutant.path):
            old = function.__code__
            try:
                function.__code__ = codes.get((old.co_qualname, old.co_firstlineno), old)
            except ValueError:  # it closes over more or fewer names
                return None
    for item in tests:
        limit(cost[item.nodeid])
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=None)):
            return True
    return False


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """Yield a code and all codes inside."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from codes_in(inner)


def is_red_anew(
    mutant: Mutant, tests: list[str], cost: dict[str, float], options: list[str]
) -> bool:
    """Run tests that import the mutant in place of its module."""
    real, code = SourceFileLoader.get_code, mutant.code()

    def get_code(self: Any, name: str) -> CodeType | None:
        return code if self.path == str(mutant.path) else real(self, name)

    SourceFileLoader.get_code = get_code  # type: ignore[assignment] # in this process
    limit(30.0)
    files = dict.fromkeys(map(file_of, tests))
    status = pytest.main([*options, "-x", *files], plugins=[Chosen(tests, cost)])
    if status is pytest.ExitCode.NO_TESTS_COLLECTED:
        raise RuntimeError(f"none of the chosen tests is there any more: {files}")
    return status != pytest.ExitCode.OK


def forked(work: Callable[[], Any], *, died: Any = None, is_loud: bool = False) -> Any:
    """Return what a function returns in a process of its own; `died` if that was killed."""
    sys.stdout.flush()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        if not is_loud:
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
        try:
            said = pickle.dumps((True, work()))
        except BaseException:  # noqa: BLE001 - told to the parent, which raises
            said = pickle.dumps((False, traceback.format_exc()))
        with suppress(OSError), open(write, "wb") as pipe:  # noqa: PTH123 - a descriptor
            pipe.write(said)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:  # noqa: PTH123 - a descriptor
        said = pipe.read()
    os.waitpid(pid, 0)
    if not said:
        return died
    is_good, value = pickle.loads(said)  # noqa: S301 - of our own child
    if not is_good:
        raise RuntimeError(value)
    return value


def limit(cost: float) -> None:
    """Let the system end this process where the next test takes far more than it should."""
    soft = int(time.process_time() + CPU_LIMIT_S + 5 * cost) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, resource.RLIM_INFINITY))
    signal.alarm(WALL_LIMIT_S)


def is_library(name: str) -> bool:
    """Tell whether a module belongs to others, so that every mutant may share it."""
    path = getattr(sys.modules[name], "__file__", None) or ""
    return "site-packages" in path or path.startswith(str(Path(os.__file__).parent))


def told(mutant: Mutant, verdict: bool) -> bool:  # noqa: FBT001 - it is passed on
    """Print a mutant that survived."""
    if not verdict:
        print(mutant.name, flush=True)
    return verdict


def print_scores(mutants: Sequence[Mutant], verdicts: Sequence[bool | None], whole: int) -> None:
    """Print for each module and package how many mutants were noticed."""
    made, noticed = Counter[str](), Counter[str]()
    for mutant, verdict in zip(mutants, verdicts, strict=True):
        for name in (mutant.module, mutant.path.parent.name, "all"):
            made[name] += 1
            noticed[name] += bool(verdict)
    for name in sorted(made, key=lambda name: ("/" not in name, name)):
        n, p = made[name], noticed[name] / made[name]
        half = 1.96 * sqrt(p * (1 - p) / n) * 100  # of the 95 % interval of a sample
        is_part = len(mutants) < whole and "/" not in name
        print(f"{name:<28} {noticed[name]:>5} of {n:>5}  {p:6.1%}" + f" ± {half:.1f}" * is_part)


def main() -> int:
    """Try the chosen mutants, print survivors as they are found and the scores at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sample", type=int, help="try so many by chance, not all")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    paths = sorted([*SOURCE.glob("domain/*.py"), *SOURCE.glob("service/*.py")])
    mutants = [mutant for path in paths for mutant in mutants_of(path)]
    mutants = [m for m in mutants if m.name.startswith(tuple(args.names or [""]))]
    whole = len(mutants)
    if args.sample:
        chance = random.Random(args.seed)  # noqa: S311 - a seed repeats it
        mutants = chance.sample(mutants, min(whole, args.sample))
    sys.path[:0] = [str(ROOT), str(SOURCE.parent)]
    os.chdir(ROOT)
    hypothesis.settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )  # fmt: skip
    hypothesis.settings.load_profile("mutation")
    with tempfile.TemporaryDirectory(prefix="shipway-mutation-") as folder:
        options = [*OPTIONS, "-m", "not postgres and not long", f"--basetemp={folder}/tests"]
        ran, verdicts = forked(partial(collected, mutants, options), is_loud=True)
        for name in ran.libraries:
            with suppress(ImportError):
                importlib.import_module(name)
        for number, mutant in enumerate(mutants):
            if verdicts[number] is None:
                tests = ran.tests(mutant)
                work = partial(is_red_anew, mutant, tests, ran.cost, options)
                verdicts[number] = told(mutant, bool(tests) and forked(work, died=True))
    print_scores(mutants, verdicts, whole)
    return 0


def collected(mutants: Sequence[Mutant], options: list[str]) -> tuple[Map, list[bool | None]]:
    """Collect every test, and try what can be tried there."""
    trying = Collected(mutants)
    trace(trying.ran)
    pytest.main([*options, *TESTS], plugins=[trying])
    return trying.map, trying.verdicts


if __name__ == "__main__":
    sys.exit(main())
