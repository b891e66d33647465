"""Speaks to Amazon's Elastic Container Registry, with the login of the AWS command line."""

from __future__ import annotations

import re

from shipway.registries.cloud_registry import CloudRegistry


class EcrRegistry(CloudRegistry):
    """The registry plugin `ecr`."""

    hosts = re.compile(
        r"[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)"
        r"\.(?:amazonaws\.com(?:\.cn)?|on\.aws)"
    )
    user = "AWS"
    install = "install the AWS command line (version 2)"

    def question(self, host: re.Match[str]) -> list[str]:
        """Ask aws for the region's password."""
        return ["aws", "ecr", "get-login-password", "--region", host["region"]]
