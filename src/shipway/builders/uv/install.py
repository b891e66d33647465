"""Installs a lock into an empty environment."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from shipway.builders.needs import startup
from shipway.builders.needs.inputs import Input, read_toml
from shipway.builders.needs.locks import Form, Lock
from shipway.builders.uv import resolve
from shipway.builders.uv.pythons import Python
from shipway.builders.uv.tool import Uv, UvFailed, tail
from shipway.plugins.builder import BuildRequest
from shipway.plugins.errors import PermanentError

START_S = 60.0  # for the environment's first start, its bytecode being made
_FIND_LINKS = re.compile(r"^(?:-f|--find-links)[ =]\s*(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make one environment from its lock."""

    chosen: Input
    lock: Lock
    python: Python
    request: BuildRequest
    uv: Callable[[], Uv]

    def make(self, env: Path) -> None:
        """Build the environment at its final place: scripts carry its path."""
        uv = self.uv()
        try:
            uv.run("venv", "--no-project", "--python", self.python.path, env, cwd=env.parent)
            startup.write(_site(env))
            self._install(env, uv, ())
        except UvFailed as failed:
            raise self._error(failed) from failed

    def reinstall(self, env: Path, damaged: Mapping[str, str]) -> None:
        """Fetch the owners of damaged files anew and put them in place of those installed."""
        uv = self.uv()
        names = sorted(set(damaged.values()))
        try:
            uv.run("cache", "clean", *names, cwd=env.parent)
            for path in damaged:
                # The damaged copy must not be written to again, nor linked to by anybody.
                (env / path).unlink(missing_ok=True)
            self._install(env, uv, names)
        except UvFailed as failed:
            raise self._error(failed) from failed

    def _install(self, env: Path, uv: Uv, anew: Iterable[str]) -> None:
        python = env / "bin" / "python"
        flags = ["--compile-bytecode"]
        for name in anew:
            flags += ["--reinstall-package", name]
        if self.lock.form is Form.NONE:
            _compile(python, env)
            return
        scratch_root = uv.cache.parent / "tmp"
        scratch_root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=scratch_root) as name:
            scratch = Path(name)
            file = scratch / self.lock.form.value
            if self.lock.form is Form.UV:
                resolve.lay_out(self.chosen, scratch)
                file.write_bytes(self.lock.content)
                self._sync(env, uv, scratch, flags)
            elif self.lock.form is Form.PYLOCK:
                resolve.copy_settings(self.chosen.folder, scratch)
                file.write_bytes(self.lock.content)
                flags += [*_each("--extra", self.request.extras)]
                flags += [*_each("--group", self.request.groups)]
                uv.run("pip", "sync", "--python", python, *flags, file, cwd=scratch)
            else:
                resolve.copy_settings(self.chosen.folder, scratch)
                text = _with_places(self.lock.content.decode(), self.chosen.folder)
                file.write_text(text)
                args = ("pip", "install", "--no-deps", "--python", python)
                uv.run(*args, *flags, "-r", file, cwd=scratch)

    def _sync(self, env: Path, uv: Uv, scratch: Path, flags: list[str]) -> None:
        member = scratch / self.chosen.member.relative_to(self.chosen.folder)
        content = read_toml(self.chosen.member / "pyproject.toml")
        if "project" not in content:
            flags = [*flags, "--all-packages"]
        flags = [*flags, *_each("--extra", self.request.extras)]
        flags = [*flags, *_each("--group", self.request.groups)]
        inside = Uv(
            binary=uv.binary,
            cache=uv.cache,
            env={**uv.env, "UV_PROJECT_ENVIRONMENT": str(env)},
            deadline=uv.deadline,
            print=uv.print,
        )
        inside.run(
            *("sync", "--frozen", "--no-install-project", "--no-install-workspace"),
            *("--no-install-local", "--inexact", "--python", self.python.path, *flags),
            cwd=member,
        )

    def _error(self, failed: UvFailed) -> PermanentError:
        name = self.chosen.file.name if self.chosen.file else "the empty environment"
        return PermanentError(
            f"the environment of {name} could not be installed for {self.python}; uv says:\n"
            f"{tail(failed.words)}"
        )


def uv_choices(chosen: Input) -> list[object]:
    """Return what beside a uv.lock decides what `uv sync` installs."""
    root = read_toml(chosen.folder / "pyproject.toml")
    member = read_toml(chosen.member / "pyproject.toml")
    settings = {**root.get("tool", {}).get("uv", {})}
    for other in ("workspace", "sources", "build-backend"):  # resolved already, or not ours
        settings.pop(other, None)
    return [member.get("project", {}).get("name"), str(sorted(settings.items()))]


def _site(env: Path) -> Path:
    found = next(iter(sorted(env.glob("lib/*/site-packages"))), None)
    assert found is not None, f"{env} has no site-packages"
    return found


def _compile(python: Path, env: Path) -> None:
    """Compile our own start-up file where uv has nothing to install, hence nothing to compile."""
    subprocess.run(
        [python, "-I", "-m", "compileall", "-q", str(_site(env))],
        check=True,
        capture_output=True,
        timeout=START_S,
        env={},
    )


def _each(flag: str, values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from (flag, value)


def _with_places(text: str, folder: Path) -> str:
    """Make the folders of --find-links absolute; they are relative to the file they came from."""
    lines = []
    for line in text.splitlines():
        found = _FIND_LINKS.match(line)
        if found and "://" not in found[1]:
            lines.append(f"--find-links {folder / found[1]}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"
