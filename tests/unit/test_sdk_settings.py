"""Where the server, the key and the data directory come from."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import shipway
from shipway.client import Client
from shipway.domain.errors import Code, Invalid, ShipwayError, Unauthenticated
from shipway.sdk.autostart import Starter
from shipway.sdk.connection import connect
from shipway.sdk.discovery import find_embedded, is_process, read_server
from shipway.sdk.home import choose_home, default_home, file_system_of
from shipway.sdk.replacement import is_idle, is_older
from shipway.sdk.settings import (
    Settings,
    program_folder,
    read_settings,
    store_login,
    user_config,
)
from tests.support.scripted_server import error, ok, scripted_server


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


def write_own(env: dict[str, str], text: str) -> None:
    path = user_config(env)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_argument_ranks_over_environment_over_program_over_user(
    env: dict[str, str], tmp_path: Path
) -> None:
    write_own(env, 'base_url = "http://user"\nproject = "user"\nentity = "user"\nqueue = "user"\n')
    (tmp_path / "shipway.toml").write_text('project = "beside"\nentity = "beside"\n')
    env["SHIPWAY_ENTITY"] = "variable"
    found = read_settings(env, program=tmp_path, base_url="http://argument/")
    assert (found.base_url, found.entity, found.project, found.queue) == (
        "http://argument", "variable", "beside", "user",
    )  # fmt: skip


def test_nothing_said_means_the_embedded_server(env: dict[str, str]) -> None:
    assert read_settings(env, program=None) == Settings()


@pytest.mark.parametrize("value", ["0", "false", "No", "OFF"])
def test_autostart_can_be_turned_off(env: dict[str, str], value: str) -> None:
    assert not read_settings({**env, "SHIPWAY_AUTOSTART": value}, program=None).is_autostart
    assert not read_settings({**env, "SHIPWAY_PIN_IMAGES": value}, program=None).is_image_pinned


def test_the_users_key_never_follows_an_address_that_came_with_code(
    env: dict[str, str], tmp_path: Path
) -> None:
    write_own(env, 'base_url = "http://mine"\napi_key = "sw_mine"\n')
    assert read_settings(env, program=None).api_key == "sw_mine"
    (tmp_path / "shipway.toml").write_text('base_url = "http://elsewhere"\n')
    found = read_settings(env, program=tmp_path)
    assert (found.base_url, found.api_key) == ("http://elsewhere", None)


@pytest.mark.parametrize("text", ["colour = 1", "project = 1", "autostart = 'no'", "= ["])
def test_a_bad_file_is_named(env: dict[str, str], tmp_path: Path, text: str) -> None:
    (tmp_path / "shipway.toml").write_text(text)
    with pytest.raises(Invalid, match=r"shipway\.toml"):
        read_settings(env, program=tmp_path)


def test_login_is_stored_for_its_owner_only_and_keeps_the_rest(env: dict[str, str]) -> None:
    write_own(env, 'queue = "gpu"\nautostart = false\n')
    path = user_config(env)
    store_login(path, base_url="http://x", api_key='a"b')
    found = read_settings(env, program=None)
    assert (found.base_url, found.api_key, found.queue) == ("http://x", 'a"b', "gpu")
    assert not found.is_autostart
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_programs_folder_is_where_its_file_lies(tmp_path: Path) -> None:
    main = SimpleNamespace(__file__=str(tmp_path / "train.py"))
    assert program_folder(["train.py"], main) == tmp_path
    assert program_folder([""], SimpleNamespace()) == Path.cwd()
    assert program_folder(["/usr/bin/shipway"], SimpleNamespace()) == Path.cwd()


def test_a_command_of_shipway_s_reads_the_current_directory(tmp_path: Path) -> None:
    command = tmp_path / "shipway"
    command.touch()
    alias = tmp_path / "sw"
    alias.symlink_to(command)
    for file in (command, alias, Path(shipway.__file__).with_name("__main__.py")):
        assert program_folder([str(file)], SimpleNamespace(__file__=str(file))) == Path.cwd()


def test_home_is_the_platforms_unless_it_is_named(env: dict[str, str], tmp_path: Path) -> None:
    assert choose_home(env, file_system=lambda _: "ext4").path == default_home(env)
    env["SHIPWAY_HOME"] = str(tmp_path / "named")
    assert choose_home(env, file_system=lambda _: "ext4").path == tmp_path / "named"


def test_a_named_home_on_a_network_file_system_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="local disk"):
        choose_home({**env, "SHIPWAY_HOME": "/srv/x"}, file_system=lambda _: "nfs4")


def test_the_type_of_a_file_system_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 0:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:2 / /home rw shared:1 - nfs4 server:/home rw\n"
        "3 2 0:3 / /home/ada\\040l rw - xfs /dev/b rw\n"
    )
    assert file_system_of(Path("/srv"), mounts) == "ext4"
    assert file_system_of(Path("/home/eve/x"), mounts) == "nfs4"
    assert file_system_of(Path("/home/ada l/x"), mounts) == "xfs"
    assert file_system_of(Path("/homer"), mounts) == "ext4"
    assert file_system_of(Path("/home"), tmp_path / "none") == ""


def server_json(home: Path, **changes: Any) -> dict[str, Any]:
    home.mkdir(parents=True, exist_ok=True)
    facts = {
        "base_url": "http://127.0.0.1:1", "api_key": "sw_k", "entity": "ada",
        "pid": os.getpid(), "host": socket.gethostname(), "boot_id": "b1",
        "started_at": time.time_ns() // 1_000_000, "version": "0.1.0", "protocol": 1,
    } | changes  # fmt: skip
    (home / "server.json").write_text(json.dumps(facts))
    return facts


def test_an_embedded_server_is_found_when_host_process_and_boot_id_fit(tmp_path: Path) -> None:
    server_json(tmp_path)
    found = find_embedded(tmp_path, health=lambda _: "b1")
    assert found is not None
    assert found.base_url == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "changes",
    [{"host": "elsewhere"}, {"pid": 2**22 + 1}, {"started_at": 1}, {"boot_id": "b0"}],
)
def test_what_is_left_of_another_server_is_not_taken_for_it(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    server_json(tmp_path, **changes)
    assert find_embedded(tmp_path, health=lambda _: "b1") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"base_url": 1}', '{"pid": "x"}'])
def test_half_a_server_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert read_server(tmp_path / "server.json") is None


def test_a_process_that_began_later_is_another(tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    assert is_process(os.getpid(), started_before=now)
    assert not is_process(os.getpid(), started_before=now - 86_400_000 * 365)


def test_an_address_without_a_key_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated, match="shipway login"):
        connect(env=env, settings=Settings(base_url="http://ship.example"))


def test_without_autostart_the_error_says_how_to_start(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "SHIPWAY_HOME": str(tmp_path / "home")}
    with pytest.raises(ShipwayError, match="shipway up") as caught:
        connect(env=env, settings=Settings(is_autostart=False))
    assert caught.value.code is Code.UNREACHABLE
    assert not (tmp_path / "home").exists()


class Steps:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        time.sleep(0.002)  # for the real process that is started


def a_starter(argv: tuple[str, ...], said: list[str]) -> Starter:
    steps = Steps()
    return Starter(
        env={}, is_default_home=False, say=said.append, clock=steps.clock, sleep=steps.sleep,
        argv=argv,
    )  # fmt: skip


def test_a_server_that_came_meanwhile_is_not_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    assert a_starter(("/bin/false",), said).start(tmp_path, lambda: "found") == "found"
    assert said == []


def test_a_start_says_how_to_stop(tmp_path: Path) -> None:
    said: list[str] = []
    answers = iter([None, None, "found"])
    assert a_starter(("/bin/true",), said).start(tmp_path, lambda: next(answers)) == "found"
    assert len(said) == 1
    assert f"SHIPWAY_HOME={tmp_path} shipway down" in said[0]


def test_a_start_that_fails_says_what_it_printed(tmp_path: Path) -> None:
    starter = a_starter(("/bin/sh", "-c", "echo the port is taken >&2; exit 3"), [])
    with pytest.raises(ShipwayError, match="the port is taken") as caught:
        starter.start(tmp_path, lambda: None)
    assert caught.value.code is Code.UNREACHABLE


def test_two_starts_at_once_are_one(tmp_path: Path) -> None:
    """The second finds the lock held, waits, and then finds what the first one started."""
    inner: list[str] = []
    outer_said: list[str] = []
    inner_said: list[str] = []
    state: list[str] = []

    def look() -> str | None:
        if state:
            return state[0]
        if not inner:
            inner.append("once")
            steps = Steps()

            def wake(seconds: float) -> None:
                steps.now += seconds
                state[:] = ["found"]

            second = Starter(
                env={}, is_default_home=True, say=inner_said.append, clock=steps.clock, sleep=wake
            )
            with pytest.raises(ShipwayError, match="another process"):
                second.start(tmp_path, look)
            state.clear()
            return None
        return "found"

    assert a_starter(("/bin/true",), outer_said).start(tmp_path, look) == "found"
    assert len(outer_said) == 1
    assert inner_said == []


@pytest.mark.parametrize(
    ("version", "than", "expected"),
    [
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "0.10.0", True),
        ("0.2.0", "0.2.0", False),
        ("0.2.0", "0.1.9", False),
        ("main", "0.1.0", False),
        ("0.1.0", "main", False),
    ],
)
def test_versions_are_compared_as_numbers(version: str, than: str, *, expected: bool) -> None:
    assert is_older(version, than) is expected


@pytest.mark.parametrize("held", ["leased", "running"])
def test_a_server_is_idle_while_nobody_holds_an_item(held: str) -> None:
    waiting = ok({"items": [{"counts": {"pending": 2, "finished": 9}}]})
    with scripted_server(
        waiting, ok({"items": [{"counts": {held: 1}}]}), error(503, Code.OVERLOADED)
    ) as server:
        client = Client(server.base_url, "sw_a-secret", patience_s=0, env={})
        assert is_idle(client)
        assert not is_idle(client)
        assert not is_idle(client)
