"""The container builder on real docker, classic and BuildKit, and on real podman."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipway.builders.container import ContainerBuilder
from shipway.domain.image_ref import ImageRef
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.image_builder import Image
from shipway.plugins.registry import registry_for
from tests.support.base_image import base_tar
from tests.support.engines import BASE, TestEngine, a_registry, an_engine, trust
from tests.support.images import ImageBench, an_index, wheel

MAIN = "import os, sys; print('ran', os.getuid(), os.getcwd(), *sys.argv[1:])\n"
OWN = f'FROM {BASE}\nWORKDIR /here\nCOPY . .\nENTRYPOINT ["python3"]\nCMD ["main.py"]\n'
PASSWORD = "open sesame"
HTPASSWD = "ada:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n"  # bcrypt of it
FOUND_S = 1.0  # an image that is there comes back within


@pytest.fixture(scope="module", params=["docker", "podman"])
def lent(request: pytest.FixtureRequest) -> Iterator[TestEngine]:
    with an_engine(request.param) as engine:
        yield engine


@pytest.fixture
def bench(lent: TestEngine, tmp_path: Path) -> ImageBench:
    """Give a bench whose source is like no other's: engines remember what tests before built."""
    bench = ImageBench(lent=lent, folder=tmp_path)
    bench.write({"unique.txt": secrets.token_hex(8)})
    return bench


@pytest.fixture(params=["", "classic"])
def every(request: pytest.FixtureRequest, bench: ImageBench) -> ImageBench:
    """Give it for each way to build: BuildKit, docker's classic builder, podman."""
    if request.param:
        if bench.lent.name != "docker":
            pytest.skip("only docker has a classic builder")
        bench.env["DOCKER_BUILDKIT"] = "0"
    return bench


def needs_greeter(bench: ImageBench, says: str | None = None) -> str:
    """Let the source need a package that lies in it, like no other's."""
    says = says or secrets.token_hex(4)
    bench.write({"main.py": "import greeter; print(greeter.WORD)\n"})
    bench.write({"requirements.txt": "--no-index\n--find-links wheels\ngreeter\n"})
    wheel(bench.tree / "wheels", says=says)
    return says


def test_a_script_without_dependencies(every: ImageBench) -> None:
    bench = every
    bench.write({"main.py": MAIN, "tool.sh": "#!/bin/sh\necho tool\n"})
    (bench.tree / "tool.sh").chmod(0o755)
    (bench.tree / "link").symlink_to("main.py")
    image = bench.build()
    assert not image.is_cached
    assert bench.run(image, "python3", "link", "a b", "$HOME") == "ran 1000 /app a b $HOME\n"
    assert bench.run(image, "/app/tool.sh") == "tool\n"
    made = "import os; open('new', 'w'); print(os.environ['HOME'], os.path.expanduser('~'))"
    assert bench.run(image, "python3", "-c", made) == "/home/shipway /home/shipway\n"


def test_packages_have_a_layer_of_their_own(every: ImageBench) -> None:
    bench = every
    says = needs_greeter(bench)
    first = bench.build()
    assert bench.run(first, "python3", "main.py") == f"{says}\n"
    with pytest.raises(PermanentError, match="uv"):
        bench.run(first, "uv", "--version")
    bench.write({"main.py": "import greeter; print('now', greeter.WORD)\n"})
    second = bench.build()
    assert not second.is_cached
    assert bench.run(second, "python3", "main.py") == f"now {says}\n"
    assert any("environment" in line and "there already" in line for line in bench.log)
    assert layers(bench, second)[:-1] == layers(bench, first)[:-1]
    assert layers(bench, second)[-1] != layers(bench, first)[-1]
    assert unnamed(bench) == set()


def test_a_project_is_importable_and_its_scripts_can_be_called(bench: ImageBench) -> None:
    says = needs_greeter(bench)
    (bench.tree / "requirements.txt").unlink()
    project = (
        '[project]\nname = "my-app"\nversion = "1.5"\ndependencies = ["greeter"]\n'
        '[project.scripts]\nmy-app = "my_app.cli:main"\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[tool.uv]\nno-index = true\nfind-links = ["wheels"]\n'
    )
    cli = (
        "import greeter\nfrom importlib.metadata import version\n"
        "def main(): print(greeter.WORD, version('my-app'))\n"
    )
    bench.write({"pyproject.toml": project, "src/my_app/__init__.py": "", "src/my_app/cli.py": cli})
    image = bench.build(entry_point=("my-app",))
    assert bench.run(image, "my-app") == f"{says} 1.5\n"


