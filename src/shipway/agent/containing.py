"""Makes an attempt ready that runs in a container: its image, its folder, what it sees of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from shipway.agent.building import BUILD_LIMIT_S, Prepared
from shipway.agent.container_env import (
    WORK,
    argv_inside,
    binds_of,
    container_surroundings,
    env_inside,
)
from shipway.agent.environment import NoProgram, check_scripts, common_env
from shipway.agent.events import Built, Event
from shipway.agent.faults import fault
from shipway.agent.flights import Flights
from shipway.agent.kit import config_of
from shipway.agent.lease import Key, Lease
from shipway.agent.pool import Pool
from shipway.agent.shipping import Shipper
from shipway.agent.workdir import Folders
from shipway.domain.image_ref import ImageRef
from shipway.domain.item import Stage
from shipway.engines.engine import find_engine
from shipway.engines.images import get_image
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.container_refusal import (
    entry_point_refusal,
    image_refusal,
    matched_image,
)
from shipway.plugins.errors import PermanentError
from shipway.plugins.image_builder import (
    Image,
    ImageBuilder,
    ImageRequest,
    image_options,
    image_word,
)
from shipway.plugins.runner import Container
from shipway.plugins.source import Print, Tree


class ContainerPreparer:
    """Images, folders and variables of the attempts that run in containers."""

    def __init__(
        self,
        *,
        builder: Callable[[], ImageBuilder],
        cache: Path,
        runside: Path,
        base_url: str,
        policy: ContainerPolicy,
        repository: str | None,
        env: Mapping[str, str],
        folders: Folders,
        shipper: Shipper,
        pool: Pool,
        emit: Callable[[Event], None],
        boot_ms: Callable[[], int],
    ) -> None:
        self._builder = builder
        self._cache = cache
        self._runside = runside
        self._around = container_surroundings(env, base_url=base_url)
        self._policy = policy
        self._repository = repository
        self._env = env
        self._folders = folders
        self._shipper = shipper
        self._pool = pool
        self._emit = emit
        self._boot_ms = boot_ms
        self._prepared: dict[Key, Prepared] = {}
        self._flights: Flights[tuple[Lease, Tree]] = Flights()

    def take(self, _lease: Lease, _tree: Tree) -> Event | None:
        """Make an attempt ready at once: never, for an engine has to be asked."""
        return None

    def build(self, lease: Lease, tree: Tree) -> Event | None:
        """Make an attempt ready; an event tells of it."""
        self._pool.submit(self._build, lease, tree)
        return None

    def is_made(self, _lease: Lease, _tree: Tree) -> bool:
        """Tell whether a container can start the moment it is leased."""
        return False

    def prepared(self, key: Key) -> Prepared:
        """Return what an attempt's container is started with."""
        return self._prepared[key]

    def forget(self, key: Key) -> None:
        """Let go of what was prepared."""
        self._prepared.pop(key, None)

    def _build(self, lease: Lease, tree: Tree) -> None:
        """Get the image once for all that want the same one, then furnish each of them."""
        want = _want(lease, tree)
        if self._flights.board(want, (lease, tree)) is not None:
            return
        try:
            image = self._image(lease, tree)
        except Exception as error:  # noqa: BLE001 - a pool's outermost frame; `fault` sorts them
            for waiting, _ in self._flights.land(want):
                self._emit(fault(error, Stage.BUILD, waiting.key, at=self._boot_ms()))
            return
        for waiting, its_tree in self._flights.land(want):
            try:
                self._furnish(waiting, its_tree, image)
            except Exception as error:  # noqa: BLE001 - as above
                self._emit(fault(error, Stage.BUILD, waiting.key, at=self._boot_ms()))
            else:
                self._emit(Built(at=self._boot_ms(), key=waiting.key))

    def _image(self, lease: Lease, tree: Tree) -> Image:
        if tree.image:
            words = [str(word) for word in lease.spec.get("entry_point") or ()]
            if why := entry_point_refusal(self._policy, words):
                raise PermanentError(why)
            return Image(image=tree.image, digest=tree.image, is_cached=True)
        start = tree.path / tree.subdirectory
        if not start.is_dir():
            raise NoProgram(f"the directory {tree.subdirectory!r} does not exist in the source")
        entry = tuple(str(word) for word in lease.spec.get("entry_point") or ())
        check_scripts(entry, start)
        printing = self._shipper.build_log(lease, self._folders.open(lease.key))
        try:
            if base := lease.args.get("base_image"):
                return self._base(str(base), lease, tree, printing.print)
            return self._built(self._request(lease, tree, entry, printing.print))
        except Exception as error:
            printing.print(str(error))
            raise

    def _built(self, request: ImageRequest) -> Image:
        image = self._builder().build(request)
        if "@" in image.image:  # it may be known to the registry alone
            engine = find_engine(self._env, self._policy.engine)
            get_image(engine, ImageRef.parse(image.image), print=request.print)
        return image

    def _base(self, base: str, lease: Lease, tree: Tree, tell: Print) -> Image:
        """Return an image that the code is mounted into: nothing is built."""
        engine = find_engine(self._env, self._policy.engine)
        ref = ImageRef.parse(base, field="resource_args.local-container.base_image")
        pull = str(lease.args.get("pull") or "missing")
        if why := image_refusal(self._policy, ref):
            raise PermanentError(why)
        ref = matched_image(self._policy, ref)
        facts = get_image(engine, ref, print=tell, pull=pull, platform=lease.args.get("platform"))
        workdir = f"{WORK}/{tree.subdirectory}".rstrip("/")
        return Image(image=facts.id, digest=facts.id, is_cached=True, workdir=workdir)

    def _request(
        self, lease: Lease, tree: Tree, entry: tuple[str, ...], tell: Print
    ) -> ImageRequest:
        return ImageRequest(
            tree=tree.path,
            start=tree.path / tree.subdirectory,
            entry_point=entry,
            name=image_word(str(lease.facts.get("project") or "run")),
            cache=self._cache,
            repository=lease.spec.get("repository") or self._repository,
            env=self._env,
            policy=self._policy,
            timeout_s=BUILD_LIMIT_S,
            print=tell,
            **image_options(lease.spec, lease.args),
        )

    def _furnish(self, lease: Lease, tree: Tree, image: Image) -> None:
        """Give the attempt its folder, and its container what it sees of it."""
        folder = self._folders.open(lease.key)
        is_mounted = bool(lease.args.get("base_image")) and not tree.image
        if is_mounted:
            self._folders.fill(lease.key, tree.digest, tree.path, config_of(lease))
        else:
            (folder / "config.json").write_bytes(config_of(lease))
        # Whoever a container runs as uses these; nobody else gets through the folder above.
        (folder / "config.json").chmod(0o644)
        (folder / "records.jsonl").touch()
        (folder / "records.jsonl").chmod(0o666)
        (folder / "files").chmod(0o777)
        entry = [str(word) for word in lease.spec.get("entry_point") or ()]
        container = Container(
            image=image.image,
            entry_point=argv_inside(entry),
            args=tuple(str(word) for word in lease.spec.get("args") or ()),
            workdir=image.workdir,
            binds=binds_of(folder, self._runside, is_mounted=is_mounted),
        )
        env = env_inside(lease, common_env(lease, self._around), tree.env)
        self._prepared[lease.key] = Prepared(
            argv=(), env=env, cwd=folder, folder=folder, container=container
        )


def _want(lease: Lease, tree: Tree) -> str:
    """Return what decides an image; leases with equal ones share it."""
    spec, args = lease.spec, lease.args
    parts = [
        image_options(spec, args),
        [spec.get(name) for name in ("entry_point", "repository")],
        [args.get(name) for name in ("base_image", "pull")],
    ]
    return json.dumps([tree.digest, tree.subdirectory, parts, lease.facts.get("project")])
