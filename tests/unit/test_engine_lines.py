"""What a long command prints: told as lines, within its time and a bounded room."""

from __future__ import annotations

import sys
import time

import pytest

from shipway.engines.engine import Engine, EngineRefused

SHELL = Engine(name="docker", program="/bin/sh", env={"PATH": "/usr/bin:/bin"})


def test_one_that_never_stops_printing_is_out_of_time_too() -> None:
    script = "import time\nwhile True: print('y', flush=True); time.sleep(0.02)"
    python = Engine(name="docker", program=sys.executable, env={})
    began = time.monotonic()
    with pytest.raises(EngineRefused, match="did not end within"):
        python.stream("-IS", "-c", script, print=lambda _: None, timeout_s=0.3)
    assert time.monotonic() - began < 10


def test_a_line_without_an_end_is_told_in_parts() -> None:
    parts: list[str] = []
    script = "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end"
    SHELL.stream("-c", script, print=parts.append, timeout_s=30)
    assert "".join(parts) == "x" * 1_000_000 + "end"
    assert max(map(len, parts)) <= 1 << 17
    assert parts[-1] == "end"
