"""The two errors that a plugin raises; anything else is a bug."""

from __future__ import annotations


class PluginError(Exception):
    """What both kinds share: one sentence that says what, which and what to do."""


class TemporaryError(PluginError):
    """It may work later: the agent gives the item back, or tries again."""


class PermanentError(PluginError):
    """It will not work for this item: the item fails with this sentence."""
