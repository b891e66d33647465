"""What a program finds: its argv, its variables, and nothing else of the agent's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shipway.agent.environment import (
    CONFIG_CHUNK,
    NoProgram,
    Place,
    build_argv,
    build_env,
    common_env,
    needs_python,
    surroundings,
)
from shipway.agent.lease import Lease, read_lease

AGENT_ENV = {
    "PATH": "/opt/agent/bin:/usr/bin:/bin",
    "HOME": "/home/me",
    "USER": "me",
    "https_proxy": "http://proxy:3128",
    "SSL_CERT_FILE": "/ca.pem",
    "CUDA_VISIBLE_DEVICES": "0",
    "SECRET": "do not tell",
    "SHIPWAY_API_KEY": "the agent's own",
    "PYTHONPATH": "/opt/agent/lib",
    "DATA_ROOT": "/data",
}


def a_lease(*, asked: dict[str, Any] | None = None, attempt: int = 1, **spec: Any) -> Lease:
    value: dict[str, Any] = {
        "item": "item1",
        "attempt": attempt,
        "token": "token",
        "job_key": "sw_jitem1-x",
        "term_ms": 30_000,
        "item_json": {
            "resource": "local-process",
            "entity": "team",
            "project": "vision",
            "run_id": "abcd1234",
            "name": "first try",
            "queue": "gpu",
            "author": "ada",
            "sweep_id": None,
            "spec": {
                "entry_point": ["main.py"],
                "args": [],
                "queue_entity": "team",
                "resource_args": {"local-process": asked or {}},
                **spec,
            },
        },
    }
    return read_lease(value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    start = tmp_path / "item1.1" / "work"
    start.mkdir(parents=True)
    for name in ("main.py", "run.sh", "tool"):
        (start / name).write_text("")
    (start / "tool").chmod(0o755)
    return Place(folder=tmp_path / "item1.1", start=start, python=Path("/env/bin/python"))


def an_env(lease: Lease, place: Place, *pass_env: str) -> dict[str, str]:
    around = surroundings(
        AGENT_ENV,
        base_url="http://server:1",
        runside=Path("/runside"),
        pass_env=pass_env,
        own_bin="/opt/agent/bin",
    )
    return build_env(lease, common_env(lease, around), place)


def test_a_program_sees_exactly_what_it_is_promised(place: Place) -> None:
    env = an_env(a_lease(), place)
    assert sorted(name for name in env if not name.startswith(("SHIPWAY_", "WANDB_"))) == [
        "CUDA_VISIBLE_DEVICES",
        "HOME",
        "LANG",
        "PATH",
        "PYTHONUNBUFFERED",
        "SSL_CERT_FILE",
        "TMPDIR",
        "USER",
        "https_proxy",
    ]
    assert env["PATH"] == "/usr/bin:/bin"
    assert env["TMPDIR"] == str(place.folder / "tmp")
    assert env["SHIPWAY_API_KEY"] == env["WANDB_API_KEY"] == "sw_jitem1-x"
    assert (env["SHIPWAY_PROJECT"], env["WANDB_RUN_ID"]) == ("vision", "abcd1234")
    assert env["WANDB_LAUNCH_QUEUE_ENTITY"] == "team"
    assert "SHIPWAY_SWEEP_ID" not in env


def test_only_the_named_variables_of_the_agent_are_passed_on(place: Place) -> None:
    env = an_env(a_lease(), place, "DATA_ROOT", "NOT_SET")
    assert env["DATA_ROOT"] == "/data"
    assert "SECRET" not in env
    assert "NOT_SET" not in env


def test_the_items_own_variables_win_and_macros_are_filled(place: Place) -> None:
    lease = a_lease(asked={"env": {"LANG": "de_DE", "TAG": "${project_name}/${run_id}", "N": 3}})
    env = an_env(lease, place)
    assert (env["LANG"], env["TAG"], env["N"]) == ("de_DE", "vision/abcd1234", "3")


def test_a_long_run_config_is_cut_into_numbered_variables(place: Place) -> None:
    env = an_env(a_lease(run_config={"text": "x" * CONFIG_CHUNK}), place)
    assert "WANDB_CONFIG" not in env
    text = env["WANDB_CONFIG_0"] + env["WANDB_CONFIG_1"]
    assert text == '{"text": "' + "x" * CONFIG_CHUNK + '"}'


def test_wandb_s_run_uses_the_job_that_it_was_launched_from(place: Place) -> None:
    assert "WANDB_ARTIFACTS" not in an_env(a_lease(), place)
    own = a_lease(job="Team/vision/train:v1", entity="team", artifacts={"data": "data:v1"})
    assert json.loads(an_env(own, place)["WANDB_ARTIFACTS"]) == {
        "_wandb_job": "Team/vision/train:v1", "data": "data:v1",
    }  # fmt: skip
    others = a_lease(job="other/vision/train:v1", entity="team")
    assert "WANDB_ARTIFACTS" not in an_env(others, place), "its key does not see that job"


def test_a_second_attempt_lets_wandb_resume(place: Place) -> None:
    assert "WANDB_RESUME" not in an_env(a_lease(), place)
    assert an_env(a_lease(attempt=2), place)["WANDB_RESUME"] == "allow"


@pytest.mark.parametrize(
    ("entry", "argv"),
    [
        (["main.py"], ("/env/bin/python", "main.py", "--x", "1")),
        (["run.sh"], ("/usr/bin/sh", "run.sh", "--x", "1")),
        (["tool", "a"], ("{start}/tool", "a", "--x", "1")),
        (["./tool"], ("{start}/./tool", "--x", "1")),
        (["env", "A=1"], ("/usr/bin/env", "A=1", "--x", "1")),
        (["/bin/sh", "-c", ":"], ("/bin/sh", "-c", ":", "--x", "1")),
    ],
)
def test_argv_is_found_in_environment_source_and_path(
    place: Place, entry: list[str], argv: tuple[str, ...]
) -> None:
    lease = a_lease(entry_point=entry, args=["--x", "1"])
    found = build_argv(lease, place, an_env(lease, place), lambda name, *, path: f"/usr/bin/{name}")
    assert found == tuple(word.format(start=place.start) for word in argv)


def test_a_notebook_runs_under_the_environment_s_python(place: Place, tmp_path: Path) -> None:
    (place.start / "study.ipynb").write_text("{}")
    lease = a_lease(entry_point=["study.ipynb"], args=["--x", "1"])
    inner = Place(folder=place.folder, start=place.start, python=tmp_path / "python")
    env = an_env(lease, inner)
    runs = f"{env['SHIPWAY_RUNSIDE']}/shipway/notebook.py"
    found = build_argv(lease, inner, env)
    assert found == (str(inner.python), runs, "study.ipynb", "--x", "1")
    with pytest.raises(NoProgram, match=r"other\.ipynb"):
        build_argv(a_lease(entry_point=["other.ipynb"]), inner, env)


def test_the_environments_own_scripts_come_first(place: Place, tmp_path: Path) -> None:
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "tool").write_text("")
    (scripts / "tool").chmod(0o755)
    inner = Place(folder=place.folder, start=place.start, python=None, path=(scripts,))
    lease = a_lease(entry_point=["tool"])
    assert build_argv(lease, inner, an_env(lease, inner)) == (str(scripts / "tool"),)


@pytest.mark.parametrize(
    "entry",
    [["gone.py"], ["gone.sh"], ["python", "sub/gone.py"], ["no-such-program"], ["/no/such"], []],
)
def test_an_entry_point_that_is_not_there_is_named(place: Place, entry: list[str]) -> None:
    lease = a_lease(entry_point=entry)
    with pytest.raises(NoProgram, match=entry[-1] if entry else "no entry point"):
        build_argv(lease, place, an_env(lease, place))


@pytest.mark.parametrize(
    ("entry", "asked", "needs"),
    [
        (["true"], {}, False),
        (["run.sh"], {}, False),
        (["./tool"], {}, False),
        (["main.py"], {}, True),
        (["python3.12", "-m", "x"], {}, True),
        (["true"], {"python": "3.12"}, True),
        (["true"], {"extras": ["gpu"]}, True),
    ],
)
def test_only_what_needs_python_gets_an_environment(
    tmp_path: Path, entry: list[str], asked: dict[str, Any], *, needs: bool
) -> None:
    assert needs_python(entry, {}, asked, [tmp_path]) is needs


def test_a_lock_anywhere_up_to_the_root_makes_an_environment(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "requirements.txt").touch()
    assert needs_python(["train"], {}, {}, [tmp_path / "sub", tmp_path])
