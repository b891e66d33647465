"""A server as a process of its own: its keys, its one line, its end."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.rest_server import Caller

END_S = 10.0


@contextmanager
def served(
    folder: Path, *more: str, pass_fds: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    argv = [
        *(sys.executable, "-m", "shipway.server"),
        *("--database", f"sqlite:///{folder / 'data' / 'shipway.db'}"),
        *("--blobs", str(folder / "blobs")),
        *more,
    ]
    (folder / "data").mkdir(exist_ok=True)
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=log, text=True, pass_fds=pass_fds, cwd=folder
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_an_embedded_server_makes_its_key_once_and_keeps_it(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    keys = []
    for _ in range(2):
        with served(tmp_path, "--key-file", str(key_file)) as process:
            port = int(json.loads(_line(process))["base_url"].rpartition(":")[2])
            keys.append(key_file.read_text().strip())
            assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
            assert Caller(port=port, key=keys[-1]).get("/api/v1/me").json["role"] == "admin"
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_S) == 0
    assert keys[0] == keys[1]
    log = (tmp_path / "server.log").read_text()
    assert keys[0] not in log
    assert all(json.loads(line)["event"] for line in log.splitlines())


def test_a_kept_key_is_taken_over_by_a_new_database(tmp_path: Path) -> None:
    key = "sw_0123456789-" + "k" * 40
    (tmp_path / "key").write_text(key + "\n")
    with served(tmp_path, "--key-file", str(tmp_path / "key")) as process:
        port = int(json.loads(_line(process))["base_url"].rpartition(":")[2])
        assert Caller(port=port, key=key).get("/api/v1/me").status == 200


def test_a_first_admin_gets_a_key_in_a_file_and_only_its_path_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    with served(tmp_path, "--admin-key-file", str(path)) as process:
        assert _line(process) == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0
        assert process.stdout
        assert process.stdout.read() == ""
    assert path.read_text().startswith("sw_")


def test_a_key_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    path.write_text("somebody else's")
    with served(tmp_path, "--admin-key-file", str(path)) as process:
        assert process.wait(END_S) == 1
    assert path.read_text() == "somebody else's"
    assert "is there already" in (tmp_path / "server.log").read_text()


def test_a_server_ends_within_five_seconds_of_its_parent(tmp_path: Path) -> None:
    theirs, ours = os.pipe()
    try:
        more = ("--key-file", str(tmp_path / "key"), "--parent-fd", str(theirs))
        with served(tmp_path, *more, pass_fds=(theirs,)) as process:
            _line(process)
            os.close(ours)
            ours = -1
            began = time.monotonic()
            assert process.wait(END_S) == 0
            assert time.monotonic() - began < 5
    finally:
        os.close(theirs)
        if ours >= 0:
            os.close(ours)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with served(tmp_path, "--key-file", str(tmp_path / "key")) as first:
        port = json.loads(_line(first))["base_url"].rpartition(":")[2]
        other = tmp_path / "other"
        other.mkdir()
        with served(other, "--key-file", str(other / "key"), "--port", port) as second:
            assert second.wait(END_S) == 1
        assert f"port {port}" in (other / "server.log").read_text()
