"""`shipway doctor` beside real engines: those that answer, those that do not, what they lack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from shipway.engines.engine import EngineRefused
from tests.support.engines import BASE, an_engine


def doctor(env: dict[str, str], folder: Path, name: str, *argv: str) -> Any:
    """Return what a machine with one engine alone prints; nothing of this one's is in its PATH."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    if not (programs / name).exists():
        (programs / name).symlink_to(env["ENGINE"])
    # fmt: off
    ran = subprocess.run(
        [sys.executable, "-m", "shipway", "doctor", *argv], check=False, capture_output=True,
        text=True,
        env={
            **{key: value for key, value in env.items() if key != "ENGINE"}, "HOME": str(folder),
            "PATH": os.pathsep.join([str(programs), "/usr/sbin", "/sbin"]),
            "SHIPWAY_HOME": str(folder / "home"), "SHIPWAY_AUTOSTART": "0",
        },
    )
    # fmt: on
    if "--json" not in argv:
        return ran.stdout
    items = json.loads(ran.stdout)["items"]
    return {one["name"]: one for one in items if one["name"] in ("docker", "podman", "engines")}


def test_docker_is_told_with_live_restore_and_without_its_daemon(tmp_path: Path) -> None:
    """Earns its daemon: what it says of itself, and what its client prints without it."""
    with an_engine("docker", with_live_restore=False) as lent:
        env = {**lent.env, "ENGINE": lent.program}
        found = doctor(env, tmp_path, "docker", "--json")
        assert list(found) == ["docker"]
        assert found["docker"]["verdict"] == "odd"
        assert "answers, as root; " in found["docker"]["text"]
        assert "live-restore is off" in found["docker"]["text"]
        assert '{"live-restore": true}' in doctor(env, tmp_path, "docker")
        lent.kill_daemon()
        found = doctor(env, tmp_path, "docker", "--json")["docker"]
        assert (found["verdict"], "cannot be used" in found["text"]) == ("odd", True)
        assert "systemctl start docker" in found["remedy"]
        lent.with_live_restore = True
        lent.start()
        found = doctor(env, tmp_path, "docker", "--json")["docker"]
        assert "live-restore" not in found["text"]


def test_podman_is_told_with_its_runtime(tmp_path: Path) -> None:
    with an_engine("podman") as lent:
        env = {**lent.env, "ENGINE": lent.program}
        found = doctor(env, tmp_path, "podman", "--json")
        assert list(found) == ["podman"]
        assert "with runc answers, as root" in found["podman"]["text"]
        assert "open files" not in found["podman"]["text"]
        config = lent.folder / "containers.conf"
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if "default_ulimits" not in line))
        found = doctor(env, tmp_path, "podman", "--json")
        try:
            lent.engine.run("run", "--rm", "--network=none", BASE, "true")
        except EngineRefused:
            assert "open files" in found["podman"]["text"]
            assert "default_ulimits = [" in found["podman"]["remedy"]
        else:
            assert "open files" not in found["podman"]["text"]
