"""A pinned image from submit to its container: the tag moves, and the launch does not."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from functools import cache

import pytest

from shipway.domain.image_ref import ImageRef
from shipway.engines.login import lent_login
from shipway.plugins.registry import registry_for
from tests.acceptance.test_registries import HTPASSWD, a_user
from tests.support.base_image import base_tar
from tests.support.embedded import Embedded, embedded
from tests.support.engines import ENGINES, TestEngine, a_registry, an_engine, trust


@pytest.fixture(scope="module", params=ENGINES)
def lent(request: pytest.FixtureRequest) -> Iterator[TestEngine]:
    with an_engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="module")
def user(
    lent: TestEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    """Give a registry that wants a login, and the variables of somebody who has one."""
    folder = tmp_path_factory.mktemp("registry")
    with a_registry(folder / "r", htpasswd=HTPASSWD) as address:
        trust(lent, address)
        home = a_user(folder / "home", address)["HOME"]
        login = {"DOCKER_CONFIG": f"{home}/.docker", "HOME": home}
        yield address, {**lent.env, **login}


@pytest.fixture(scope="module")
def shipway(lent: TestEngine, user: tuple[str, dict[str, str]]) -> Iterator[Embedded]:
    with embedded(**user[1]) as made:
        made.up()
        yield made
        made.run("down", "--stop")


@cache
def a_tar_of_echo() -> bytes:
    """Return the least of the base image that can say a word: it is pushed often."""
    wanted = re.compile(r"(usr/bin/echo|.*/(ld-linux[^/]*|libc\.so[^/]*))\Z")
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(base_tar())) as whole,
        tarfile.open(fileobj=out, mode="w") as small,
    ):
        for member in whole:
            if wanted.match(member.name):
                small.addfile(member, whole.extractfile(member))
    return out.getvalue()


def push(lent: TestEngine, ref: ImageRef, word: str, env: dict[str, str]) -> str:
    """Push an image that says a word; return its digest."""
    words = ["-c", "ENV PATH=/usr/bin:/bin", "-c", f'CMD ["echo", "{word}"]']
    lent.engine.run("import", *words, "-", str(ref), input=a_tar_of_echo())
    registry = registry_for(ref, env)
    with lent_login(lent.engine, ref, registry) as login:
        lent.engine.run("push", str(ref), env=login)
    lent.engine.run("rmi", str(ref))
    found = registry.manifest(ref)
    assert found is not None
    return found.digest


def test_what_runs_is_what_the_name_stood_for_at_submit(
    lent: TestEngine, user: tuple[str, dict[str, str]], shipway: Embedded
) -> None:
    """Earns its time: no half of it shows that nobody asks the tag again."""
    address, env = user
    ref = ImageRef.parse(f"{address}/team/said:1")
    first = push(lent, ref, "first", env)
    shipway.run("queue", "pause", "default")
    shipway.run("launch", "-d", str(ref), "--idempotency-key", "pinned")
    second = push(lent, ref, "second", env)
    assert first != second
    shipway.run("queue", "resume", "default")
    again = ("launch", "-d", str(ref), "--idempotency-key", "pinned", "--follow")
    assert shipway.run(*again).split() == ["first"]
    assert shipway.run("launch", "-d", str(ref), "--follow").split() == ["second"]


def test_a_job_of_an_image_keeps_the_one_that_it_was_made_of(
    lent: TestEngine, user: tuple[str, dict[str, str]], shipway: Embedded
) -> None:
    address, env = user
    ref = ImageRef.parse(f"{address}/team/job:1")
    push(lent, ref, "first", env)
    shipway.run("job", "create", "image", str(ref), "--name", "said", "--project", "demo")
    push(lent, ref, "second", env)
    job = shipway.run("job", "ls", "--project", "demo").split()[0]
    assert shipway.run("launch", "-j", job, "--follow").split() == ["first"]
    wanted = '{"local-container": {"platform": "linux/s390x"}}'
    with pytest.raises(AssertionError, match=f"'linux/s390x', but {ref} has: linux/amd64"):
        shipway.run("launch", "-j", job, "-R", wanted)
