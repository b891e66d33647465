"""The container builder: images from a Dockerfile of the source's, or from one made for it."""

from __future__ import annotations

from shipway.builders.container.builder import ContainerBuilder

__all__ = ["ContainerBuilder"]
