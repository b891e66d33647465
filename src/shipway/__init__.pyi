# The public names with their types; `__init__.py` imports each when it is first used.

from shipway.domain.errors import LaunchError as LaunchError
from shipway.runside import init as init
from shipway.sdk.api import Api as Api
from shipway.sdk.launch import launch as launch
from shipway.sdk.launch import launch_add as launch_add
from shipway.sdk.plan import Plan as Plan
from shipway.sdk.queued_run import QueuedRun as QueuedRun
from shipway.sdk.run import Run as Run

__version__: str
__all__ = ["Api", "LaunchError", "Plan", "QueuedRun", "Run", "init", "launch", "launch_add"]
