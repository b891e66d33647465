"""Puts each bug of `tests/seeded/*.patch` in on purpose and demands that its gates turn red.

The text of a patch before its first diff line names its gates and what they must say:

    Gate: <one test>     every gate must fail with the bug, and pass without it
    Red: <words>         words of the failure, so that it is red for the right reason

Arguments of this script choose patches by part of their name.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("src", "tests", "bench", "examples", "docs", "scripts", "pyproject.toml", "*.md")
CLEAN_LIMIT_S = 900.0  # of all gates on the tree without a bug
GATE_LIMIT_S = 120.0  # of one patch's gates; one that hangs proves nothing
END_LIMIT_S = 30.0  # from SIGINT to SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A bug put in on purpose, and the tests that must notice it."""

    name: str
    patch: Path
    gates: tuple[str, ...]
    words: tuple[str, ...]


def main() -> int:
    """Try every seed, print a line for each, and fail unless all gates did their work."""
    seeds = [read(path) for path in sorted((ROOT / "tests/seeded").glob("*.patch"))]
    chosen = [seed for seed in seeds if not sys.argv[1:] or _is_named(seed, sys.argv[1:])]
    if not chosen:
        print("no patch of that name in tests/seeded")
        return 2
    bad = 0
    with tempfile.TemporaryDirectory(prefix="shipway-seeded-") as name:
        clean = Path(name) / "clean"
        copy_tree(clean)
        gates = dict.fromkeys(gate for seed in chosen for gate in seed.gates)
        red, said = run(clean, gates, CLEAN_LIMIT_S)
        if red != set() or "passed" not in said:
            print(said)
            print("the gates must pass without any bug")
            return 1
        for seed in chosen:
            began = time.monotonic()
            verdict = try_seed(seed, clean, Path(name) / seed.name)
            bad += not verdict.startswith("red")
            print(f"{seed.name:<52} {time.monotonic() - began:5.1f} s  {verdict}", flush=True)
    print(f"{len(chosen)} seeded bugs, {len(chosen) - bad} noticed")
    return 1 if bad else 0


def read(patch: Path) -> Seed:
    """Read a patch with the lines above its diff."""
    found: dict[str, list[str]] = {"Gate": [], "Red": []}
    for line in patch.read_text().splitlines():
        if line.startswith(("diff ", "--- ")):
            break
        key, _, value = line.partition(": ")
        if key in found:
            found[key].append(value.strip())
    return Seed(name=patch.stem, patch=patch, gates=tuple(found["Gate"]), words=tuple(found["Red"]))


def try_seed(seed: Seed, clean: Path, tree: Path) -> str:
    """Return `red` with the failure's first line, or what went wrong."""
    if not seed.gates or not seed.words:
        return "PROVES NOTHING: write `Gate: tests/...` and `Red: words` above the diff"
    shutil.copytree(clean, tree, symlinks=True)  # compiled files too, which saves seconds
    try:
        point_at(tree)
        applied = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", str(seed.patch)],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
        if applied.returncode:
            return f"PATCH DOES NOT APPLY: {applied.stderr.strip().splitlines()[0]}"
        red, said = run(tree, seed.gates, GATE_LIMIT_S)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    if red is None:
        return f"NO VERDICT: pytest broke off: {said.strip().splitlines()[-1]}"
    for gate in seed.gates:
        if not any(name == gate or name.startswith(f"{gate}[") for name in red):
            return f"NOT NOTICED: {gate}"
    for words in seed.words:
        if words not in said:
            return f"RED FOR ANOTHER REASON: {_first_error(said)!r} says nothing of {words!r}"
    return f"red: {_first_error(said)}"


def copy_tree(into: Path) -> None:
    """Copy what git knows or would add, with an interpreter of its own."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *COPIED],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listing.decode().split("\0")):
        source, target = ROOT / name, into / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", into / ".venv"], check=True)
    point_at(into)


def point_at(tree: Path) -> None:
    """Let a tree's interpreter import that tree, and the dependencies of this one."""
    library = Path("lib") / f"python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    pth = tree / ".venv" / library / "seeded.pth"
    pth.write_text(f"{tree / 'src'}\n{Path(sys.prefix) / library}\n")
    script = tree / ".venv/bin/shipway"
    script.write_text(f"#!{tree}/.venv/bin/python\nfrom shipway.cli.main import main\nmain()\n")
    script.chmod(0o755)


def run(tree: Path, gates: Iterable[str], limit_s: float) -> tuple[set[str] | None, str]:
    """Run tests in a tree; return those that failed, None without a verdict, and what was said.

    A test whose fixture broke did not fail: it noticed nothing.
    """
    env = {**os.environ, "PATH": f"{tree}/.venv/bin{os.pathsep}{os.environ['PATH']}"}
    options = ["-q", "-p", "no:cacheprovider", "--tb=short", "--color=no"]
    process = subprocess.Popen(
        [tree / ".venv/bin/python", "-m", "pytest", *options, *gates],
        cwd=tree,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT_S)
        os.killpg(process.pid, signal.SIGKILL)
        return None, f"no end after {limit_s:.0f} s"
    if process.returncode not in (0, 1):
        return None, said
    lines = [line.partition(" - ")[0] for line in said.splitlines() if line.startswith("FAILED ")]
    return {line.removeprefix("FAILED ") for line in lines}, said


def _first_error(said: str) -> str:
    for line in said.splitlines():
        if line.startswith("E  "):
            return line[1:].strip()
    return said.strip().splitlines()[-1]


def _is_named(seed: Seed, words: list[str]) -> bool:
    return any(word in seed.name for word in words)


if __name__ == "__main__":
    sys.exit(main())
