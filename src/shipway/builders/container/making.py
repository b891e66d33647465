"""Makes an image by an engine: lays its files out in a folder of its own, and removes that."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from shipway.builders.build_lock import lock
from shipway.builders.container import bases, kept
from shipway.builders.container.cache_key import TAG
from shipway.builders.container.context import Context, settle
from shipway.builders.container.image_build import Order, build, is_of
from shipway.builders.container.packages import ENV
from shipway.builders.container.plan import Plan
from shipway.builders.container.recipe import APP, code_dockerfile
from shipway.builders.needs import startup
from shipway.builders.needs.layout import read_layout
from shipway.builders.needs.overlay import Layer
from shipway.builders.uv_settings import find_uv
from shipway.domain.image_ref import ImageRef
from shipway.engines.engine import Engine
from shipway.engines.images import ImageFacts, find_image
from shipway.plugins.errors import PluginError
from shipway.plugins.image_builder import ImageRequest

OURS = "localhost/shipway"  # names of what stays with an engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Who makes an image, and with what."""

    request: ImageRequest
    engine: Engine
    buildkit: bool
    deadline: float  # of the monotonic clock

    @property
    def left_s(self) -> float:
        """Seconds until it has taken too long."""
        return self.deadline - time.monotonic()


def make(by: Making, plan: Plan, ref: ImageRef) -> ImageFacts:
    """Build a plan's image and give it the name."""
    if plan.brought is not None:
        return _of_brought(by, plan, ref)
    environment = _environment(by, plan)
    return _with_code(by, plan, ref, environment)


def _of_brought(by: Making, plan: Plan, ref: ImageRef) -> ImageFacts:
    assert plan.brought is not None
    for base in plan.bases:
        bases.ensure(base, by.engine, by.request.print)
    say = by.request.print
    place = plan.context.folder.relative_to(by.request.tree).as_posix()
    say(f"Dockerfile {plan.brought.name}, context {place}: {_count(plan.context)}")
    with _folder(by) as folder:
        plan.context.lay_out(folder / "context")
        settle(folder / "context")
        (folder / "Dockerfile").write_text(plan.brought.text)
        return build(
            Order(
                dockerfile=folder / "Dockerfile",
                context=folder / "context",
                tag=str(ref),
                key=plan.key,
                args=by.request.build_args,
                hidden=plan.hidden,
                network=plan.network,
                platform=by.request.platform,
                is_refreshed=by.request.is_refreshed,
                timeout_s=by.left_s,
                print=say,
            ),
            by.engine,
            buildkit=by.buildkit,
        )


def _environment(by: Making, plan: Plan) -> str:
    """Return the name of the image that the code is added to; built if it is not there."""
    name = f"{OURS}/environment:{plan.environment[:TAG]}"
    with lock(by.request.cache / "locks" / plan.environment, by.request.print, by.deadline):
        seen = None if by.request.is_refreshed else find_image(by.engine, name)
        built = kept.built(by.request.cache, plan.environment)
        if seen is not None and is_of(plan.environment, seen, built):
            by.request.print(f"environment {name} was there already")
            kept.stamp(by.request.cache, plan.environment)
            return name
        with _folder(by) as folder, _base_name(by, plan) as base:
            made = plan.recipe(base, with_cache=by.buildkit)
            assert plan.packages is not None
            _say_dockerfile(by, made.dockerfile)
            _lay_packages(folder / "context", plan, by.request)
            (folder / "context/run").write_text(made.script)
            settle(folder / "context")
            (folder / "Dockerfile").write_text(made.dockerfile)
            facts = build(
                Order(
                    dockerfile=folder / "Dockerfile",
                    context=folder / "context",
                    tag=name,
                    key=plan.environment,
                    hidden=plan.hidden,
                    network=plan.network,
                    platform=by.request.platform,
                    is_refreshed=by.request.is_refreshed,
                    keeps_stages=False,
                    timeout_s=by.left_s,
                    print=by.request.print,
                ),
                by.engine,
                buildkit=by.buildkit,
            )
        kept.remember(by.request.cache, plan.environment, by.engine, name, facts)
    return name


def _with_code(by: Making, plan: Plan, ref: ImageRef, environment: str) -> ImageFacts:
    assert plan.packages is not None
    by.request.print(f"code: {_count(plan.context)}")
    projects = plan.packages.laid
    text = code_dockerfile(environment, start=plan.start, has_project=bool(projects))
    with _folder(by) as folder:
        context = folder / "context"
        plan.context.lay_out(context / "code")
        _lay_projects(context / "project", projects, by.request.tree)
        settle(context)
        _say_dockerfile(by, text)
        (folder / "Dockerfile").write_text(text)
        return build(
            Order(
                dockerfile=folder / "Dockerfile",
                context=context,
                tag=str(ref),
                key=plan.key,
                network="none",
                platform=by.request.platform,
                keeps_stages=False,
                timeout_s=by.left_s,
                print=by.request.print,
            ),
            by.engine,
            buildkit=by.buildkit,
        )


def _lay_packages(context: Path, plan: Plan, request: ImageRequest) -> None:
    """Write what the first stage of an environment needs: uv, its commands, the lock's files."""
    packages = plan.packages
    assert packages is not None
    (context / "startup").mkdir(parents=True)
    if not packages.has_environment:
        return
    startup.write(context / "startup")
    uv = find_uv(request.env.get("PATH") or os.defpath)
    try:
        os.link(uv.resolve(), context / "uv")
    except OSError:  # another disk
        shutil.copy(uv, context / "uv")
    authority = request.env.get("SSL_CERT_FILE")
    if authority and Path(authority).is_file():
        shutil.copyfile(authority, context / "ca.pem")
    packages.part(plan.context).lay_out(context / "lock")
    for path, data in packages.files.items():
        file = context / "lock" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(data)


def _lay_projects(folder: Path, places: tuple[str, ...], tree: Path) -> None:
    """Write what makes the source's own projects importable, with paths of the image's inside."""
    if not places:
        return
    layer = Layer(site=folder / "site", scripts=folder / "bin", python=Path(ENV) / "bin/python")
    for place in places:
        layer.lay(read_layout(tree / place), Path(APP) / place)
    layer.close()


@contextmanager
def _base_name(by: Making, plan: Plan) -> Iterator[str]:
    """Lend a name that means the one base image that the key has, whatever is tagged meanwhile."""
    (base,) = plan.bases
    if not base.is_local:
        yield bases.pinned(base, by.engine, by.request.print)
        return
    name = f"{OURS}/base:{plan.environment[:TAG]}"
    by.engine.run("tag", base.digest, name)
    try:
        yield name
    finally:
        with suppress(PluginError):
            by.engine.run("rmi", name)


@contextmanager
def _folder(by: Making) -> Iterator[Path]:
    """Lend a folder for one build."""
    above = by.request.cache / "tmp"
    above.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(dir=above))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _count(context: Context) -> str:
    return f"{context.files} files, {context.size} bytes"


def _say_dockerfile(by: Making, text: str) -> None:
    by.request.print("generated Dockerfile:")
    for line in text.splitlines():
        by.request.print(f"    {line}")
