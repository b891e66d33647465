"""The uv builder: one environment per lock, shared; the project laid over it per attempt."""

from __future__ import annotations

from shipway.builders.uv.builder import UvBuilder

__all__ = ["UvBuilder"]
