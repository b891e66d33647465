"""Runs a server: `python -m shipway.server`."""

from __future__ import annotations

import sys

from shipway.server.main import main

if __name__ == "__main__":
    sys.exit(main())
