"""The two files in every environment that let a program see its project and our run side."""

from __future__ import annotations

from pathlib import Path

MODULE = "_shipway_path.py"
# Read in alphabetical order: the last one's path entries end up last.
HOOK = "zzz_shipway.pth"

# Runs at the start of every interpreter, Python 3.8 and PyPy too: it must cost nothing, and do
# nothing without its variables.
SOURCE = '''\
"""Adds the folders that $SHIPWAY_OVERLAY and $SHIPWAY_RUNSIDE name to the end of sys.path."""

import os
import sys


def add(environ):
    overlay = environ.get("SHIPWAY_OVERLAY")
    if overlay:
        import site

        for folder in overlay.split(os.pathsep):
            if folder:
                site.addsitedir(folder)
    runside = environ.get("SHIPWAY_RUNSIDE")
    if runside and runside not in sys.path:
        sys.path.append(runside)


add(os.environ)
'''


def write(site: Path) -> None:
    """Write both into an environment's site-packages."""
    (site / MODULE).write_text(SOURCE)
    (site / HOOK).write_text("import _shipway_path\n")
