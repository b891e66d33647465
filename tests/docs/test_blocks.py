"""Runs the `sh` and `python` blocks of pages that show a whole story, in an empty directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.engines import BASE, a_registry, an_engine
from tests.support.pushed_image import push_image

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs/tutorial").glob("*.md")),
    ROOT / "docs/how-to/back-up.md",
    ROOT / "docs/how-to/disk.md",
    ROOT / "docs/how-to/template-variables.md",
    ROOT / "docs/how-to/jobs.md",
    ROOT / "docs/how-to/containers.md",
    ROOT / "docs/how-to/containers-policy.md",
    ROOT / "docs/how-to/registries.md",
    ROOT / "docs/how-to/images.md",
]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE_LIMIT_S = 240.0


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs(page: Path, tmp_path: Path) -> None:
    """Earns its time: the first things that anybody types work as they are printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHIPWAY_")}
    env |= {
        "SHIPWAY_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
    }
    work = tmp_path / "work"
    work.mkdir()
    with ExitStack() as stack:
        if "$REGISTRY" in page.read_text():
            env["REGISTRY"] = stack.enter_context(a_registry(tmp_path / "registry"))
            push_image(env["REGISTRY"], "team/train", "1", "linux/amd64", "linux/arm64")
        if BASE in page.read_text():
            env = {**stack.enter_context(an_engine("docker")).env, **env}
        run(script(page.read_text()), env, work)


def run(text: str, env: dict[str, str], work: Path) -> None:
    try:
        ran = subprocess.run(
            ["bash", "-c", text],
            cwd=work,
            env=env,
            capture_output=True,
            text=True,
            timeout=PAGE_LIMIT_S,
            check=False,
        )
        assert ran.returncode == 0, f"{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"
    finally:
        subprocess.run(
            [sys.executable, "-m", "shipway", "down", "--purge"], env=env, check=False, timeout=120
        )


def script(page: str) -> str:
    """Put the blocks of a page together into one shell script that ends at the first error."""
    parts = ["set -euo pipefail"]
    for language, code in BLOCK.findall(page):
        parts.append(code if language == "sh" else f"python - <<'PYTHON_BLOCK'\n{code}PYTHON_BLOCK")
    assert len(parts) > 1, "the page has no block to run"
    return "\n".join(parts) + "\n"
