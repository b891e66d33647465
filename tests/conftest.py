"""Holds the unit tests to their budget of CPU time when asked with `--cpu-budget`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import find, settings
from hypothesis import strategies as st

TEST_LIMIT_S = 0.3  # CPU seconds of one unit test
TOTAL_LIMIT_S = 15.0  # CPU seconds of all of them


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cpu-budget",
        action="store_true",
        help=f"fail above {TEST_LIMIT_S} s of CPU a test or {TOTAL_LIMIT_S} s in all",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--cpu-budget"):
        config.pluginmanager.register(CpuBudget(), "cpu-budget")


class CpuBudget:
    """Counts each test's own CPU time, so that a busy machine changes nothing."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def pytest_collection_finish(self) -> None:
        """Let hypothesis make its Unicode tables, once a machine, on nobody's account."""
        every = settings(max_examples=1, database=None)
        for text in (
            st.text(min_size=1),
            st.text(st.characters(exclude_characters="\0"), min_size=1),
        ):
            find(text, bool, settings=every)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        before = time.process_time()
        try:
            return (yield)
        finally:
            self.spent[item.nodeid] = time.process_time() - before

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == 0 and self.faults():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(f"CPU time of the tests: {sum(self.spent.values()):.1f} s")
        for fault in self.faults():
            terminalreporter.write_line(f"over budget: {fault}", red=True)

    def faults(self) -> list[str]:
        """Name the tests over their limit, and the whole if it is over its own."""
        found = [
            f"{name} took {spent:.2f} s of CPU, the limit is {TEST_LIMIT_S} s"
            for name, spent in self.spent.items()
            if spent > TEST_LIMIT_S
        ]
        total = sum(self.spent.values())
        if total > TOTAL_LIMIT_S:
            found.append(f"all tests took {total:.1f} s of CPU, the limit is {TOTAL_LIMIT_S} s")
        return found
