"""What the builder keeps is listed with its last use, and removed unless somebody uses it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from shipway.builders.uv import kept
from shipway.builders.uv.cache_lock import building
from shipway.plugins.kept import Kept

OLD = 1_000_000.0


def an_environment(cache: Path, name: str = "aa", *, used: float = OLD) -> Path:
    generation = cache / "envs" / name / "1"
    (generation / "env").mkdir(parents=True)
    (generation / "env/file.py").write_text("x" * 5_000)
    (generation / "seal.json").write_text("{}")
    (generation / "used").touch()
    os.utime(generation / "used", (used, used))
    return generation


def a_wheel(cache: Path, generation: Path, *, fetched: float = OLD - 100) -> Path:
    """Make an unpacked wheel whose file an environment links to, as uv does."""
    wheel = cache / "uv/archive-v0/w1"
    wheel.mkdir(parents=True)
    os.link(generation / "env/file.py", wheel / "file.py")
    os.utime(wheel, (fetched, fetched))
    return wheel


def one(cache: Path, path: Path) -> Kept:
    return next(each for each in kept.kept(cache) if each.path == path)


def test_a_wheel_was_used_when_its_environment_was(tmp_path: Path) -> None:
    generation = an_environment(tmp_path)
    wheel = a_wheel(tmp_path, generation)
    assert one(tmp_path, generation).used_at == one(tmp_path, wheel).used_at == OLD
    shared = one(tmp_path, generation).files.keys() & one(tmp_path, wheel).files.keys()
    assert shared == {(wheel / "file.py").stat().st_ino}


def test_what_crashes_left_is_waste(tmp_path: Path) -> None:
    half = an_environment(tmp_path, "half")
    (half / "seal.json").unlink()
    left = tmp_path / "tmp/abc"
    left.mkdir(parents=True)
    project = tmp_path / "projects/p1"
    project.mkdir(parents=True)
    found = {each.path: each.is_waste for each in kept.kept(tmp_path)}
    assert found == {half: True, left: True, project: True}


def test_it_is_gone_with_its_read_only_folders(tmp_path: Path) -> None:
    generation = an_environment(tmp_path)
    (generation / "env").chmod(0o500)
    assert kept.evict(tmp_path, one(tmp_path, generation))
    assert not generation.exists()
    assert not list((tmp_path / "evicted").iterdir())


def test_what_was_used_since_stays(tmp_path: Path) -> None:
    generation = an_environment(tmp_path)
    gone = one(tmp_path, generation)
    (generation / "used").touch()
    assert not kept.evict(tmp_path, gone)
    assert generation.exists()


def test_what_is_being_built_stays(tmp_path: Path) -> None:
    generation = an_environment(tmp_path)
    gone = one(tmp_path, generation)
    with (tmp_path / "envs/aa.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not kept.evict(tmp_path, gone)
    assert kept.evict(tmp_path, gone)


@pytest.mark.parametrize("is_building", [True, False])
def test_a_wheel_stays_while_uv_runs(tmp_path: Path, *, is_building: bool) -> None:
    wheel = a_wheel(tmp_path, an_environment(tmp_path))
    gone = one(tmp_path, wheel)
    if is_building:
        with building(tmp_path):
            assert not kept.evict(tmp_path, gone)
    else:
        assert kept.evict(tmp_path, gone)
    assert wheel.exists() is is_building
