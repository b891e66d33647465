"""Locks a project at set-up: lock files name package hosts, so none is in the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shipway.builders.uv_settings import find_uv, uv_environment

LOCK_S = 180.0


def lock(project: Path) -> int:
    """Write a project's `uv.lock` and return how many packages it has, itself left out."""
    done = subprocess.run(
        [
            find_uv(os.environ.get("PATH", os.defpath)), "lock",
            "--no-python-downloads", "--python", sys.executable,
        ],
        cwd=project, env=uv_environment(os.environ, os.environ), capture_output=True, text=True,
        check=False, timeout=LOCK_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return (project / "uv.lock").read_text().count("[[package]]") - 1
