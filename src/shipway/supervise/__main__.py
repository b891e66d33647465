"""Starts a supervisor: `python -m shipway.supervise --home DIR …`, at most one for a home."""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shipway.runners.local_home import (
    LOCK,
    GuardianFacts,
    Settings,
    generation_name,
    generations,
    hold,
    map_beat,
    map_board,
    open_folder,
)
from shipway.runners.local_machine import process_start, read_boot_id
from shipway.supervise.groups import own_group, remove_groups
from shipway.supervise.guardian import Guardian
from shipway.supervise.pool import Pool, become_subreaper

BUSY = b"busy\n"  # said when another supervisor has this home
READY = b"ready\n"  # said once orders are taken


def main(argv: Sequence[str]) -> int:
    """Be the guardian of a home until it is of no use."""
    options = _parse(argv)
    home = Path(options.home).resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    lock = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which no child inherits
    except BlockingIOError:
        os.write(1, BUSY)
        return 0
    become_subreaper()
    pool = _make_pool(home, Path(options.attempts), options.reins)
    settings = Settings(
        attempts=options.attempts,
        slots=options.slots,
        agent=options.agent,
        base_url=options.base_url,
        key_file=options.key_file,
        reins=options.reins,
    )
    Guardian(pool, settings).serve(lambda: _announce(pool))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shipway.supervise", description=__doc__)
    parser.add_argument("--home", required=True, help="the runner's own folder")
    parser.add_argument("--attempts", required=True, help="the folder of all attempts' folders")
    parser.add_argument("--slots", type=int, default=0, help="programs at once; 0 = no limit")
    parser.add_argument("--agent", required=True, help="the agent's id, to renew its leases")
    parser.add_argument("--base-url", required=True, help="the server's address")
    parser.add_argument("--key-file", required=True, help="the file that holds the agent's key")
    parser.add_argument("--reins", default="", help="a program that ends what is outside a tree")
    return parser.parse_args(argv)


def _make_pool(home: Path, attempts: Path, reins: str) -> Pool:
    generation = max(generations(home), default=0) + 1
    folder = home / generation_name(generation)
    folder.mkdir(mode=0o700)
    parent = own_group()
    remove_groups(parent, str(home))
    handle = open_folder(folder)
    hold(handle)  # so does every slot, which may outlive this process
    return Pool(
        home=home,
        attempts=attempts,
        generation=generation,
        folder=folder,
        home_handle=open_folder(home),
        handle=handle,
        board=map_board(folder),
        beat=map_beat(home),
        boot_id=read_boot_id(),
        parent_group=parent,
        reins=reins,
    )


def _announce(pool: Pool) -> None:
    facts = GuardianFacts(
        pid=os.getpid(),
        start=process_start(os.getpid()) or 0,
        generation=pool.generation,
        boot_id=pool.boot_id,
    )
    facts.write(pool.home)
    with suppress(BrokenPipeError):  # the runner did not wait; the file tells the next one
        os.write(1, READY)  # one write: it reads once
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # no child may hold the runner's pipe
    os.dup2(nowhere, 0)  # every program inherits it
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
