"""Real docker and podman by their command lines: what answers, what is told of a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway.engines.engine import EngineAway, EngineRefused, find_engine
from shipway.plugins.errors import PermanentError
from tests.support.engines import BASE, ENGINES, TestEngine, an_engine


@pytest.fixture(scope="module", params=ENGINES)
def lent(request: pytest.FixtureRequest) -> Iterator[TestEngine]:
    with an_engine(request.param) as engine:
        yield engine


def test_a_command_answers_or_says_why_not(lent: TestEngine) -> None:
    engine = lent.engine
    words = ("run", "--rm", "--network=none", BASE, "python3", "-c", "print(40 + 2)")
    assert engine.run(*words) == b"42\n"
    with pytest.raises(EngineRefused, match=f"{lent.name} inspect failed: .*[nN]o such"):
        engine.run("inspect", "nothing-of-that-name")


def test_lines_are_told_as_they_come(lent: TestEngine) -> None:
    lines: list[str] = []
    script = (
        "import sys, time; print('one', flush=True); time.sleep(0.2); "
        "sys.stdout.buffer.write(b'tw\\xc3\\xb6\\n')"
    )
    words = ("run", "--rm", "--network=none", BASE, "python3", "-c", script)
    lent.engine.stream(*words, print=lines.append, timeout_s=30)
    assert lines == ["one", "twö"]
    with pytest.raises(EngineRefused, match="did not end within"):
        lent.engine.stream(
            "run", "--rm", "--network=none", BASE, "sleep", "9", print=lines.append, timeout_s=0.5
        )


def test_an_engine_is_found_by_name_by_path_or_by_itself(lent: TestEngine) -> None:
    env = {**lent.env, "PATH": str(Path(lent.program).parent)}
    assert find_engine(env, lent.program).name == lent.name
    assert find_engine(env, lent.name).program == lent.program
    with pytest.raises(PermanentError, match="no program podman in PATH"):
        find_engine({**env, "PATH": "/nowhere"})
    with pytest.raises(PermanentError, match="write docker, podman"):
        find_engine(env, "crane")


def test_an_engine_that_is_away_is_told_from_one_that_refuses() -> None:
    with an_engine("docker") as lent:
        engine = lent.engine
        lent.kill_daemon()
        with pytest.raises(EngineAway, match="docker does not answer"):
            engine.run("ps")
        lent.start()
        assert engine.run("ps", "-q") == b""
