"""Runs containers on this machine's engine, each kept by a program in a supervisor's slot."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

from shipway.domain.attempt import Cause, Ending, Phase
from shipway.engines.engine import Engine, find_engine
from shipway.engines.images import ImageFacts, find_image
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.errors import PermanentError, PluginError
from shipway.plugins.runner import Container, RunnerContext, RunRequest, RunStatus
from shipway.runners import container_keeper
from shipway.runners.container_argv import LABEL, Naming, env_lines, run_words
from shipway.runners.container_terms import agreed_args
from shipway.runners.local_reins import argv_of
from shipway.runners.local_supervised import SupervisedRunner

KEEPER = str(Path(container_keeper.__file__).resolve())
_NAME = "shipway-"  # begins the names of containers
LEAVE_LIMIT_S = 10.0  # that an agent that ends waits for the last containers' removal
ASK_LIMIT_S = 5.0  # that a start waits for an engine: the agent's loop waits with it
AGAIN_S = 5.0  # between tries to remove what an engine that is away has
_OURS = (
    Cause.STOP,
    Cause.TIME_LIMIT,
    Cause.LEASE,
    Cause.WITHDRAWN,
)  # we know better than the engine

log = logging.getLogger(__name__)


class LocalContainerRunner:
    """The runner `local-container`: docker or podman by their command lines."""

    resource: ClassVar[str] = "local-container"
    outlives_agent: ClassVar[bool] = False
    runs_images: ClassVar[bool] = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inner: SupervisedRunner | None = None
        self._engine: Engine | None = None
        self._facts: dict[str, ImageFacts] = {}
        self._leaving: SimpleQueue[str] = SimpleQueue()  # containers to remove; "" ends it
        self._remover: threading.Thread | None = None

    @classmethod
    def lacks(cls, policy: ContainerPolicy, env: Mapping[str, str], /) -> str:
        """Say why no container can run here, or nothing."""
        try:
            find_engine(env, policy.engine)
        except PluginError as error:
            return str(error)
        return ""

    def open(self, context: RunnerContext) -> list[RunStatus]:
        """Find the attempts of before; no supervisor is started where there were none."""
        self._context = context
        self._attempts = context.home / "attempts"
        self._attempts.mkdir(mode=0o700, parents=True, exist_ok=True)
        found: list[RunStatus] = []
        if any(self._attempts.iterdir()) or context.given:
            found = [self._refined(status) for status in self._opened().known]
        known = {status.handle for status in found}
        for folder in self._attempts.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        self._remover = threading.Thread(
            target=self._remove_all, name="container-remover", daemon=True
        )
        self._remover.start()
        return found

    def start(self, request: RunRequest) -> str:
        """Write the container's order down and have a slot run its keeper."""
        inner = self._opened()
        handle = f"{request.item}.{request.attempt}"
        if inner.status(handle) is not None:
            return handle
        if request.container is None:
            raise PermanentError("a container needs an image: this launch has none")
        engine = self._found()
        folder = self._attempts / handle
        folder.mkdir(mode=0o700, exist_ok=True)
        argv = tuple(argv_of(KEEPER, "run", str(folder)))
        keeper = replace(
            request, argv=argv, env=engine.env, cwd=folder, folder=folder, container=None
        )
        try:
            self._write_order(engine, folder, request, request.container)
            return inner.start(keeper)
        except BaseException:  # nobody forgets what was never started
            if inner.status(handle) is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def renew(self, deadlines: Mapping[str, int]) -> None:
        """Move deadlines."""
        if self._inner is not None:
            self._inner.renew(deadlines)

    def stop(self, handle: str, *, grace_s: float, cause: str) -> None:
        """End it: its stop signal, grace, then it is removed by force."""
        self._opened().stop(handle, grace_s=grace_s, cause=cause)

    def status(self, handle: str) -> RunStatus | None:
        """Return how it stands."""
        found = None if self._inner is None else self._inner.status(handle)
        return None if found is None else self._refined(found)

    def log(self, handle: str, offset: int, limit: int) -> bytes:
        """Read what it printed."""
        return b"" if self._inner is None else self._inner.log(handle, offset, limit)

    def forget(self, handle: str) -> None:
        """Drop its log and its order; have its container removed."""
        if self._inner is None:
            return
        self._inner.forget(handle)
        self._leaving.put(handle)

    def close(self) -> None:
        """Let go; containers and their keepers go on."""
        if self._remover is not None:
            self._leaving.put("")
            self._remover.join(timeout=LEAVE_LIMIT_S)
        if self._inner is not None:
            self._inner.close()

    def _opened(self) -> SupervisedRunner:
        with self._lock:
            if self._inner is None:
                inner = SupervisedRunner(reins=KEEPER)
                inner.open(
                    replace(
                        self._context,
                        home=self._context.home / "supervisor",
                        attempts=self._attempts,
                        notify=self._tell,
                    )
                )
                self._inner = inner
            return self._inner

    def _found(self) -> Engine:
        if self._engine is None:
            self._engine = find_engine(self._context.env, self._context.policy.engine)
        return self._engine

    def _write_order(
        self, engine: Engine, folder: Path, request: RunRequest, container: Container
    ) -> None:
        facts = self._image_facts(engine, container.image)
        handle = folder.name
        naming = Naming(
            name=container_name(handle),
            labels={"agent": self._context.agent, "item": request.item, "attempt": handle},
            id_file=str(folder / container_keeper.CID),
            env_file=str(folder / "env"),
        )
        args = agreed_args(request.args, self._context, image_user=facts.user)
        words = run_words(engine.name, naming, container, args, network=args["network"])
        env = dict(request.env)
        if own := facts.variable("PYTHONPATH"):
            env["PYTHONPATH"] = ":".join(filter(None, (env.get("PYTHONPATH"), own)))
        order = {
            "engine": engine.name,
            "program": engine.program,
            "env": dict(engine.env),
            "name": naming.name,
            "is_limited": request.args.get("memory") is not None,
            "stop_signal": facts.stop_signal or "SIGTERM",
            "words": words,
        }
        (folder / container_keeper.CID).unlink(missing_ok=True)
        _write(folder / "env", env_lines(env))
        _write(folder / container_keeper.ORDER, json.dumps(order))

    def _image_facts(self, engine: Engine, image: str) -> ImageFacts:
        facts = self._facts.get(image)
        if facts is None:
            facts = find_image(engine, image, timeout_s=ASK_LIMIT_S)
            if facts is None:
                raise PermanentError(
                    f"{engine.name} has no image {image} any more: launch it again"
                )
            if "sha256:" in image:  # names the content: it says the same for ever
                self._facts[image] = facts
        return facts

    def _tell(self, status: RunStatus) -> None:
        self._context.notify(self._refined(status))

    def _refined(self, status: RunStatus) -> RunStatus:
        """Let what the keeper wrote down say how the container ended."""
        if status.phase is not Phase.ENDED or status.ending is None:
            return status
        folder = self._attempts / status.handle
        return replace(status, ending=refine(status.ending, _read_end(folder)))

    def _remove_all(self) -> None:
        """Remove the containers of attempts that are done with, however long an engine is away."""
        is_swept = self._sweep()
        waiting: list[str] = []
        while True:
            try:
                handle = self._leaving.get(timeout=AGAIN_S if waiting or not is_swept else None)
            except Empty:
                handle = None
            if handle == "":
                return
            is_swept = is_swept or self._sweep()
            waiting = [
                one for one in (*waiting, *([handle] if handle else ())) if not self._remove(one)
            ]

    def _remove(self, handle: str) -> bool:
        folder = self._attempts / handle
        try:
            order = json.loads((folder / container_keeper.ORDER).read_bytes())
            engine = Engine(name=order["engine"], program=order["program"], env=order["env"])
            _remove_containers(engine, [order["name"]])
        except FileNotFoundError:
            pass
        except ValueError:  # torn by a crash of the machine; the next agent's sweep knows the label
            log.warning("an order cannot be read", extra={"handle": handle})
        except PluginError as error:
            if "no such container" not in str(error).lower():
                log.warning("container not removed", extra={"handle": handle, "error": str(error)})
                return False
        shutil.rmtree(folder, ignore_errors=True)
        return True

    def _sweep(self) -> bool:
        """Remove the containers of this agent that belong to no attempt: a crash left them.

        An attempt has its folder before its container is made, and until that is removed.
        """
        try:
            engine = self._found()
            agent = f"label={LABEL}agent={self._context.agent}"
            said = engine.run("ps", "-a", "--filter", agent, "--format", "{{.Names}}").decode()
            left = [
                name
                for name in said.split()
                if not (self._attempts / name.removeprefix(_NAME)).exists()
            ]
            if left:
                _remove_containers(engine, left)
        except PluginError as error:
            log.warning("containers not looked for", extra={"error": str(error)})
            return False
        return True


