"""Lists the files that an image is built from, names their content, and lays them out."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shipway.builders.container.ignore import DockerIgnore
from shipway.builders.needs.inputs import read
from shipway.plugins.errors import PermanentError

IGNORE_FILES = (".dockerignore", ".containerignore")  # the first that is there counts
FILES_LIMIT = 200_000
# The times of all files laid out: engines compare them, or images differ by them.
_TIME_S = 315_619_200  # 1980, the first that a zip knows
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, folder or link below a folder."""

    path: str  # with slashes
    mode: int  # type and permissions
    size: int
    target: str = ""  # of a link


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is sent to an engine of a folder."""

    folder: Path
    entries: tuple[Entry, ...]  # sorted; a folder before what is in it

    @property
    def files(self) -> int:
        """How many files and links."""
        return sum(not stat.S_ISDIR(one.mode) for one in self.entries)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.entries)

    def digest(self) -> str:
        """Return the name of paths, modes and bytes; times and owners are not part of it."""
        summed = hashlib.sha256()
        for one in self.entries:
            content = one.target
            if stat.S_ISREG(one.mode):
                content = _sum(self.folder / one.path)
            line = f"{one.path}\0{one.mode:o}\0{content}\n"
            summed.update(line.encode("utf-8", "surrogateescape"))
        return summed.hexdigest()

    def lay_out(self, target: Path) -> None:
        """Copy all of it below a folder, modes kept, links as links."""
        target.mkdir(parents=True, exist_ok=True)
        for one in self.entries:
            place = target / one.path
            if stat.S_ISDIR(one.mode):
                place.mkdir(exist_ok=True)
            elif stat.S_ISLNK(one.mode):
                place.symlink_to(one.target)
            else:
                shutil.copyfile(self.folder / one.path, place, follow_symlinks=False)
        for one in reversed(self.entries):
            place = target / one.path
            if not stat.S_ISLNK(one.mode):
                place.chmod(stat.S_IMODE(one.mode) | stat.S_IRUSR)


def settle(folder: Path) -> None:
    """Give all files of a folder the same time."""
    for above, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            os.utime(Path(above, name), (_TIME_S, _TIME_S), follow_symlinks=False)


def read_context(folder: Path, *, dockerfile: Path | None = None) -> Context:
    """List a folder's files less those that its ignore file leaves out.

    As docker does, it reads `<Dockerfile>.dockerignore` beside the Dockerfile before
    `.dockerignore`. Ignore files themselves are not part of a context.
    """
    rules = DockerIgnore()
    file = _ignore_file(folder, dockerfile)
    if file is not None:
        text = read(file).decode("utf-8", "replace")
        rules = DockerIgnore.parse(text, name=file.relative_to(folder).as_posix())
    entries = []
    for one in _walk(folder, "", rules):
        entries.append(one)
        if len(entries) > FILES_LIMIT:
            raise PermanentError(
                f"the source has more than {FILES_LIMIT} files: leave some out by .dockerignore"
            )
    return Context(folder=folder, entries=tuple(entries))


def _ignore_file(folder: Path, dockerfile: Path | None) -> Path | None:
    names = [folder / name for name in IGNORE_FILES]
    if dockerfile is not None and folder in dockerfile.parents:
        names.insert(0, dockerfile.with_name(f"{dockerfile.name}.dockerignore"))
    for file in names:
        if file.is_symlink():
            raise PermanentError(f"{file.relative_to(folder)} is a link; make it a file")
        if file.is_file():
            return file
    return None


def _walk(folder: Path, below: str, rules: DockerIgnore) -> Iterator[Entry]:
    with os.scandir(folder / below) as found:
        listed: Sequence[os.DirEntry[str]] = sorted(found, key=lambda one: one.name)
    for one in listed:
        path = f"{below}{one.name}"
        seen = one.stat(follow_symlinks=False)
        is_out = rules.leaves_out(path)
        if stat.S_ISDIR(seen.st_mode):
            held = Entry(path=path, mode=seen.st_mode, size=0)
            if not is_out:
                yield held
            elif not rules.may_bring_back:
                continue
            for number, entry in enumerate(_walk(folder, f"{path}/", rules)):
                if is_out and number == 0:
                    yield held
                yield entry
            continue
        if is_out or (not below and one.name in IGNORE_FILES):
            continue
        if stat.S_ISLNK(seen.st_mode):
            target = str(Path(one.path).readlink())
            yield Entry(path=path, mode=seen.st_mode, size=0, target=target)
        elif stat.S_ISREG(seen.st_mode):
            yield Entry(path=path, mode=seen.st_mode, size=seen.st_size)


def _sum(file: Path) -> str:
    summed = hashlib.sha256()
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:  # noqa: PTH123 - a descriptor
        while piece := opened.read(_PIECE):
            summed.update(piece)
    return summed.hexdigest()
