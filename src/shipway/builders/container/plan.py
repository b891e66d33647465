"""Decides what a request's image is made from, and so its key, before anything is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from shipway.builders.container import bases, dockerfile
from shipway.builders.container.bases import Base
from shipway.builders.container.cache_key import image_key
from shipway.builders.container.context import Context, read_context
from shipway.builders.container.dockerfile import Brought
from shipway.builders.container.packages import Packages, chosen_of, packages_of
from shipway.builders.container.recipe import Recipe, base_of, code_dockerfile, recipe
from shipway.builders.uv_settings import index_settings, uv_environment
from shipway.domain.image_ref import ImageRef
from shipway.engines.engine import Engine
from shipway.plugins.errors import PermanentError
from shipway.plugins.image_builder import ImageRequest
from shipway.plugins.registry import registry_for

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/v[0-9]+)?")
_ARG = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FOR_BUILDS = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX(_\w+)?|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|OFFLINE|INSECURE_HOST"
    r"|HTTP_\w+|REQUEST_TIMEOUT|TORCH_BACKEND|EXCLUDE_NEWER|PRERELEASE|RESOLUTION|NO_BINARY\w*"
    r"|NO_BUILD\w*)"
)
_PROXY = re.compile(r"(?i)(http|https|all|no)_proxy")
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
_PLACEHOLDER = "base"  # what stands for the base image in a text that is part of a key


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that was decided for a request."""

    key: str
    context: Context
    bases: tuple[Base, ...]
    platform: str  # of the image: asked for, or the engine's own
    network: str | None
    brought: Brought | None = None
    packages: Packages | None = None  # of a generated image
    environment: str = ""  # the key of a generated image's environment
    start: str = "."  # where its programs start, below the tree
    hidden: Mapping[str, str] = field(default_factory=dict, repr=False)

    def recipe(self, base: str, *, with_cache: bool) -> Recipe:
        """Return how a generated image's environment is made from an image of that name."""
        assert self.packages is not None
        return recipe(base, self.packages, _args(self.hidden), with_cache=with_cache)


def decide(request: ImageRequest, engine: Engine, own_platform: str) -> Plan:
    """Return the plan; registries and engine are asked what the base images are."""
    platform = _platform(request, own_platform)
    _check_args(request)
    found = dockerfile.brought(request)
    if found is not None:
        return _of_brought(request, engine, found, platform)
    return _of_generated(request, engine, platform, own_platform)


def settings_for_builds(request: ImageRequest) -> dict[str, str]:
    """Return the agent's settings of indexes and proxies that mean something inside a build."""
    env = uv_environment(request.env, {})
    return {
        name: value
        for name, value in env.items()
        if value and (_FOR_BUILDS.fullmatch(name) or _PROXY.fullmatch(name))
        if not (name == "UV_FIND_LINKS" and "://" not in value)  # a folder of the agent's machine
    }


def network_of(request: ImageRequest, settings: Mapping[str, str]) -> str | None:
    """Return the network of a build's steps: the policy's; else host where an index needs it."""
    if request.policy.network is not None:
        return None if request.policy.network == "bridge" else request.policy.network
    addresses = [word for name, text in settings.items() if name[-8:].lower() != "no_proxy"
                 for word in text.split()]  # fmt: skip
    hosts = [urlsplit(word.rpartition("=")[2]).hostname or "" for word in addresses]
    return "host" if any(_LOOPBACK.fullmatch(host) for host in hosts) else None


def _of_brought(request: ImageRequest, engine: Engine, found: Brought, platform: str) -> Plan:
    known = {**_platform_args(platform), **request.build_args}
    refs = dockerfile.images_of(found.text, name=found.name, known=known)
    resolved = _resolved(refs, request, engine, platform)
    context = read_context(found.context, dockerfile=found.file)
    settings = settings_for_builds(request)
    proxies = {name: value for name, value in settings.items() if _PROXY.fullmatch(name)}
    return Plan(
        key=image_key(
            context=context.digest(),
            dockerfile=found.text,
            bases=resolved,
            platform=platform,
            args=request.build_args,
        ),
        context=context,
        bases=resolved,
        platform=platform,
        network=network_of(request, proxies),
        brought=found,
        hidden=proxies,
    )


def _of_generated(request: ImageRequest, engine: Engine, platform: str, own_platform: str) -> Plan:
    chosen = chosen_of(request)
    (base,) = _resolved([base_of(request.base_image, chosen)], request, engine, platform)
    context = read_context(request.tree)
    packages = packages_of(request, chosen, context)
    request.print(packages.why)
    if packages.has_environment and platform != own_platform:
        raise PermanentError(
            f"packages for {platform} cannot be installed by this engine of {own_platform}: bring "
            "a Dockerfile of your own, or build on such a machine"
        )
    settings = settings_for_builds(request) if packages.commands else {}
    made = recipe(_PLACEHOLDER, packages, _args(settings))
    args = {**dict(index_settings(settings)), **request.build_args}
    lock = packages.digest(context)
    start = request.start.relative_to(request.tree).as_posix()
    code = code_dockerfile(_PLACEHOLDER, start=start, has_project=bool(packages.laid))
    environment = image_key(
        context="",
        dockerfile=made.dockerfile + made.script,
        bases=[base],
        platform=platform,
        args=dict(index_settings(settings)),
        lock=lock,
    )
    return Plan(
        key=image_key(
            context=context.digest(),
            dockerfile=made.dockerfile + made.script + code + "".join(packages.laid),
            bases=[base],
            platform=platform,
            args=args,
            lock=lock,
        ),
        context=context,
        bases=(base,),
        platform=platform,
        network=network_of(request, settings) if packages.commands else "none",
        packages=packages,
        environment=environment,
        start=start,
        hidden=settings,
    )


def _resolved(
    refs: list[ImageRef], request: ImageRequest, engine: Engine, platform: str
) -> tuple[Base, ...]:
    bases.check_allowed(refs, request.policy)
    return tuple(
        bases.resolve(
            ref,
            engine,
            registry=registry_for(ref, request.env),
            platform=platform,
            print=request.print,
            is_refreshed=request.is_refreshed,
        )
        for ref in refs
    )


def _platform(request: ImageRequest, own: str) -> str:
    if request.platform is None:
        return own
    if not _PLATFORM.fullmatch(request.platform):
        raise PermanentError(
            f"platform {request.platform[:80]!r} is none: write it as linux/amd64 or linux/arm64"
        )
    return request.platform


def _check_args(request: ImageRequest) -> None:
    for name, value in request.build_args.items():
        if not _ARG.fullmatch(name) or "\0" in value:
            raise PermanentError(
                f"build argument {name[:80]!r} must be letters, digits and '_', its value without "
                "a zero byte"
            )


def _platform_args(platform: str) -> dict[str, str]:
    system, machine, *variant = platform.split("/")
    facts = {"PLATFORM": platform, "OS": system, "ARCH": machine}
    facts["VARIANT"] = variant[0] if variant else ""
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in facts.items()}


def _args(settings: Mapping[str, str]) -> list[str]:
    """Return the variables that a Dockerfile must name; engines know the proxies'."""
    return [name for name in settings if not _PROXY.fullmatch(name)]
