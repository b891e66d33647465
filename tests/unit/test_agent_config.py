"""The agent's config file: wandb's keys and ours, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from shipway.agent.config import load_config, parse_config
from shipway.domain.agent import RunAs
from shipway.domain.errors import Invalid


def test_wandbs_keys_are_read_and_ours_too() -> None:
    config = parse_config(
        {
            "queues": ["a", "b"],
            "entity": "team",
            "max_jobs": -1,
            "max_schedulers": 2,
            "secure_mode": False,
            "verbosity": 1,
            "stopped_run_timeout": 60,
            "builder": {"type": "noop"},
            "registry": None,
            "environment": {"type": "aws", "region": "eu"},
            "run_as": "shared",
            "pass_env": ["DATA"],
            "git_hosts": ["git.example.org"],
            "git_protocols": ["https"],
            "resources": ["local-process"],
        },
        where="a test",
    )
    assert (config.queues, config.entity, config.max_jobs) == (("a", "b"), "team", -1)
    assert (config.grace_s, config.run_as, config.pass_env) == (60.0, RunAs.SHARED, ("DATA",))
    assert config.policy.git_hosts == ("git.example.org",)
    assert config.wandb["builder"] == {"type": "noop"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"queue": "a"}, "'queue' in a test is no known key"),
        ({"project": "x"}, "'project'"),
        ({"queues": "a"}, "queues must be a list of texts, not 'a'"),
        ({"queues": []}, "at least one"),
        ({"max_jobs": 0}, "max_jobs must be a number from 1 up, or -1"),
        ({"max_jobs": True}, "max_jobs"),
        ({"max_jobs": -2}, "max_jobs"),
        ({"run_as": "root"}, "run_as must be one of self, shared"),
        ({"builder": "kaniko"}, "builder must be a mapping"),
        ({"stopped_run_timeout": -1}, "stopped_run_timeout"),
        ({"pass_env": [1]}, "pass_env"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        parse_config(values, where="a test")


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('queues = ["a"]\nmax_jobs = 3\n')
    config = load_config(file, {"queues": None, "max_jobs": 5})
    assert (config.queues, config.max_jobs) == (("a",), 5)


def test_json_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("agent.json", "launch-config.yaml"):
        (tmp_path / name).write_text(json.dumps({"queues": ["a"]}))
        assert load_config(tmp_path / name, {}).queues == ("a",)


def test_yaml_without_its_package_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    file = tmp_path / "launch-config.yaml"
    file.write_text("queues:\n  - a\n")
    with pytest.raises(Invalid, match=r"pyyaml .* or write the file as \.toml or \.json"):
        load_config(file, {})


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.toml", "queues = ", "not well formed"),
        ("a.json", "{", "not well formed"),
        ("a.json", "[]", "must hold keys"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, text: str, named: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Invalid, match=named):
        load_config(tmp_path / name, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read: No such file"):
        load_config(tmp_path / "gone.toml", {})
