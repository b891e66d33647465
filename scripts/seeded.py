"""Puts each bug of `tests/seeded/*.patch` in on purpose and demands that its gate turns red.

The text of a patch before its first diff line names its gates: `Gate: <pytest arguments>`. Gates
must pass on the unpatched tree. Arguments of this script choose patches by part of their name.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GATE_LIMIT_S = 300.0  # of one gate; a gate that hangs on its bug is red too
RED, GREEN = 1, 0  # pytest's own exit codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A bug put in on purpose, and the tests that must notice it."""

    name: str
    patch: Path
    gates: tuple[str, ...]


def main() -> int:
    """Try every seed, print a line for each, and fail unless all gates did their work."""
    seeds = [read(path) for path in sorted((ROOT / "tests/seeded").glob("*.patch"))]
    chosen = [seed for seed in seeds if not sys.argv[1:] or _is_named(seed, sys.argv[1:])]
    if not chosen:
        print("no patch of that name in tests/seeded")
        return 2
    bad = 0
    with tempfile.TemporaryDirectory(prefix="shipway-seeded-") as folder:
        clean: dict[str, int] = {}
        for seed in chosen:
            verdict = try_seed(seed, Path(folder), clean)
            bad += verdict != "red"
            print(f"{seed.name:<40} {verdict}", flush=True)
    print(f"{len(chosen)} seeded bugs, {len(chosen) - bad} noticed")
    return 1 if bad else 0


def read(patch: Path) -> Seed:
    """Read a patch and its `Gate:` lines; one without a gate proves nothing."""
    gates = []
    for line in patch.read_text().splitlines():
        if line.startswith(("diff ", "--- ")):
            break
        if line.startswith("Gate:"):
            gates.append(line.removeprefix("Gate:").strip())
    return Seed(name=patch.stem, patch=patch, gates=tuple(gates))


def try_seed(seed: Seed, folder: Path, clean: dict[str, int]) -> str:
    """Return `red` if a gate noticed the bug, else what went wrong."""
    if not seed.gates:
        return "NO GATE: write `Gate: tests/...` above the diff"
    for gate in seed.gates:
        if gate not in clean:
            clean[gate] = run(copy_tree(folder / f"clean-{len(clean)}"), gate)
        if clean[gate] != GREEN:
            return f"GATE FAILS WITHOUT THE BUG: {gate}"
    tree = copy_tree(folder / seed.name)
    applied = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(seed.patch)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if applied.returncode:
        return f"PATCH DOES NOT APPLY: {applied.stderr.strip().splitlines()[0]}"
    codes = [run(tree, gate) for gate in seed.gates]
    shutil.rmtree(tree, ignore_errors=True)
    if RED in codes:
        return "red"
    return f"NOT NOTICED: pytest exited {codes}"


def copy_tree(into: Path) -> Path:
    """Copy what git knows or would add, with an interpreter that imports the copy first."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listing.decode().split("\0")):
        source, target = ROOT / name, into / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    python = into / ".venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", into / ".venv"], check=True)
    library = Path("lib") / f"python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    pth = into / ".venv" / library / "seeded.pth"
    pth.write_text(f"{into / 'src'}\n{Path(sys.prefix) / library}\n")
    script = into / ".venv/bin/shipway"
    script.write_text(f"#!{python}\nfrom shipway.cli.main import main\nmain()\n")
    script.chmod(0o755)
    return into


def run(tree: Path, gate: str) -> int:
    """Run one gate in a tree and return pytest's exit code; a gate that hangs counts as red."""
    env = {**os.environ, "PATH": f"{tree}/.venv/bin{os.pathsep}{os.environ['PATH']}"}
    command = [tree / ".venv/bin/python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [*command, *shlex.split(gate)],
        cwd=tree,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(GATE_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        return RED


def _is_named(seed: Seed, words: list[str]) -> bool:
    return any(word in seed.name for word in words)


if __name__ == "__main__":
    sys.exit(main())
