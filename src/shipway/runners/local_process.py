"""Runs programs as processes of this machine, below a supervisor that outlives the agent."""

from __future__ import annotations

from typing import ClassVar

from shipway.runners.local_supervised import SupervisedRunner


class LocalProcessRunner(SupervisedRunner):
    """The runner `local-process`."""

    resource: ClassVar[str] = "local-process"
    outlives_agent: ClassVar[bool] = False
    runs_images: ClassVar[bool] = False
