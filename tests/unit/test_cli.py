"""The command line's own rules: names, exit codes, lazy loading, reading of arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from shipway.cli import main as cli
from shipway.cli.agents import readable
from shipway.cli.exit_code import exit_code_of
from shipway.cli.launch import arguments, pairs, read_json
from shipway.cli.output import emit_list, own_values, table
from shipway.cli.run import differences
from shipway.domain.errors import Code, Invalid, NotFound, ShipwayError


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_the_help_that_the_table_says(name: str) -> None:
    module, attribute, text = cli.COMMANDS[name]
    command = getattr(import_module(f"shipway.cli.{module}"), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert (command.help or "").strip()
    assert text.endswith(".")


def test_help_loads_no_command_and_no_library_of_the_server() -> None:
    program = (
        "import sys; from shipway.cli.main import run; run(['--help']); "
        "print(sorted(m for m in sys.modules if m.startswith(('shipway.', 'fastapi', 'starlette',"
        " 'uvicorn', 'pydantic', 'rich', 'httptools', 'msgspec'))), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "launch" in ran.stdout
    assert (
        ran.stderr.strip()
        == "['shipway.cli', 'shipway.cli.main', 'shipway.domain', 'shipway.domain.errors']"
    )


def test_launch_loads_no_library_of_the_server() -> None:
    program = (
        "import sys; import shipway.cli.launch, shipway.sdk.launch; "
        "print([m for m in ('fastapi', 'starlette', 'uvicorn', 'pydantic', 'rich', 'msgspec',"
        " 'shipway.server', 'shipway.store') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_an_agent_of_which_nothing_is_heard_is_shown_as_silent() -> None:
    states = [
        readable({"state": state, "seen_at": seen_at})["state"]
        for state, seen_at in (("active", 5), ("gone", 5), ("active", 1 << 60))
    ]
    assert states == ["active, silent", "gone", "active"]


def test_lists_leave_out_what_clients_add_to_a_summary() -> None:
    summary = {"_wandb": {"runtime": 3}, "loss": 0.5, "_step": 9, "a_b": 1}
    assert own_values(summary) == {"loss": 0.5, "a_b": 1}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ShipwayError("away", code=Code.UNREACHABLE), 1),
        (NotFound("no item 'x'"), 1),
        (Invalid("priority 9 is not one of 0-3"), 2),
        (click.UsageError("no such option: --x"), 2),
        (OSError("disk on fire"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_sentence_on_stderr_and_an_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(cli.shipway, "main", fail)
    assert cli.run(["item", "ls"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("shipway: ")
    assert said.err.count("\n") == 1


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["lunch"]) == 2
    assert "lunch" in capsys.readouterr().err


def test_a_group_alone_says_its_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Usage: shipway")
    assert said.err.rstrip().endswith("say how to mend what is wrong.")


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"state": "finished"}, 0),
        ({"state": "failed", "error": {"failure_class": "exit", "exit_code": 3}}, 3),
        ({"state": "failed", "error": {"failure_class": "signal", "signal": 11}}, 139),
        ({"state": "failed", "error": {"failure_class": "oom"}}, 137),
        ({"state": "failed", "error": {"failure_class": "oom (probable)"}}, 137),
        ({"state": "failed", "error": {"failure_class": "time_limit"}}, 124),
        ({"state": "failed", "error": {"failure_class": "lost"}}, 75),
        ({"state": "failed", "error": {"failure_class": "build"}}, 70),
        ({"state": "failed", "error": {"failure_class": "source"}}, 70),
        ({"state": "failed", "error": {"failure_class": "start_limit"}}, 70),
        ({"state": "stopped", "started_at": None}, 70),
        ({"state": "stopped", "started_at": 5}, 143),
    ],
)
def test_follow_exits_as_the_program_did(item: dict[str, Any], code: int) -> None:
    assert exit_code_of(item) == code


def test_launch_options_become_the_arguments_of_launch_add(tmp_path: Path) -> None:
    file = tmp_path / "args.json"
    file.write_text('{"local-process": {"run_limit_s": 60}}')
    found = arguments(
        {
            "uri": ".",
            "job": None,
            "entry_point": "train.py --name 'a b'",
            "resource_args": str(file),
            "config": '{"lr": 0.1}',
            "parameter": ("alpha=0.5", "name=base", "flag=true"),
            "set_var": (),
            "priority": "1",
            "include": ("data/a.csv",),
            "refresh": False,
            "dry_run": False,
        }
    )
    assert found == {
        "uri": ".",
        "entry_point": ["train.py", "--name", "a b"],
        "resource_args": {"local-process": {"run_limit_s": 60}},
        "config": {"lr": 0.1},
        "parameters": {"alpha": 0.5, "name": "base", "flag": True},
        "priority": 1,
        "include": ["data/a.csv"],
    }


def test_a_pair_without_a_key_is_refused() -> None:
    with pytest.raises(Invalid, match="KEY=VALUE"):
        pairs(("=3",), field="--parameter")


@pytest.mark.parametrize("text", ["[1]", '{"a":', "no/such/file.json"])
def test_json_that_is_no_object_is_refused_by_the_option_s_name(text: str) -> None:
    with pytest.raises(Invalid, match="--config"):
        read_json(text, field="--config")


def test_a_difference_names_only_what_differs() -> None:
    one = {"state": "finished", "config": {"lr": 1, "seed": 7}, "summary": {"r2": 0.5}}
    other = {"state": "failed", "config": {"lr": 2, "seed": 7}, "summary": {}}
    assert differences(one, other) == [
        {"key": "config.lr", "left": 1, "right": 2},
        {"key": "state", "left": "finished", "right": "failed"},
        {"key": "summary.r2", "left": 0.5, "right": None},
    ]


def test_lists_are_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    emit_list([{"id": "a"}], next_cursor="c")
    assert json.loads(capsys.readouterr().out) == {"items": [{"id": "a"}], "next": "c"}


def test_a_table_is_tab_separated_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "a", "counts": {"pending": 2}, "on": True, "text": "one\ntwo"}]
    columns = {"id": "id", "counts.pending": "waiting", "on": "on", "text": "text"}
    table(rows, columns, empty="none")
    assert capsys.readouterr().out == "a\t2\tyes\tone two\n"
