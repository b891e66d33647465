"""Connects a command to the server that the settings name, or to the embedded one."""

from __future__ import annotations

import os
from pathlib import Path

from shipway.client import Client
from shipway.sdk.connection import Connection
from shipway.sdk.connection import connect as sdk_connect
from shipway.sdk.settings import Settings, read_settings


def connect() -> Client:
    """Return a client of the configured server; the embedded one is started when it is absent."""
    return connection().client


def connection() -> Connection:
    """Return the connection itself, with the default entity and the settings."""
    return sdk_connect(settings=settings())


def settings() -> Settings:
    """Return the settings of this directory, environment and user."""
    return read_settings(os.environ, program=Path.cwd())
