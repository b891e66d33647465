"""Every command, route, setting, error code, state and entry-point group is documented."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from scripts import reference

from shipway.agent.config import Config
from shipway.cli.main import COMMANDS
from shipway.domain.errors import Code
from shipway.domain.item import FailureClass, State
from shipway.plugins.find import GROUPS
from shipway.sdk.settings import KEYS
from shipway.server.errors import STATUS
from shipway.server.rest.routes import ROUTES, Route

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert f"\n### shipway {name}\n" in page("cli.md")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_documented(route: Route) -> None:
    assert f"| `{route.method}` | `{route.path}` |" in page("rest.md")


def test_every_setting_is_documented() -> None:
    assert set(reference.SETTINGS) == set(KEYS)
    assert all(f"`SHIPWAY_{key.upper()}`" in page("settings.md") for key in KEYS)


def test_every_key_of_an_agent_s_config_is_documented() -> None:
    assert set(reference.AGENT_CONFIG) == {field.name for field in fields(Config)} - {"wandb"}


@pytest.mark.parametrize("code", Code)
def test_every_error_code_has_a_status_and_a_line(code: Code) -> None:
    assert f"| `{code}` | {STATUS[code]} |" in page("errors.md")


def test_every_state_and_kind_of_failure_is_documented() -> None:
    text = page("states.md")
    assert all(f"| `{word}` |" in text for word in [*State, *FailureClass])


def test_every_entry_point_group_is_documented() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    text = page("plugins.md")
    assert set(declared) <= set(GROUPS)
    assert all(f"`{group}`" in text for group in GROUPS)
    assert all(f"`{name}`" in text for group in declared.values() for name in group)


def test_the_reference_is_up_to_date() -> None:
    pages = sorted(str(path) for path in (DOCS / "reference").glob("*.md"))
    cog = Path(sys.executable).with_name("cog")
    ran = subprocess.run(
        [cog, "--check", *pages],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"run `make docs`:\n{ran.stdout}{ran.stderr}"


def test_every_link_leads_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
        for target in LINK.findall(path.read_text())
        if not (path.parent / target).exists()
    ]
    assert not broken
