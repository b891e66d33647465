"""Plays rounds: `python -m shipway.testing.campaign KIND SEED KILLS [KILLS_A_ROUND [KEEP]]`.

KIND is `embedded` (with its parent, on SQLite), `sqlite` or `postgresql` (a server and two
agents). Each round has a new home and the next seed; it prints a line of JSON.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from shipway.testing.campaign.round import play

A_ROUND = 400


def main(argv: Sequence[str]) -> int:
    """Play until so many processes were killed; 1 if a promise was broken."""
    kind, seed, kills = argv[0], int(argv[1]), int(argv[2])
    a_round = int(argv[3]) if len(argv) > 3 else A_ROUND
    keep = Path(argv[4]) if len(argv) > 4 else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left behind then, too
    done, is_broken = 0, False
    while done < kills:
        result = play(kind, seed, min(a_round, kills - done), keep)
        print(json.dumps(result.to_json()), flush=True)  # noqa: T201 - what was asked for
        done += result.kills
        is_broken |= bool(result.violations)
        seed += 1
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
