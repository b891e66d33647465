"""Speaks to Azure's Container Registry, with the login of the az command line."""

from __future__ import annotations

import re

from shipway.registries.cloud_registry import CloudRegistry


class AzureRegistry(CloudRegistry):
    """The registry plugin `acr`."""

    hosts = re.compile(r"(?P<name>[a-z0-9]+)(?:-[a-z0-9]+)?\.azurecr\.(?:io|cn|us)")
    user = "00000000-0000-0000-0000-000000000000"  # whose password is a token
    install = "install the Azure command line"

    def question(self, host: re.Match[str]) -> list[str]:
        """Ask az for a token."""
        argv = ["az", "acr", "login", "--name", host["name"], "--expose-token"]
        return [*argv, "--query", "accessToken", "--output", "tsv"]
