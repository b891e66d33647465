"""Runs a server with constants of its modules set otherwise: the peer that a goal needs."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Set each `module:NAME=JSON` before `--`, then serve with the arguments after it."""
    end = argv.index("--")
    for setting in argv[:end]:
        place, _, value = setting.partition("=")
        module, _, name = place.partition(":")
        home = importlib.import_module(module)
        assert hasattr(home, name), f"{module} has no {name}"
        setattr(home, name, json.loads(value))
    from shipway.server.main import main as serve  # noqa: PLC0415 - what it reads is set by now

    return serve(argv[end + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