def test_an_image_that_exists_is_not_built_again(bench: ImageBench) -> None:
    needs_greeter(bench)
    first = bench.build()
    images = bench.images()
    began = time.monotonic()
    second = bench.build()
    took = time.monotonic() - began
    assert second.is_cached
    assert (second.image, second.digest, second.key) == (first.image, first.digest, first.key)
    assert bench.images() == images
    assert took < FOUND_S
    assert not any("Dockerfile" in line for line in bench.log)
    assert list((bench.cache / "tmp").iterdir()) == []
    name = f"localhost/shipway/demo:{first.key[:32]}"
    bench.engine.run("tag", BASE, name)
    assert not bench.build().is_cached, "another image has the name"


def test_a_changed_base_builds_anew(every: ImageBench) -> None:
    bench = every
    name = f"localhost/base-{secrets.token_hex(4)}:1"
    bench.engine.run("tag", BASE, name)
    bench.write({"main.py": MAIN, "own/Dockerfile.shipway": OWN.replace(BASE, name)})
    own: dict[str, Any] = {"start": bench.tree / "own", "base_image": None}
    first, first_own = bench.build(base_image=name), bench.build(**own)
    assert bench.build(base_image=name).is_cached
    bench.engine.run(
        "import", "-c", "ENV PATH=/usr/bin:/bin", "-c", "ENV MOVED=1", "-", name, input=base_tar()
    )
    second, second_own = bench.build(base_image=name), bench.build(**own)
    assert {first.is_cached, second.is_cached, second_own.is_cached} == {False}
    assert second.key != first.key
    assert second_own.key != first_own.key
    shown = "import os; print(os.environ.get('MOVED'))"
    assert bench.run(second, "python3", "-c", shown) == "1\n"
    assert bench.run(second_own, "-c", shown) == "1\n"
    assert not any("shipway/base" in one for one in bench.names())


def test_many_that_want_one_image_build_it_once(bench: ImageBench) -> None:
    needs_greeter(bench)
    made: list[Image] = []
    threads = [
        threading.Thread(target=lambda: made.append(bench.builder.build(bench.request())))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.image for one in made}) == 1
    assert sorted(one.is_cached for one in made) == [False] + [True] * 7
    assert sum(line.startswith("generated Dockerfile") for line in bench.log) == 2


def test_a_dockerfile_of_the_source_runs_as_it_is(every: ImageBench) -> None:
    bench = every
    text = (
        f"ARG FROM={BASE}\nFROM $FROM\nARG WORD=no\nRUN echo $WORD > /word\n" + OWN[len(BASE) + 6 :]
    )
    bench.write({"main.py": "print(open('/word').read(), end='')\n", "docker/own": text})
    image = bench.build(dockerfile="docker/own", build_args={"WORD": "it's $HOME"})
    assert bench.run(image) == "it's $HOME\n"
    assert image.workdir is None
    assert any(line.startswith("Dockerfile docker/own, context .: 3 files") for line in bench.log)
    other = bench.build(dockerfile="docker/own", build_args={"WORD": "other"})
    assert bench.run(other) == "other\n"


def test_a_dockerfile_beside_the_entry_point_has_its_folder_as_context(bench: ImageBench) -> None:
    bench.write({"sub/main.py": "print('sub')\n", "main.py": "print('not this')\n"})
    bench.write({"sub/Dockerfile.wandb": "FROM scratch\n", "sub/Dockerfile.shipway": OWN})
    image = bench.build(start=bench.tree / "sub", entry_point=("main.py",))
    assert bench.run(image) == "sub\n"
    bench.write({"sub/deeper/main.py": MAIN})
    deeper = bench.build(start=bench.tree / "sub/deeper")
    assert deeper.workdir == "/app/sub/deeper"
    words = ("run", "--rm", "--network=none", deeper.image, "python3", "main.py")
    assert bench.engine.run(*words) == b"ran 1000 /app/sub/deeper\n"
    assert bench.run(image, "-c", "import os; print(sorted(os.listdir()))") == (
        "['Dockerfile.shipway', 'Dockerfile.wandb', 'main.py']\n"
    )


def test_a_failing_dockerfile_shows_its_log_and_leaves_nothing(every: ImageBench) -> None:
    bench = every
    word = secrets.token_hex(4)
    text = f"FROM {BASE}\nRUN echo first-{word}\nRUN echo on-stderr-{word} >&2; false\n"
    bench.write({"Dockerfile": text})
    before, named = bench.images(), bench.names()
    with pytest.raises(PermanentError, match=f"could not be built:(?s:.*)on-stderr-{word}"):
        bench.build(dockerfile="Dockerfile")
    assert any(f"first-{word}" in line for line in bench.log)
    assert bench.images() == before
    assert bench.names() == named
    assert bench.lent.containers() == []
    assert list((bench.cache / "tmp").iterdir()) == []


