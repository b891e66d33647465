"""Bytes that look for new code: the extractor, the capsule's and the log's decoders hold."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from shipway.domain.attempt import LogStream, encode_frame
from shipway.domain.capsule import Entry, Mode, digest_of, encode, encode_pack

TARGETS = Path(__file__).parent / "targets.py"
RUNS = 3_000  # in `make test`, of each target
LONG_RUNS = 1_000_000
LONGEST = 600  # bytes of an input
LINE = encode_frame(LogStream.STDOUT, 1 << 40, b"one\rtwo\n\xff")
GOOD: Mapping[str, tuple[bytes, ...]] = {
    "extractor": (b"fa/b one\nxa/c two\nla/d b\nle a\nlout ../outside", b"la b\nlb a\nla/x y"),
    "manifest": (
        encode([Entry(path=b"a/b", mode=Mode.FILE, size=1, digest=digest_of(b"x"))]),
        encode_pack([(digest_of(b"x"), b"x")]),
    ),
    "chunk": (
        LINE,
        zlib.compress(LINE * 3),
        b'{"kind": "history", "values": {"a": 1}, "step": 1}\n{"kind": "file", "path": "a/b"}\n',
        encode_frame(LogStream.GAP, 1, b'{"from": 1, "to": 9}'),
    ),
}


@pytest.mark.parametrize("target", GOOD)
def test_no_bytes_are_too_odd(tmp_path: Path, target: str) -> None:
    fuzz(tmp_path, target, RUNS)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", GOOD)
def test_a_million_inputs_are_not_too_odd(tmp_path: Path, target: str) -> None:
    fuzz(tmp_path, target, LONG_RUNS if target != "extractor" else LONG_RUNS // 10)


def fuzz(folder: Path, target: str, runs: int) -> None:
    """Run a target in a process of its own; a failure leaves its input beside the log."""
    pytest.importorskip("atheris", reason="atheris has no wheel for this machine")
    corpus, scratch = folder / "corpus", folder / "scratch"
    for made in (corpus, scratch):
        made.mkdir()
    for number, data in enumerate(GOOD[target]):
        (corpus / str(number)).write_bytes(data)
    seed = random.SystemRandom().randrange(1, 1 << 31)
    argv = [f"-runs={runs}", f"-seed={seed}", f"-max_len={LONGEST}", str(corpus)]
    done = subprocess.run(
        [sys.executable, str(TARGETS), target, str(scratch), *argv],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    inputs = {path.name: path.read_bytes() for path in folder.glob("crash-*")}
    assert done.returncode == 0, f"seed {seed}, inputs {inputs}\n{done.stderr[-4000:]}"
    assert "DONE   cov: " in done.stderr
    assert f"Done {runs} runs" in done.stderr
