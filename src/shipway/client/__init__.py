"""One method per REST route."""

from shipway.client.client import Client

__all__ = ["Client"]
