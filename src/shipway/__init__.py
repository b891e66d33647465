"""The open launch queue for machine-learning experiments."""

__version__ = "0.1.0"
__all__ = ["Api", "LaunchError", "Plan", "QueuedRun", "Run", "init", "launch", "launch_add"]

# Where each public name lives; their types are in `__init__.pyi`, so that whatever imports the
# package for its version depends on none of these.
_HOMES = {
    "Api": "shipway.sdk.api",
    "LaunchError": "shipway.domain.errors",
    "Plan": "shipway.sdk.plan",
    "QueuedRun": "shipway.sdk.queued_run",
    "Run": "shipway.sdk.run",
    "init": "shipway.runside",
    "launch": "shipway.sdk.launch",
    "launch_add": "shipway.sdk.launch",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, as PEP 562 has it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'shipway' has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - nothing is imported until it is used

    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
