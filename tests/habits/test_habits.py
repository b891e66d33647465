"""Holds the tree to its habits: sizes, names, docstrings, reasons, and what it may mention."""

from __future__ import annotations

import ast
import gc
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LIMIT = 500  # lines
FUNCTION_LIMIT = 70  # lines
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "base", "manager", "handler", "misc"}

SOURCES = sorted((ROOT / "src").rglob("*.py"))
SCRIPTS = sorted(
    path
    for folder in ("tests", "bench", "examples", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    gc.disable()  # half the time of parsing would go into looking for garbage
    try:
        return {path: ast.parse(path.read_text(), str(path)) for path in [*SOURCES, *SCRIPTS]}
    finally:
        gc.enable()


def test_modules_are_short() -> None:
    long = {
        name(path): size
        for path in [*SOURCES, *SCRIPTS]
        if (size := path.read_text().count("\n")) > MODULE_LIMIT
    }
    assert not long, f"modules over {MODULE_LIMIT} lines: split them by noun: {long}"


def test_functions_are_short(trees: dict[Path, ast.Module]) -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name}: {size} lines"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LIMIT
    ]
    assert not long, f"functions over {FUNCTION_LIMIT} lines: {long}"


def test_modules_are_named_after_nouns() -> None:
    bad = [name(path) for path in [*SOURCES, *SCRIPTS] if path.stem in FORBIDDEN_NAMES]
    assert not bad, f"say what they hold instead: {bad}"


def test_every_module_says_in_one_sentence_what_it_is_for(trees: dict[Path, ast.Module]) -> None:
    bad = []
    for path, tree in trees.items():
        first = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ").strip()
        is_one = first.endswith((".", "?")) and not re.search(r"\.\s+[A-Z]", first)
        if not is_one and path.read_text().strip():
            bad.append(name(path))
    assert not bad, f"one sentence that ends with a full stop: {bad}"


def test_every_silenced_rule_has_a_reason() -> None:
    mark = re.compile(r"#\s*(?:noqa|type:\s*ignore|ruff:\s*noqa|mypy:\s*ignore)")
    with_reason = re.compile(
        r"#\s*(?:noqa:\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|type:\s*ignore\[[a-z,\- ]+\])"
        r"\s*(?:#\s*(?:noqa:\s*[A-Z0-9, ]+|type:\s*ignore\[[a-z,\- ]+\])\s*)?"
        r"(?:#|-|:|\(|—)*\s*[A-Za-z0-9`'\"(].{6,}"
    )
    bad = [
        f"{name(path)}:{line}"
        for path in [*SOURCES, *SCRIPTS]
        if mark.search(path.read_text())
        for line, comment in comments(path)
        if mark.search(comment) and not with_reason.search(comment)
    ]
    assert not bad, f"say after the mark why the rule is wrong here: {bad}"


def test_imports_are_absolute(trees: dict[Path, ast.Module]) -> None:
    bad = [
        f"{name(path)}:{node.lineno}"
        for path, tree in trees.items()
        if "runside" not in path.parts  # agents copy it under another name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not bad


def test_the_product_does_not_import_its_testing_tools() -> None:
    found = re.compile(r"^\s*(?:from|import) shipway\.testing", re.MULTILINE)
    bad = [
        name(path)
        for path in SOURCES
        if "testing" not in path.parts and found.search(path.read_text())
    ]
    assert not bad


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == project()["version"]


def test_the_package_and_its_metadata_have_one_version() -> None:
    text = (ROOT / "src/shipway/__init__.py").read_text()
    assert f'__version__ = "{project()["version"]}"' in text


def test_the_package_imports_with_no_extras_installed() -> None:
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"psycopg", "psycopg_binary", "psycopg_c"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import shipway, shipway.sdk, shipway.client, shipway.cli.main, shipway.server, shipway.agent
import shipway.store, shipway.service, shipway.supervise, shipway.runside
from importlib import import_module
from importlib.util import find_spec
for module in ("shipway.server.main", "shipway.agent.main", "shipway.store.sqlite"):
    if find_spec(module):
        import_module(module)
"""
    # its own interpreter: what this one has imported already would hide the fault
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_import_contracts_are_there() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    names = {contract["name"] for contract in tools["importlinter"]["contracts"]}
    assert "Layers" in names
    assert "The client side knows nothing of the server's insides" in names


def test_decision_pages_are_one_page() -> None:
    long = {
        path.name: size
        for path in (ROOT / "docs/decisions").glob("*.md")
        if (size := path.read_text().count("\n")) > 40
    }
    assert not long
    assert (ROOT / "ARCHITECTURE.md").read_text().count("\n") <= 200


def test_tracked_files_name_no_machine_and_no_registry() -> None:
    # spelled in pieces, or this file would name them itself
    hosts = ["py" + "pi.org", "pythonhosted" + ".org", "npm" + "js.org", "npm" + "js.com"]
    folders = ["/" + "work/", "/" + "root/", "/opt/" + "wheels", "/opt/" + "pypi"]
    forbidden = re.compile("|".join(re.escape(word) for word in hosts + folders))
    bad = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        bad += [
            f"{name(path)}:{number}: {found.group()}"
            for number, line in enumerate(text.splitlines(), 1)
            if (found := forbidden.search(line)) and not is_allowed(path, line, found)
        ]
    assert not bad


def is_allowed(path: Path, line: str, found: re.Match[str]) -> bool:
    """Tell a path of the program's own (`attempt/work/`) from a machine's (` /work/`)."""
    before = line[: found.start()][-1:]
    return found.group().startswith("/") and (before.isalnum() or before in "}>)*._-")


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for entry in listing.split("\0") if entry and (path := ROOT / entry).is_file()]


def comments(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def project() -> dict[str, str]:
    found: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))
