"""Names an image by all that it is made from: equal keys, the same image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from shipway.builders.container.bases import Base, full_name

VERSION = 1  # raised when images of before must not be used again
TAG = 32  # characters of a key that a tag has


def image_key(
    *,
    context: str,
    dockerfile: str,
    bases: Iterable[Base],
    platform: str,
    args: Mapping[str, str],
    lock: str = "",
) -> str:
    """Return the key of an image; `context` and `lock` are digests of what was read.

    `args` are the build arguments, and of a generated image the index settings, without passwords.
    """
    facts = {
        "version": VERSION,
        "context": context,
        "dockerfile": dockerfile,
        "bases": sorted({(full_name(one.ref), one.ref.tag, one.digest) for one in bases}),
        "platform": platform,
        "args": sorted(args.items()),
        "lock": lock,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
