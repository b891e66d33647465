"""Runs an engine's build of one image, and leaves nothing of a failed one behind."""

from __future__ import annotations

import re
import secrets
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from shipway.engines.engine import Engine
from shipway.engines.images import ImageFacts, find_image
from shipway.plugins.errors import PermanentError, PluginError
from shipway.plugins.source import Print

KEY_LABEL = "ai.shipway.key"
PROBE_LIMIT_S = 60.0
SECONDS_AT_LEAST = 1.0
_MADE = re.compile(r"\s?-+> (?:Using cache )?([0-9a-f]{11,64})\b")  # classic, podman
_UNNAMED = "{{.ID}} {{.Repository}}"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # the classic builder puts them around what is on stderr
LINES = 30  # of the build log that an error repeats
CHARS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One build: what an engine is given."""

    dockerfile: Path
    context: Path
    tag: str
    key: str  # what it is built from
    args: Mapping[str, str] = field(default_factory=dict)  # they may be seen by anybody
    hidden: Mapping[str, str] = field(default_factory=dict, repr=False)  # by way of variables
    network: str | None = None  # none, host; None: what the engine gives to builds by itself
    platform: str | None = None
    is_refreshed: bool = False
    keeps_stages: bool = True  # images of stages are the cache of the next build
    timeout_s: float
    print: Print


def has_buildkit(engine: Engine) -> bool:
    """Tell by a build of nothing whether docker builds by BuildKit, and then has the image."""
    if engine.name != "docker" or engine.env.get("DOCKER_BUILDKIT") == "0":
        return False
    tag = f"localhost/shipway/probe:{secrets.token_hex(8)}"
    with TemporaryDirectory() as folder:
        file = Path(folder) / "Dockerfile"
        file.write_text(f"FROM scratch\nLABEL probe={tag}\n")
        words = ("build", "--network=none", f"--tag={tag}", f"--file={file}", folder)
        try:
            engine.run(*words, timeout_s=PROBE_LIMIT_S, env={"DOCKER_BUILDKIT": "1"})
        except PluginError:
            return False
        finally:
            there = find_image(engine, tag) is not None
            if there:
                engine.run("rmi", tag)
    return there


def build(order: Order, engine: Engine, *, buildkit: bool) -> ImageFacts:
    """Build an image, return its facts; raise `PermanentError` with the last lines of a failure."""
    said: deque[str] = deque(maxlen=LINES)  # a step may print without end
    made_here: list[str] = []

    def tell(line: str) -> None:
        said.append(_COLOURS.sub("", line))
        made_here.extend(stages_of([said[-1]]))
        order.print(said[-1])

    env = {**order.hidden}
    if engine.name == "docker":
        env["DOCKER_BUILDKIT"] = "1" if buildkit else "0"
    try:
        engine.stream(
            *_words(order, engine, buildkit=buildkit),
            print=tell,
            timeout_s=max(SECONDS_AT_LEAST, order.timeout_s),
            env=env,
        )
    except PluginError as error:
        # What a step says of a server that is away is no word about the engine: it is asked.
        engine.run("version", timeout_s=PROBE_LIMIT_S)
        tidy(engine, made_here)
        raise PermanentError(_failure(list(said), error)) from error
    made = find_image(engine, order.tag)
    if made is None:
        raise PermanentError(f"{engine.name} said that it built {order.tag}, and has no such image")
    if not order.keeps_stages:
        tidy(engine, made_here)
    return made


def is_of(key: str, seen: ImageFacts, built: str) -> bool:
    """Tell whether an image was built from a key: its label says so, or it is the one of that id.

    A label is one more step to docker's classic builder, of 0.2 s: it writes none.
    """
    return dict(seen.labels).get(KEY_LABEL) == key or seen.id == built


def stages_of(lines: list[str]) -> list[str]:
    """Return the images that a build says it made on its way, the last one first."""
    found = [match[1] for line in lines if (match := _MADE.match(line))]
    return list(dict.fromkeys(reversed(found)))


def tidy(engine: Engine, images: list[str]) -> None:
    """Remove of these what has no name and is part of no other image."""
    with suppress(PluginError):  # something else is made from one, or the engine went away
        said = engine.run("images", "--no-trunc", "--filter=dangling=true", f"--format={_UNNAMED}")
        ids = [line.split()[0].removeprefix("sha256:") for line in said.decode().splitlines()
               if line.endswith(" <none>")]  # fmt: skip
        if gone := [id for id in ids if any(id.startswith(image) for image in images)]:
            engine.run("rmi", *gone)


def _words(order: Order, engine: Engine, *, buildkit: bool) -> list[str]:
    words = ["build", f"--file={order.dockerfile}", f"--tag={order.tag}"]
    if buildkit or engine.name == "podman":
        words.append(f"--label={KEY_LABEL}={order.key}")
    words += [f"--build-arg={name}={value}" for name, value in order.args.items()]
    words += [f"--build-arg={name}" for name in order.hidden]
    if order.network is not None:
        words.append(f"--network={order.network}")
    if order.platform is not None:
        words.append(f"--platform={order.platform}")
    if order.is_refreshed:
        words.append("--no-cache")
    if engine.name == "podman":
        words.append(f"--layers={str(order.keeps_stages).lower()}")
    elif buildkit:
        words.append("--progress=plain")
    else:
        words.append("--force-rm")
    return [*words, str(order.context)]


def _failure(said: list[str], error: PluginError) -> str:
    """Return the last lines of the step that failed, or what was wrong where there are none."""
    words = str(error)
    if "did not end within" in words:
        words = f"{words}; it had said:\n" + "\n".join(said)
    else:
        words = "\n".join(said) or words
    return f"the image could not be built:\n{words[-CHARS:]}"
