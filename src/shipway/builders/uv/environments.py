"""Keeps the shared environments: builds each once, checks it at every use."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shipway.builders.build_lock import USED, lock, stamp_used
from shipway.builders.uv import seal
from shipway.builders.uv.seal import Finding, Seal
from shipway.plugins.source import Print

# A check of the 10,000 files of a scientific stack takes 30 ms. It is left out for so many times
# as long, so that it never takes more than 5 % of a core however short the programs are.
CHECK_SHARE = 20
RETIRED_S = 7 * 86400  # a damaged environment may still be in use; after this it is not

Make = Callable[[Path], None]  # build an environment in that folder, which is its final one


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to build one environment, should it not be there."""

    digest: str
    make: Make
    reinstall: Callable[[Path, Mapping[str, str]], None]  # anew, past the tool's damaged cache
    print: Print
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A built environment that was checked just now."""

    path: Path
    is_cached: bool


@dataclass(slots=True, kw_only=True)
class Shelf:
    """All environments in one folder, shared by threads and by processes."""

    folder: Path
    # Of environments seen by this process: the seal, and when the next check is due.
    _seen: dict[Path, tuple[Seal, float]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def obtain(self, order: Order) -> Found:
        """Return the environment, built now if it is not there; two calls at once build once."""
        home = self.folder / order.digest
        ready = self._ready(home, order.print)
        if ready is not None:
            return Found(path=ready, is_cached=True)
        with lock(self.folder / f"{order.digest}.lock", order.print, order.deadline):
            ready = self._ready(home, order.print)  # somebody else built it meanwhile
            if ready is not None:
                return Found(path=ready, is_cached=True)
            return Found(path=self._build(home, order), is_cached=False)

    def _ready(self, home: Path, say: Print) -> Path | None:
        newest = _newest(home)
        if newest is None:
            return None
        with self._guard:
            known = self._seen.get(newest)
        now = time.monotonic()
        if known is not None and now < known[1]:
            return newest / "env"
        sealed = known[0] if known is not None else seal.load(newest / seal.SEAL)
        if sealed is None:
            return None
        finding = seal.check(newest / "env", sealed)
        if finding.damaged:
            _tell(finding, say)
            return None
        if finding.restamped:
            # Only looked changed. The seal stays: another hash check tells the same again.
            say("the environment's times have changed, its contents have not")
        took = time.monotonic() - now
        with self._guard:
            self._seen[newest] = (sealed, now + took * CHECK_SHARE)
        stamp_used(newest / USED)
        return newest / "env"

    def _build(self, home: Path, order: Order) -> Path:
        generation = self._sweep(home)
        env = generation / "env"
        env.parent.mkdir(parents=True)
        began = time.monotonic()
        try:
            order.make(env)
            # uv links files into its cache. Linking took 0.4 s, copying 2.4 to 5.0 s and 750 MB
            # more a lock, for 45 packages on ext4; so files are linked, and because a program
            # can write through a link into what others will be built from, all are hashed here.
            wrong = seal.mismatches(env, seal.make(env).files)
            if wrong:
                names = sorted(set(wrong.values()))
                order.print(f"damaged in uv's cache, fetched anew: {', '.join(names)}")
                order.reinstall(env, wrong)
            sealed = seal.make(env)
            wrong = seal.mismatches(env, sealed.files) if wrong else wrong
        except BaseException:
            shutil.rmtree(generation, ignore_errors=True)
            raise
        # What differs from its RECORD when fresh was released so; it counts as it is.
        odd = {path: seal.digest(env / path) for path in wrong}
        seal.write(
            Seal(
                files=sealed.files,
                folders=sealed.folders,
                hashes={**sealed.hashes, **odd},
                links=sealed.links,
            ),
            generation / seal.SEAL,
        )
        stamp_used(generation / USED)
        order.print(f"environment built in {time.monotonic() - began:.1f} s")
        return env

    def _sweep(self, home: Path) -> Path:
        """Remove half-built generations and long retired ones; return the next one's folder.

        A damaged generation is never mended in place: programs may be running in it.
        """
        last = 0
        for generation in _generations(home):
            last = max(last, int(generation.name))
            used = generation / USED
            is_whole = (generation / seal.SEAL).exists() and used.exists()
            if not is_whole or used.stat().st_mtime < time.time() - RETIRED_S:
                shutil.rmtree(generation, ignore_errors=True)
        return home / str(last + 1)


def _generations(home: Path) -> list[Path]:
    try:
        names = [name for name in os.listdir(home) if name.isdecimal()]  # noqa: PTH208 - hot path, plain text
    except FileNotFoundError:
        return []
    return [home / name for name in sorted(names, key=int)]


def _newest(home: Path) -> Path | None:
    """Return the newest generation, if it is whole; an older one was found damaged."""
    found = _generations(home)
    return found[-1] if found and (found[-1] / seal.SEAL).exists() else None


def _tell(finding: Finding, say: Print) -> None:
    shown = ", ".join(finding.damaged[:5])
    more = f" and {len(finding.damaged) - 5} more" if len(finding.damaged) > 5 else ""
    say(f"the environment was changed since it was built ({shown}{more}); building it anew")
