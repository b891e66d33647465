"""`shipway doctor`: checks this machine, and says how to mend what is wrong."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from shipway.cli.checks import (
    check_agents,
    check_clock,
    check_disk,
    check_file_system,
    check_git,
    check_home,
    check_platform,
    check_pythons,
    check_server,
    check_uv,
)
from shipway.cli.connection import settings
from shipway.cli.engine_checks import check_engines
from shipway.cli.finding import Finding, Verdict
from shipway.cli.output import as_json, emit_list, say
from shipway.domain.errors import ShipwayError
from shipway.sdk.connection import known_address


@click.command()
@as_json
def doctor(*, is_json: bool) -> int:
    """Check git, uv, Pythons, engines, disk, clock, server and file system.

    Exits 1 when something is bad enough that a launch would fail.
    """
    findings = examine()
    if is_json:
        emit_list([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            say(f"{finding.verdict:<4}  {finding.name:<{width}}  {finding.text}")
            if finding.remedy:
                say(f"{'':<{width + 8}}{finding.remedy}")
    return 1 if any(finding.verdict is Verdict.BAD for finding in findings) else 0


def examine() -> list[Finding]:
    """Return what every check found; a check that finds no home skips those of the home."""
    chosen = settings()
    home, finding = check_home(os.environ, chosen)
    findings = [
        check_platform(),
        check_git(),
        check_uv(),
        check_pythons(),
        *check_engines(os.environ),
        finding,
    ]
    if home is None:
        return findings
    try:
        address = known_address(chosen)
    except ShipwayError:
        address = None
    return [
        *findings,
        check_file_system(home),
        check_disk(home),
        check_server(chosen, address),
        check_agents(chosen, address),
        check_clock(address),
    ]