def test_a_build_that_takes_too_long_is_ended(bench: ImageBench) -> None:
    bench.write({"Dockerfile": f"FROM {BASE}\nRUN echo begun; sleep 60\n"})
    before = bench.images()
    began = time.monotonic()
    with pytest.raises(PermanentError, match=r"did not end within(?s:.*)begun"):
        bench.build(dockerfile="Dockerfile", timeout_s=5)
    assert time.monotonic() - began < 30
    assert bench.images() == before
    external = ["--external"] if bench.lent.name == "podman" else []
    assert bench.engine.run("ps", "-aq", *external) == b""


def test_packages_that_cannot_be_had_are_named(bench: ImageBench) -> None:
    bench.write({"main.py": MAIN, "requirements.txt": f"no-such-{secrets.token_hex(4)}==1\n"})
    bench.env["UV_HTTP_RETRIES"] = "0"
    with pytest.raises(PermanentError, match="no-such-"):
        bench.build()


def test_what_is_ignored_is_neither_sent_nor_part_of_the_key(bench: ImageBench) -> None:
    bench.write({"main.py": "import os; print(sorted(os.listdir('.')), os.listdir('data'))\n"})
    bench.write({"data/big": "1", "data/keep": "", ".dockerignore": "data\n!data/keep\nunique*\n"})
    bench.write({"own/Dockerfile": OWN})
    image = bench.build()
    assert bench.run(image, "python3", "main.py") == "['data', 'main.py', 'own'] ['keep']\n"
    bench.write({"data/big": "2"})
    assert bench.build().is_cached
    own = bench.build(dockerfile="own/Dockerfile")
    assert bench.run(own) == "['data', 'main.py', 'own'] ['keep']\n"
    bench.write({"own/Dockerfile.dockerignore": "*\n!main.py\n!data/keep\n"})
    own = bench.build(dockerfile="own/Dockerfile")
    assert bench.run(own) == "['data', 'main.py'] ['keep']\n"


def test_an_image_is_pushed_and_named_by_its_digest(bench: ImageBench, tmp_path: Path) -> None:
    bench.write({"main.py": MAIN})
    with a_registry(tmp_path / "registry") as address:
        trust(bench.lent, address)
        image = bench.build(repository=f"{address}/team/demo")
        assert image.image == f"{address}/team/demo@{image.digest}"
        assert bench.run(image, "python3", "main.py") == "ran 1000 /app\n"
        again = bench.build(repository=f"{address}/team/demo")
        assert (again.image, again.is_cached) == (image.image, True)
        bench.engine.run("rmi", "-f", f"{address}/team/demo:{image.key[:32]}")
        assert bench.run(image, "python3", "main.py") == "ran 1000 /app\n"


def test_a_base_of_a_registry_is_pinned_by_its_digest(bench: ImageBench, tmp_path: Path) -> None:
    with a_registry(tmp_path / "registry") as address:
        trust(bench.lent, address)
        name = f"{address}/team/base:1"
        bench.engine.run("tag", BASE, name)
        bench.engine.run("push", name)
        bench.engine.run("rmi", name)
        bench.write({"main.py": MAIN, "Dockerfile": OWN.replace(BASE, name)})
        image = bench.build(base_image=name)
        digest = json.loads(image.facts["bases"])[name]
        assert f"    FROM {address}/team/base@{digest}" in bench.log
        assert bench.run(image, "python3", "main.py") == "ran 1000 /app\n"
        own = bench.build(dockerfile="Dockerfile")
        assert json.loads(own.facts["bases"])[name] == digest
        with pytest.raises(PermanentError, match="no-such"):
            bench.build(base_image=f"{address}/team/no-such:1")


def test_a_registry_is_asked_first_with_the_login_that_is_known(
    bench: ImageBench, tmp_path: Path
) -> None:
    pair = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    with a_registry(tmp_path / "registry", htpasswd=HTPASSWD) as address:
        trust(bench.lent, address)
        login = json.dumps({"auths": {address: {"auth": pair}}})
        for name in ("config.json", "auth.json"):
            (tmp_path / name).write_text(login)
        # Each engine is given the login of a file that it does not read itself.
        others = {"DOCKER_CONFIG": str(tmp_path)}
        if bench.lent.name == "docker":
            others = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
        bench.env |= others
        bench.write({"main.py": MAIN})
        image = bench.build(repository=f"{address}/team/demo")
        bench.engine.run("rmi", "-f", f"{address}/team/demo:{image.key[:32]}")
        began = time.monotonic()
        again = bench.build(repository=f"{address}/team/demo")
        assert time.monotonic() - began < FOUND_S
        assert (again.image, again.is_cached) == (image.image, True)
        assert not any("Dockerfile" in line for line in bench.log)


