"""What `import shipway` and `launch_add` may load; `bench/` measures the times themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVER_LIBRARIES = {
    "click", "fastapi", "httptools", "jinja2", "jsonschema", "msgspec", "psycopg", "pydantic",
    "rich", "starlette", "uvicorn", "uvloop",
}  # fmt: skip
SLOW = {"asyncio", "subprocess", "tempfile", "tomllib", "urllib.request"}


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after some code."""
    program = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys\nsys.path[:0] = {sys.path!r}\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_but_itself() -> None:
    loaded = loaded_by("import shipway")
    assert {name for name in loaded if name.startswith("shipway")} == {"shipway"}
    assert not loaded & (SERVER_LIBRARIES | SLOW | {"json", "ssl", "socket", "dataclasses"})


@pytest.mark.parametrize("name", ["launch_add", "QueuedRun", "Run", "Api"])
def test_a_public_name_loads_no_server_and_nothing_slow(name: str) -> None:
    """Earns its process: `launch_add` in a fresh interpreter has 80 ms to its first byte."""
    loaded = loaded_by(f"from shipway import {name}")
    assert not {module.partition(".")[0] for module in loaded} & SERVER_LIBRARIES
    assert not loaded & SLOW
    insides = ("shipway.server", "shipway.service", "shipway.store", "shipway.blobs")
    assert not [module for module in loaded if module.startswith(insides)]
