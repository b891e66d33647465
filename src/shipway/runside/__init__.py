"""The `shipway` that a program inside a run sees: its config, metrics, summary and files.

Standard library only, for Python 3.8 and later: an agent puts a copy of this folder last on a
program's path. Imports are relative here, because there the package is named `shipway`.
"""

from __future__ import annotations

from .run import Config, Run, Summary, init

__all__ = ["Config", "Run", "Summary", "init"]