def test_a_base_that_moved_in_its_registry_builds_anew(bench: ImageBench, tmp_path: Path) -> None:
    with a_registry(tmp_path / "registry") as address:
        trust(bench.lent, address)
        name = f"{address}/team/base:1"
        bench.write({"main.py": MAIN, "Dockerfile": OWN.replace(BASE, name)})
        bench.engine.run("tag", BASE, name)
        bench.engine.run("push", name)
        first, first_own = bench.build(base_image=name), bench.build(dockerfile="Dockerfile")
        words = ("import", "-c", "ENV PATH=/usr/bin:/bin", "-c", "ENV MOVED=1", "-", name)
        bench.engine.run(*words, input=base_tar())
        bench.engine.run("push", name)
        bench.engine.run("tag", BASE, name)  # what this engine knows is the first one
        moved = registry_for(ImageRef.parse(name), {}).manifest(ImageRef.parse(name))
        second, second_own = bench.build(base_image=name), bench.build(dockerfile="Dockerfile")
        assert moved is not None
        for one, before in ((second, first), (second_own, first_own)):
            assert not one.is_cached
            assert one.key != before.key
            assert json.loads(one.facts["bases"])[name] == moved.digest
        shown = "import os; print(os.environ.get('MOVED'))"
        assert bench.run(second, "python3", "-c", shown) == "1\n"
        assert bench.run(second_own, "-c", shown) == "1\n"


def test_no_secret_of_an_index_is_in_the_image_nor_on_a_command_line(
    bench: ImageBench, tmp_path: Path
) -> None:
    needs_greeter(bench)
    secret = secrets.token_hex(16)
    bench.env["UV_INDEX"] = f"http://user:{secret}@127.0.0.1:1/simple"
    spy = tmp_path / bench.lent.name
    spy.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/argv\nexec {bench.lent.program} "$@"\n')
    spy.chmod(0o755)
    image = bench.build(policy=ContainerPolicy(engine=str(spy), network="none"))
    said = (tmp_path / "argv").read_text()
    assert "--build-arg=UV_INDEX" in said
    assert secret not in said
    bench.engine.run("save", "-o", str(tmp_path / "image.tar"), image.image)
    assert secret.encode() not in (tmp_path / "image.tar").read_bytes()
    shown = bench.engine.run("history", "--no-trunc", image.image)
    assert secret.encode() not in shown + bench.engine.run("image", "inspect", image.image)
    assert not any(secret in line for line in bench.log)


def test_images_are_kept_by_their_last_use(bench: ImageBench) -> None:
    bench.write({"main.py": "import time; print('up', flush=True); time.sleep(60)\n"})
    image = bench.build()
    builder = ContainerBuilder(environ=bench.lent.env)
    found = builder.kept(bench.cache)
    one = next(one for one in found if one.path.stem == image.key)
    assert sum(one.files.values()) > 1_000_000
    assert not builder.evict(bench.cache, replace(one, used_at=one.used_at - 100)), "used since"
    words = ("run", "-d", "--network=none", image.image, "python3", "main.py")
    container = bench.engine.run(*words).decode().strip()
    assert not builder.evict(bench.cache, one), "a container needs it"
    bench.engine.run("rm", "-f", container)
    assert builder.evict(bench.cache, one)
    assert image.image.removeprefix("sha256:") not in str(bench.images())
    assert image.key not in {one.path.stem for one in builder.kept(bench.cache)}
    assert not bench.build().is_cached


