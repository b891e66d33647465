"""Makes a small base image offline, from this machine's own Python, shell and tools."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from shipway.builders.uv_settings import find_uv

TOOLS = ("sh", "cat", "chmod", "cp", "date", "dd", "echo", "env", "false", "head", "id", "kill")
TOOLS += ("ls", "mkdir", "mv", "rm", "sed", "seq", "sleep", "stat", "tail", "test", "touch", "true")
_LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"}
_LEFT_OUT |= {"site-packages", "dist-packages", "__pycache__", "config-3.11-x86_64-linux-gnu"}
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"


@cache
def base_tar() -> bytes:
    """Return a root file system as a tar: `python3` and the tools are on its PATH."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _text(tar, "etc/passwd", _PASSWD)
        _text(tar, "etc/group", "root:x:0:\nnogroup:x:65534:\n")
        for name, mode in (("tmp", 0o1777), ("root", 0o755), ("proc", 0o755), ("dev", 0o755)):
            _folder(tar, name, mode)
        python = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
        programs = [Path("/usr/bin", tool) for tool in TOOLS if Path("/usr/bin", tool).exists()]
        libraries: set[str] = set()
        for program in [*programs, python]:
            libraries |= _libraries(program)
            _file(tar, program.resolve(), f"usr/bin/{program.name}")
        libraries |= _libraries(find_uv(os.defpath))  # builds bring the program, not its libraries
        stdlib = Path(sysconfig.get_path("stdlib"))
        for path in _stdlib_files(stdlib):
            if path.suffix == ".so":
                libraries |= _libraries(path)
            _file(tar, path, f"usr/lib/{stdlib.name}/{path.relative_to(stdlib)}")
        for library in sorted(libraries):
            _file(tar, Path(os.path.realpath(library)), library.lstrip("/"))
        for name in ("python3", "python"):
            _link(tar, f"usr/bin/{name}", python.name)
        for name in ("sh", "cat", "sleep", "true", "false", "echo", "ls"):
            _link(tar, f"bin/{name}", f"../usr/bin/{name}")
    return out.getvalue()


def _libraries(path: Path) -> set[str]:
    said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
    words = (word for line in said.splitlines() for word in line.split())
    return {word for word in words if word.startswith("/") and os.path.exists(word)}  # noqa: PTH110 - a word, not a path of ours


def _stdlib_files(stdlib: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(stdlib):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and path.suffix not in (".a", ".pyc"):
                yield path


def _file(tar: tarfile.TarFile, source: Path, name: str) -> None:
    data = source.read_bytes()
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o755 if os.access(source, os.X_OK) else 0o644
    tar.addfile(info, io.BytesIO(data))


def _text(tar: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text), 0o644
    tar.addfile(info, io.BytesIO(text.encode()))


def _folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    tar.addfile(info)
