"""What a Dockerfile begins with, and what a generated one may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shipway.builders.container.bases import Base, check_allowed, full_name
from shipway.builders.container.cache_key import image_key
from shipway.builders.container.context import read_context
from shipway.builders.container.dockerfile import images_of
from shipway.builders.container.image_build import stages_of
from shipway.builders.container.packages import Packages, chosen_of, packages_of
from shipway.builders.container.plan import network_of, settings_for_builds
from shipway.builders.container.push import target_of
from shipway.builders.container.recipe import base_of, code_dockerfile, recipe
from shipway.domain.image_ref import ImageRef
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.errors import PermanentError
from shipway.plugins.image_builder import ImageRequest

DIGEST = "sha256:" + "a" * 64


def a_request(tree: Path, files: dict[str, str] | None = None, **changes: Any) -> ImageRequest:
    for name, text in (files or {}).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    values: dict[str, Any] = {
        "tree": tree,
        "start": tree,
        "entry_point": ("python3", "main.py"),
        "name": "demo",
        "cache": tree / "cache",
        "print": lambda _: None,
        **changes,
    }
    return ImageRequest(**values)


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM python:3.12", ["python:3.12"]),
        ("from --platform=linux/amd64 a:1 as b\nFROM b\nFROM B", ["a:1"]),
        ("FROM scratch\nCOPY --from=x:1 /a /b\nCOPY --from=0 /a /b", ["x:1"]),
        ("FROM a AS s\nFROM b\nCOPY --chown=1 --from=s /a /b", ["a", "b"]),
        ("ARG V=3.12\nFROM python:${V}-slim\nFROM python:$V", ["python:3.12-slim", "python:3.12"]),
        ("ARG GIVEN=no\nFROM a:$GIVEN", ["a:yes"]),
        ("ARG W\nFROM a:${W:-dflt}\nFROM b${GIVEN:+-x}", ["a:dflt", "b-x"]),
        ("# FROM no\nFROM \\\n  # no\n  a:1 \\\n  AS x\nRUN echo \\\nFROM no", ["a:1"]),
        ("FROM a\nRUN <<EOF cat\nFROM no\nEOF\nFROM b", ["a", "b"]),
        ("FROM a\nRUN echo $((1<<x))\nFROM b", ["a", "b"]),
        ("FROM a\nRUN --mount=type=bind,from=m:2,target=/x --network=none ls", ["a", "m:2"]),
        ("# syntax=docker/dockerfile:1\nFROM a", ["docker/dockerfile:1", "a"]),
        ("# escape=`\nFROM `\n a", ["a"]),
        (f"FROM host:5000/a/b:1@{DIGEST}", [f"host:5000/a/b:1@{DIGEST}"]),
        ("\ufeffFROM a\nFROM a", ["a"]),
        ("RUN x", []),
    ],
)
def test_every_image_of_a_dockerfile_is_found(text: str, images: list[str]) -> None:
    found = images_of(text, name="Dockerfile", known={"GIVEN": "yes"})
    assert [str(one) for one in found] == images


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\n\nFROM $NOBODY", "own/Dockerfile, line 3: .*'' is not an image's name"),
        ("FROM A:1", "small letters"),
        ("FROM", "names no image"),
        ("FROM a b c", "names no image"),
        ("FROM a\nCOPY --from=$(id) a b", "line 2: .*is not an image's name"),
    ],
)
def test_a_name_that_is_none_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(PermanentError, match=why):
        images_of(text, name="own/Dockerfile", known={})


@pytest.mark.parametrize(
    ("files", "changes", "base"),
    [
        ({}, {}, "docker.io/library/python:3.13-slim-bookworm"),
        ({}, {"python": "3.11"}, "docker.io/library/python:3.11-slim-bookworm"),
        ({}, {"python": "3.11.4"}, "docker.io/library/python:3.11.4-slim-bookworm"),
        ({}, {"python": ">=3.9,<3.12"}, "docker.io/library/python:3.11-slim-bookworm"),
        ({}, {"python": "pypy3.10"}, "docker.io/library/pypy:3.10-slim-bookworm"),
        ({".python-version": "3.10\n"}, {}, "docker.io/library/python:3.10-slim-bookworm"),
        ({"runtime.txt": "python-3.9.18\n"}, {}, "docker.io/library/python:3.9.18-slim-bookworm"),
        (
            {"pyproject.toml": '[project]\nname="x"\nversion="1"\nrequires-python="~=3.10.0"\n'},
            {},
            "docker.io/library/python:3.10-slim-bookworm",
        ),
        ({}, {"base_image": "host:5000/cuda:12"}, "host:5000/cuda:12"),
    ],
)
def test_a_generated_image_begins_with_the_python_that_fits(
    tmp_path: Path, files: dict[str, str], changes: dict[str, str], base: str
) -> None:
    request = a_request(tmp_path, files, **changes)
    assert str(base_of(request.base_image, chosen_of(request))) == base


@pytest.mark.parametrize("python", ["3.5.>", "2.7t", "<3", "3.13t"])
def test_a_python_without_an_image_is_refused(tmp_path: Path, python: str) -> None:
    with pytest.raises(PermanentError, match=r"name a base image|names no Python"):
        base_of(None, chosen_of(a_request(tmp_path, python=python)))


def test_a_generated_dockerfile_holds_nothing_of_a_user(tmp_path: Path) -> None:
    odd = "a'b\nUSER root\n$(id)"
    files = {f"{odd}/requirements.txt": "six\n", f"{odd}/pyproject.toml": ""}
    request = a_request(tmp_path, files, start=tmp_path / odd, extras=("x\nRUN y",))
    packages = packages_of(request, chosen_of(request), read_context(tmp_path))
    made = recipe("base@sha256:0", packages, ["UV_INDEX", "UV_X\nUSER root", "UV_NO_INDEX"])
    assert made.args == ("UV_INDEX", "UV_NO_INDEX")
    assert "USER root" not in made.dockerfile
    assert made.dockerfile.count("\nUSER ") == 2
    assert """cd '/app/a'"'"'b\nUSER root\n$(id)'\n""" in made.script


def test_an_image_without_packages_needs_no_environment(tmp_path: Path) -> None:
    request = a_request(tmp_path, {"main.py": "print(1)\n"})
    packages = packages_of(request, chosen_of(request), read_context(tmp_path))
    assert not packages.has_environment
    assert "uv" not in recipe("base", packages, []).script


@pytest.mark.parametrize(
    ("files", "needed", "commands"),
    [
        ({"requirements.txt": "six\n"}, [], ["-r requirements.txt"]),
        (
            {"requirements.txt": "-r in/more.txt\n-f w\n./p\n", "in/more.txt": "", "w/x.whl": "",
             "p/setup.py": ""},
            ["p", "p/setup.py", "w", "w/x.whl"],
            ["-r requirements.txt"],
        ),
        (
            {"pyproject.toml": '[project]\nname="x"\nversion="1"\ndependencies=["six"]\n'},
            [],
            ["-r pyproject.toml"],
        ),
        (
            {"pyproject.toml": '[project]\nname="x"\nversion="1"\n[tool.uv]\nfind-links=["w"]\n',
             "w/x.whl": ""},
            ["w", "w/x.whl"],
            ["-r pyproject.toml"],
        ),
        ({"main.py": "# /// script\n# dependencies = []\n# ///\nx = 1\n"}, [], ["-r main.py"]),
    ],
)  # fmt: skip
def test_the_layer_of_the_lock_holds_what_its_commands_read(
    tmp_path: Path, files: dict[str, str], needed: list[str], commands: list[str]
) -> None:
    request = a_request(tmp_path, {"code.py": "1", **files})
    found = packages_of(request, chosen_of(request), read_context(tmp_path))
    assert sorted(found.copied) == needed
    assert [" ".join(words[-2:]) for words in found.commands] == commands
    before = found.digest(read_context(tmp_path))
    (tmp_path / "code.py").write_text("2")
    if "main.py" in files:
        (tmp_path / "main.py").write_text(f"{files['main.py']}y = 2\n")
    again = packages_of(request, chosen_of(request), read_context(tmp_path))
    assert again.digest(read_context(tmp_path)) == before, "code is no part of it"


def test_what_the_ignore_file_leaves_out_cannot_be_installed(tmp_path: Path) -> None:
    files = {"requirements.txt": "six\n", ".dockerignore": "*.txt\n"}
    request = a_request(tmp_path, files)
    with pytest.raises(PermanentError, match=r"needs requirements\.txt .* leaves it out"):
        packages_of(request, chosen_of(request), read_context(tmp_path))


def test_a_lock_that_is_a_link_out_of_the_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("six\n")
    request = a_request(tmp_path / "tree", {"main.py": ""})
    (request.tree / "requirements.txt").symlink_to("../outside.txt")
    with pytest.raises(PermanentError, match="is a link out of the source"):
        packages_of(request, chosen_of(request), read_context(request.tree))


def a_key(**changes: Any) -> str:
    ref = ImageRef.parse("python:3.12")
    values: dict[str, Any] = {
        "context": "c",
        "dockerfile": "d",
        "bases": [Base(ref=ref, digest=DIGEST, is_local=False, is_here=True)],
        "platform": "linux/amd64",
        "args": {"A": "1"},
        "lock": "l",
        **changes,
    }
    return image_key(**values)


def test_each_part_changes_the_key_and_nothing_else_does() -> None:
    ref = ImageRef.parse("python:3.12")
    moved = Base(ref=ref, digest=DIGEST.replace("a", "b"), is_local=False, is_here=True)
    changes: list[dict[str, Any]] = [
        {"context": "x"}, {"dockerfile": "x"}, {"bases": [moved]}, {"platform": "linux/arm64"},
        {"args": {"A": "2"}}, {"lock": "x"}, {},
    ]  # fmt: skip
    assert len({a_key(**change) for change in changes}) == len(changes)
    full = ImageRef.parse("docker.io/library/python:3.12")
    same = Base(ref=full, digest=DIGEST, is_local=True, is_here=False)
    assert a_key(bases=[same]) == a_key()


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("python", "docker.io/library/python"),
        ("a/b:1", "docker.io/a/b"),
        ("host:5000/b", "host:5000/b"),
        ("localhost/b", "localhost/b"),
    ],
)
def test_names_are_matched_in_full(name: str, full: str) -> None:
    assert full_name(ImageRef.parse(name)) == full
    check_allowed([ImageRef.parse(name)], ContainerPolicy(images=("no/*", full)))
    with pytest.raises(PermanentError, match=r"of its config allows other\.org/\*"):
        check_allowed([ImageRef.parse(name)], ContainerPolicy(images=("other.org/*",)))


@pytest.mark.parametrize(
    ("policy", "env", "network"),
    [
        (None, {}, None),
        ("none", {"UV_INDEX": "http://127.0.0.1:1/"}, "none"),
        ("bridge", {"UV_INDEX": "http://127.0.0.1:1/"}, None),
        (None, {"UV_INDEX": "own=http://127.0.0.1:1/simple"}, "host"),
        (None, {"https_proxy": "http://localhost:3128"}, "host"),
        (None, {"no_proxy": "localhost,127.0.0.1", "UV_INDEX": "https://a.org/"}, None),
    ],
)
def test_steps_reach_an_index_of_this_machine(
    tmp_path: Path, policy: str | None, env: dict[str, str], network: str | None
) -> None:
    request = a_request(tmp_path, env=env, policy=ContainerPolicy(network=policy))
    assert network_of(request, settings_for_builds(request)) == network


def test_only_settings_that_mean_something_inside_are_passed_on(tmp_path: Path) -> None:
    env = {
        "PIP_INDEX_URL": "https://a.org",
        "UV_FIND_LINKS": "/wheels",
        "HTTPS_PROXY": "http://p",
        "UV_CONFIG_FILE": "/uv.toml",
        "AWS_SECRET_ACCESS_KEY": "s",
        "LD_PRELOAD": "x",
    }
    found = settings_for_builds(a_request(tmp_path, env=env))
    assert found == {"UV_DEFAULT_INDEX": "https://a.org", "HTTPS_PROXY": "http://p"}


def test_a_name_for_the_engine_is_made_of_small_words(tmp_path: Path) -> None:
    made = target_of(a_request(tmp_path, name="My Project/../x"), "k" * 32)
    assert str(made.ref) == f"localhost/shipway/my-project-x:{'k' * 32}"
    assert str(target_of(a_request(tmp_path, name="//"), "k").ref) == "localhost/shipway/image:k"


def test_stages_are_read_from_what_an_engine_says() -> None:
    said = [
        "Step 1/3 : FROM a",
        " ---> 0123456789ab",
        " ---> Running in bbbbbbbbbbbb",
        "--> cccccccccccc",
        "--> Using cache dddddddddddd",
        " ---> 0123456789ab",
        "Successfully built eeeeeeeeeeee",
    ]
    assert stages_of(said) == ["0123456789ab", "dddddddddddd", "cccccccccccc"]


def test_nothing_to_install_is_the_same_for_everybody(tmp_path: Path) -> None:
    context = read_context(tmp_path)
    assert Packages(why="a").digest(context) == Packages(why="b").digest(context)


def test_builds_share_downloads_and_never_files_of_sources(tmp_path: Path) -> None:
    request = a_request(tmp_path, {"requirements.txt": "six\n"})
    packages = packages_of(request, chosen_of(request), read_context(tmp_path))
    assert "--mount=type=cache" in recipe("base", packages, [], with_cache=True).dockerfile
    assert "--mount" not in recipe("base", packages, []).dockerfile
    request = a_request(tmp_path, {"requirements.txt": "-f w\nsix\n", "w/six.whl": ""})
    packages = packages_of(request, chosen_of(request), read_context(tmp_path))
    assert "--mount" not in recipe("base", packages, [], with_cache=True).dockerfile


@pytest.mark.parametrize(
    ("start", "line"),
    [
        ("a/b-c.d", "WORKDIR /app/a/b-c.d\n"),
        (".", ""),
        ("a b", ""),
        ("a\nUSER root", ""),
        ("$X", ""),
    ],
)
def test_code_starts_where_a_plain_path_says(start: str, line: str) -> None:
    said = code_dockerfile("e", start=start, has_project=False)
    assert said == f"FROM e\nCOPY --chown=1000:1000 code/ /app/\n{line}"
