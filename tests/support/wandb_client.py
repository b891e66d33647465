"""The unmodified wandb client in an environment of its own, and programs that use it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shipway.builders.uv_settings import find_uv

ROOT = Path(__file__).resolve().parents[2]
MADE = ROOT / "build" / "clients"  # kept: an environment takes half a minute
VERSION = "0.20.1"  # the fixed point
VERSIONS = (VERSION, "0.31.0")  # and the newest
INSTALL_S = 300.0
PROGRAM_S = 120.0
HEAD = """
import json, math, os, sys, time
from pathlib import Path
import wandb

def say(**values):
    print("\\nSAID " + json.dumps(values), flush=True)
"""


def client_python(version: str = VERSION) -> Path:
    """Return the Python of a client's environment, made once; skip where it cannot be."""
    locked = ROOT / "requirements" / f"wandb-{version}.txt"
    folder = MADE / f"wandb-{version}"
    python = folder / "bin" / "python"
    MADE.mkdir(parents=True, exist_ok=True)
    with (MADE / f"wandb-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = folder / "made-of"
        if mark.exists() and mark.read_text() == locked.read_text():
            return python
        uv = find_uv(os.environ.get("PATH", os.defpath))
        make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        subprocess.run(make, check=True, timeout=INSTALL_S)
        install = [uv, "pip", "install", "--quiet", "--require-hashes", "-r", str(locked)]
        done = subprocess.run(
            [*install, "--python", str(python)],
            capture_output=True, text=True, timeout=INSTALL_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            if os.environ.get("CI") == "true":
                raise AssertionError(done.stderr)
            pytest.skip(f"wandb {version} cannot be installed here: {done.stderr[-200:]}")
        mark.write_text(locked.read_text())
    return python


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A program that has ended."""

    code: int
    said: list[dict[str, Any]]
    text: str  # both of its streams

    @property
    def last(self) -> dict[str, Any]:
        """What it said last."""
        assert self.said, self.text
        return self.said[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbClient:
    """Programs of one user against one server."""

    python: Path
    folder: Path
    base_url: str
    key: str

    def env(self, **more: str) -> dict[str, str]:
        """Return what a user's shell would have."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.folder),
            "WANDB_BASE_URL": self.base_url,
            "WANDB_API_KEY": self.key,
            "WANDB_DIR": str(self.folder),
            "WANDB_ERROR_REPORTING": "false",
            **more,
        }

    def run(
        self, program: str, *, check: bool = True, timeout: float = PROGRAM_S, **env: str
    ) -> Done:  # fmt: skip
        """Run a program to its end."""
        with self.start(program, **env) as process:
            text = process.communicate(timeout=timeout)[0]
        done = Done(code=process.returncode, said=said_in(text), text=text)
        assert not check or done.code == 0, text
        return done

    @contextmanager
    def start(self, program: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        """Start a program; it is ended with the block if it still runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [str(self.python), "-c", HEAD + textwrap.dedent(program)],
            env=self.env(**env), cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def said_in(text: str) -> list[dict[str, Any]]:
    """Return what a program said with `say`."""
    found = [line.removeprefix("SAID ") for line in text.splitlines() if line.startswith("SAID ")]
    return [json.loads(line) for line in found]


def heard(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    """Wait for the next thing that a running program says."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("SAID "):
            said: dict[str, Any] = json.loads(line.removeprefix("SAID "))
            return said
    raise AssertionError("the program ended without a word")
