"""Tells the run what a program sees of the machine and of the agent that started it."""

import importlib.util
import os
import sys
from pathlib import Path

import six

import shipway

# The agent's own, and what many a Python brings.
PACKAGES = ["click", "fastapi", "httptools", "jinja2", "jsonschema", "msgspec", "pip", "pydantic"]
PACKAGES += ["rich", "setuptools", "starlette", "uv", "uvicorn", "uvloop"]


def main() -> None:
    """Report it; written for Python 3.8 and later."""
    run = shipway.init()
    for step in range(3):
        run.log({"squared": step * step}, step=step)
    run.summary["seen"] = {
        "cwd": str(Path.cwd()),
        "environ": dict(os.environ),
        "executable": sys.executable,
        "implementation": sys.implementation.name,
        "packages": [name for name in PACKAGES if importlib.util.find_spec(name)],
        "path": sys.path,
        "prefix": sys.prefix,
        "project": __file__,
        "shipway": shipway.__file__,
        "six": six.__version__,
    }
    print("hello from the console script")
