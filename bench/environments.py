"""P13: what an environment costs for a lock that was built before, beside venv and pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.measure import Result, at_most, interleave
from shipway.builders.uv import UvBuilder
from shipway.builders.uv_settings import find_uv
from shipway.plugins.builder import BuildRequest

PACKAGES = ("click", "jinja2", "six", "toml", "iniconfig", "packaging")
BUILD_S = 300.0


def p13(*, times: int) -> list[Result]:
    """Ask for the environment of a known lock, found and built anew, beside venv and pip."""
    with tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder:
        root = Path(folder)
        peer, request = root / "peer", _request(root)
        UvBuilder().build(request)  # the lock is known from here on

        def find() -> float:
            begin = time.perf_counter()
            assert UvBuilder().build(request).is_cached
            return (time.perf_counter() - begin) * 1_000

        def build() -> float:
            with tempfile.TemporaryDirectory(dir=root) as empty:
                (Path(empty) / "uv").symlink_to(request.cache / "uv")  # the packages are there
                begin = time.perf_counter()
                made = UvBuilder().build(replace(request, cache=Path(empty)))
                took = time.perf_counter() - begin
                assert not made.is_cached
                return took * 1_000

        found = interleave(find, lambda: _venv_and_pip(request, peer), times=times)
        built = interleave(build, lambda: _venv_and_pip(request, peer), times=times)
    whom = f"a known lock of {len(PACKAGES)} packages, beside venv and pip"
    made = f"environment made from the warm cache for {whom}"
    return [
        at_most("P13", f"environment found for {whom}", 0.05, ours=found[0], theirs=found[1]),
        at_most("P13", made, 0.05, ours=built[0], theirs=built[1]),
    ]


def _request(root: Path) -> BuildRequest:
    tree, cache = root / "tree", root / "cache"
    tree.mkdir()
    cache.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    (tree / "main.py").write_text("import click\n")
    (tree / "in.txt").write_text("\n".join(PACKAGES) + "\n")
    for format in ("pylock.toml", "requirements.txt"):
        out = tree / format if format == "pylock.toml" else root / format
        _uv("pip", "compile", "in.txt", "--format", format, "-o", str(out), cwd=tree, env=env)
    return BuildRequest(
        tree=tree, start=tree, entry_point=("main.py",), cache=cache, env=env, print=lambda _: None
    )


def _uv(*argv: str, cwd: Path, env: dict[str, str]) -> None:
    uv = find_uv(os.environ.get("PATH", os.defpath))
    subprocess.run(
        [uv, *argv, "--python", sys.executable],
        cwd=cwd, env=env, check=True, capture_output=True, timeout=BUILD_S,
    )  # fmt: skip


def _venv_and_pip(request: BuildRequest, folder: Path) -> float:
    """Return the ms that a new venv with the same packages takes; pip's cache is warm."""
    shutil.rmtree(folder, ignore_errors=True)
    wanted = request.cache.parent / "requirements.txt"
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
    install = [str(folder / "bin" / "pip"), "install", "-q", "--no-deps", "-r", str(wanted)]
    subprocess.run(install, check=True, capture_output=True, timeout=BUILD_S)
    return (time.perf_counter() - begin) * 1_000
