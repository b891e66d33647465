"""Speaks to Google's Artifact Registry, with the login of the gcloud command line."""

from __future__ import annotations

import re

from shipway.registries.cloud_registry import CloudRegistry


class GoogleRegistry(CloudRegistry):
    """The registry plugin `gar`."""

    hosts = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io")
    user = "oauth2accesstoken"
    install = "install the Google Cloud command line"

    def question(self, host: re.Match[str]) -> list[str]:  # noqa: ARG002 - one login for all hosts
        """Ask gcloud for an access token."""
        return ["gcloud", "auth", "print-access-token", "--quiet"]
