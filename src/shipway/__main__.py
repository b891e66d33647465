"""Runs the command line: `python -m shipway`."""

from __future__ import annotations

from shipway.cli.main import main

if __name__ == "__main__":
    main()