def _remove_containers(engine: Engine, names: list[str]) -> None:
    force = ["--time", "0"] if engine.name == "podman" else []
    engine.run("rm", "--force", *force, "--volumes", *names)


def container_name(handle: str) -> str:
    """Return the name of an attempt's container."""
    return f"{_NAME}{handle}"


def refine(ending: Ending, end: Mapping[str, Any] | None) -> Ending:
    """Return how a container ended: what its keeper's ending says, and what the keeper wrote."""
    if end is None:
        if ending.cause in _OURS or ending.cause is Cause.NOT_STARTED:
            return ending
        return replace(
            ending,
            cause=Cause.SUPERVISOR,
            exit_code=None,
            signal=None,
            reason=ending.reason or "the process that kept its container was killed",
        )
    cause = ending.cause if ending.cause in _OURS else Cause(str(end["cause"]))
    number = end.get("signal")
    return replace(
        ending,
        cause=cause,
        exit_code=None if number else end.get("exit_code"),
        signal=number,
        reason=str(end.get("reason") or ""),
    )


def _read_end(folder: Path) -> Mapping[str, Any] | None:
    try:
        value: Mapping[str, Any] = json.loads((folder / container_keeper.END).read_bytes())
    except (OSError, ValueError):
        return None
    return value


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