def test_packages_come_from_the_agents_index_with_its_password(
    every: ImageBench, tmp_path: Path
) -> None:
    bench, says, password = every, secrets.token_hex(4), secrets.token_hex(8)
    wheel(tmp_path / "wheels", says=says)
    bench.write({"main.py": "import greeter; print(greeter.WORD)\n"})
    bench.write({"requirements.txt": f"greeter  # {says}\n"})
    with an_index(tmp_path / "wheels", user="ada", password=password) as address:
        bench.env["UV_DEFAULT_INDEX"] = address
        image = bench.build(policy=ContainerPolicy(engine=bench.lent.program))
    assert bench.run(image, "python3", "main.py") == f"{says}\n"
    assert not any(password in line for line in bench.log)


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"base_image": f"{BASE}\nRUN id > /tmp/pwned"}, "not an image's name"),
    ({"base_image": "--privileged"}, "not an image's name"),
    ({"base_image": f"{BASE} AS x"}, "not an image's name"),
    ({"base_image": "$HOME"}, "not an image's name"),
    ({"python": "3.12\nRUN id"}, "names no Python"),
    ({"python": "3.12; id"}, "names no Python"),
    ({"dockerfile": "../outside/Dockerfile"}, "inside the source"),
    ({"dockerfile": "a/../../outside/Dockerfile"}, "inside the source"),
    ({"dockerfile": "/etc/passwd"}, "inside the source"),
    ({"dockerfile": ""}, "inside the source"),
    ({"dockerfile": "-f"}, "no Dockerfile at"),
    ({"dockerfile": "nowhere/Dockerfile"}, "no Dockerfile at 'nowhere/Dockerfile'"),
    ({"dockerfile": "link-out"}, "a link out of the source"),
    ({"dockerfile": "folder-out/Dockerfile"}, "a link out of the source"),
    ({"platform": "linux/amd64 --privileged"}, "write it as linux/amd64"),
    ({"platform": "--privileged"}, "write it as linux/amd64"),
    ({"repository": "--privileged"}, "not an image's name"),
    ({"repository": "host:5000/a b"}, "not an image's name"),
    ({"repository": "host:5000/a:tag"}, "without tag and digest"),
    ({"build_args": {"A=1 --privileged": ""}}, "build argument"),
    ({"build_args": {"A\nRUN": ""}}, "build argument"),
    ({"dockerfile": "odd-from"}, "line 2: .*not an image's name"),
]  # fmt: skip


def test_hostile_inputs_reach_no_dockerfile(lent: TestEngine, tmp_path: Path) -> None:
    bench = ImageBench(lent=lent, folder=tmp_path)
    bench.write({"main.py": MAIN, "odd-from": f"#\nFROM {BASE}:$(id)\n"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/Dockerfile").write_text("FROM scratch\n")
    (bench.tree / "link-out").symlink_to(tmp_path / "outside/Dockerfile")
    (bench.tree / "folder-out").symlink_to(tmp_path / "outside")
    policy = ContainerPolicy(engine=lent.program, images=("localhost/other",))
    before = bench.images()
    for changes, why in [*HOSTILE, ({"policy": policy}, "images of its config allows local")]:
        with pytest.raises(PermanentError, match=why):
            bench.build(**changes)
    assert bench.images() == before


def test_words_of_an_entry_point_and_names_of_files_stay_words(
    lent: TestEngine, tmp_path: Path
) -> None:
    bench = ImageBench(lent=lent, folder=tmp_path)
    odd = "it's\nRUN $(touch pwned) `x` \\"
    bench.write({f"{odd}/main.py": MAIN, f"{odd}/requirements.txt": "--no-index\n-f w\ngreeter\n"})
    bench.write({"unique.txt": secrets.token_hex(8)})
    wheel(bench.tree / odd / "w")
    (bench.tree / "out").symlink_to("/etc/hostname")
    (bench.tree / "up").symlink_to("../../outside")
    image = bench.build(start=bench.tree / odd, entry_point=('"]\nUSER root\n["', "$(id)"))
    found = json.loads(bench.engine.run("image", "inspect", image.image))[0]["Config"]
    assert found["User"] == "1000:1000"
    assert not found.get("Entrypoint")
    listed = "import os, sys, greeter; print(os.readlink('../up'), os.listdir())"
    assert image.workdir == f"/app/{odd}"
    assert bench.run(image, "python3", "-c", listed).startswith("../../outside [")


def test_an_engine_that_is_away_is_a_reason_to_wait(tmp_path: Path) -> None:
    with an_engine("docker") as lent:
        bench = ImageBench(lent=lent, folder=tmp_path)
        bench.write({"main.py": MAIN})
        lent.kill_daemon()
        with pytest.raises(TemporaryError, match="docker does not answer"):
            bench.build()


def layers(bench: ImageBench, image: Image) -> list[str]:
    seen = json.loads(bench.engine.run("image", "inspect", image.image))[0]
    found: list[str] = seen["RootFS"]["Layers"]
    return found


def unnamed(bench: ImageBench) -> set[str]:
    return set(bench.engine.run("images", "-q", "-f", "dangling=true").decode().split())
