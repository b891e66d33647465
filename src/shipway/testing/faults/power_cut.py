"""Cuts the power at moments of a recording, and looks at the disks that this may leave.

`python -m shipway.testing.faults.power_cut RECORDING SEED STATES` looks at so many states of a
recording that was kept, by their seeds; it prints those that break a promise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from shipway.testing.faults.disk import Disk, File, Luck
from shipway.testing.faults.facts import DATABASE, load
from shipway.testing.faults.recording import OPTIONS, Call, read
from shipway.testing.faults.verdict import Acknowledged, Verdict

LIMIT_S = 300.0  # of one recording
PLACE = "place"  # a file of a recording: where it was made
SHOWN = 10  # violations after which `main` has seen enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a loaded server did to its home, and what it acknowledged on the way."""

    folder: Path  # where it is now
    home: Path  # where the server's files lay
    marks: str  # the file that the facts were written to
    calls: Sequence[Call]  # on these


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One way in which one cut may have ended."""

    seed: int
    step: int  # the cut comes before this one
    luck: Luck


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A state that breaks promises."""

    state: State
    before: str  # what would have come next
    broken: tuple[str, ...]

    def __str__(self) -> str:
        more = f" (and {len(self.broken) - 3} more)" if len(self.broken) > 3 else ""
        return (
            f"state {self.state.seed}: power cut before {self.before}, of what was not synced "
            f"{self.state.luck.value!r} is there: {'; '.join(self.broken[:3])}{more}"
        )


@dataclass(frozen=True, slots=True)
class _Step:
    line: int
    is_end: bool
    call: Call


def record(folder: Path, *, seed: int) -> Recording:
    """Run a loaded server under strace and return what it did; the folder is kept."""
    (folder / "home").mkdir(parents=True)
    (folder / PLACE).write_text(str(folder))
    done = subprocess.run(
        [
            *("strace", *OPTIONS, "-o", str(folder / "trace")),
            *(sys.executable, "-m", "shipway.testing.faults.load"),
            *(str(folder / "home"), str(folder / "marks"), str(seed)),
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load ended with {done.returncode}: {done.stderr.strip()}")
    shutil.rmtree(folder / "home")
    return recording_in(folder)


def recording_in(folder: Path) -> Recording:
    """Read a recording that was kept, wherever it is now."""
    place = Path((folder / PLACE).read_text())
    home, marks = place / "home", str(place / "marks")
    with (folder / "trace").open(encoding="latin-1", newline="\n") as lines:
        calls = [
            call
            for call in read(lines)
            if (call.path is not None and call.path.startswith((str(home), marks)))
            or (call.path is None and call.texts)
        ]
    return Recording(folder=folder, home=home, marks=marks, calls=calls)


def violations(
    recording: Recording, *, first: int, count: int, folder: Path
) -> Iterator[Violation]:
    """Look at so many states, by the seeds from `first` on; yield those that break a promise."""
    steps = _steps(recording.calls)
    states = sorted(
        (_state(seed, len(steps)) for seed in range(first, first + count)),
        key=lambda state: (state.step, state.seed),
    )
    disk, home = Disk(str(recording.home)), Home(folder / "cut")
    acknowledged, verdict = Acknowledged(), Verdict()
    at = 0
    for state in states:
        for step in steps[at : state.step]:
            _take(step, disk, acknowledged, recording.marks)
        at = state.step
        chance = Random(state.seed)
        left = disk.after_a_cut(state.luck, chance)
        changed = home.become(left, recording.home)
        there = {path.rpartition("/")[2] for path in left}
        broken = verdict.broken(home.path, acknowledged, there=there, changed=changed)
        home.forget(is_broken=bool(broken))
        if broken:
            yield Violation(state=state, before=_named(steps[at]), broken=tuple(broken))


class Home:
    """A folder that becomes one disk after the other; what is equal stays as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._there: dict[str, tuple[int, int]] = {}  # path to file and version

    def become(self, left: dict[str, tuple[File, bytes | None]], root: Path) -> set[str]:
        """Write a disk's files; return the names of those that are not what they were."""
        if self.path.exists() and not self._there:
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        wanted: dict[str, tuple[int, int]] = {}
        changed: set[str] = set()
        for path, (file, data) in left.items():
            place = str(self.path) + path.removeprefix(str(root))
            known = (file.number, -1 if data is not None else file.version)
            wanted[place] = known
            if known[1] >= 0 and self._there.get(place) == known:
                continue
            changed.add(place.rpartition("/")[2])
            if file.is_folder:
                os.makedirs(place, exist_ok=True)  # noqa: PTH103 - hundreds of times a second
            else:
                _write(place, bytes(file.synced) if data is None else data)
        for place in self._there.keys() - wanted.keys():
            changed.add(place.rpartition("/")[2])
            if os.path.isdir(place):  # noqa: PTH112 - as above
                shutil.rmtree(place)
            else:
                Path(place).unlink(missing_ok=True)
        self._there = wanted
        return changed

    def forget(self, *, is_broken: bool) -> None:
        """Remove what opening the home changed or made, so that it is written anew."""
        if is_broken:  # what is damaged was put aside
            self._there = {}
            return
        database = self.path / DATABASE
        for place in database.parent.glob(f"{database.name}*"):
            place.unlink()
        self._there = {place: known for place, known in self._there.items() if ".db" not in place}


def _write(place: str, data: bytes) -> None:
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while data:
            data = data[os.write(handle, data) :]
    finally:
        os.close(handle)


def _steps(calls: Sequence[Call]) -> list[_Step]:
    begins = [_Step(call.begin, False, call) for call in calls]  # noqa: FBT003 - a row of a table
    ends = [_Step(call.end, True, call) for call in calls]  # noqa: FBT003 - as above
    return sorted([*begins, *ends], key=lambda step: (step.line, step.is_end))


def _state(seed: int, steps: int) -> State:
    chance = Random(f"state {seed}")
    return State(seed=seed, step=chance.randrange(steps), luck=chance.choice(list(Luck)))


def _take(step: _Step, disk: Disk, acknowledged: Acknowledged, marks: str) -> None:
    if step.call.path == marks:
        if step.is_end and step.call.name == "write":
            acknowledged.take(load(step.call.texts[0]))
    elif step.is_end:
        disk.end(step.call)
    else:
        disk.begin(step.call)


def main(argv: Sequence[str]) -> int:
    """Look at states of a recording; 1 if any breaks a promise."""
    folder, first, count = Path(argv[0]), int(argv[1]), int(argv[2])
    found = 0
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        recording = recording_in(folder)
        for violation in violations(recording, first=first, count=count, folder=Path(name)):
            sys.stdout.write(f"{violation}\n")
            found += 1
            if found == SHOWN:
                break
    return 1 if found else 0


def _named(step: _Step) -> str:
    call = step.call
    what = call.path or " -> ".join(text.decode(errors="replace") for text in call.texts)
    name = what.rpartition("/")[2]
    return f"the {'end' if step.is_end else 'begin'} of {call.name} of {name} (line {step.line})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
