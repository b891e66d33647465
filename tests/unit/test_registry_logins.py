"""What docker's and podman's files of logins say, and the file that an engine is lent."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.image_ref import ImageRef
from shipway.engines.login import with_login
from shipway.engines.login_files import HUB_KEY, Helper, LoginFile, read_login_files
from shipway.plugins.errors import PermanentError
from shipway.plugins.registry import IDENTITY, Credentials

ADA = Credentials(username="ada", password="pass:word")


def auth(text: str = "ada:pass:word") -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def found(image: str, **values: Any) -> list[Helper | Credentials]:
    return list(LoginFile(path=Path("f"), values=values).logins(ImageRef.parse(image)))


@pytest.mark.parametrize(
    ("image", "key"),
    [
        ("r.example:5000/a/b:1", "r.example:5000"),
        ("r.example/a", "https://r.example"),
        ("r.example/a", "https://r.example/v2/"),
        ("r.example/team/a", "r.example/team"),
        ("python", HUB_KEY),
        ("docker.io/library/python", "index.docker.io"),
        ("index.docker.io/team/x", "docker.io"),
        ("[::1]:5000/a", "[::1]:5000"),
    ],
)
def test_a_login_is_found_by_every_way_to_write_a_registry(image: str, key: str) -> None:
    assert found(image, auths={key: auth()}) == [ADA]
    assert found(image, auths={"else.example": auth()}) == []


def test_the_narrowest_key_and_a_helper_rank_first() -> None:
    auths = {"r.example": auth(), "r.example/team": auth("team:x"), "r.example/tea": auth("no:x")}
    team = Credentials(username="team", password="x")
    assert found("r.example/team/a", auths=auths) == [team]
    helper = Helper(name="pass", server="r.example")
    assert found("r.example/team/a", auths=auths, credsStore="pass") == [helper, team]
    other = {"credHelpers": {"https://r.example": "ecr-login"}, "credsStore": "pass"}
    named = Helper(name="ecr-login", server="r.example")
    assert found("r.example/a", **other) == [named]
    assert found("python", **other) == [Helper(name="pass", server=HUB_KEY)]
    assert found("r.example/a", credHelpers={"r.example": ""}, credsStore="pass") == []


def test_a_token_and_a_plain_pair_are_logins_too() -> None:
    token = {"r.example": {"auth": auth("<token>:")["auth"], "identitytoken": "t0k"}}
    assert found("r.example/a", auths=token) == [Credentials(username=IDENTITY, password="t0k")]
    pair = {"r.example": {"username": "ada", "password": "pass:word"}}
    assert found("r.example/a", auths=pair) == [ADA]
    assert found("r.example/a", auths={"r.example": {}}) == []
    assert found("r.example/a", auths={"r.example": "odd"}) == []
    assert found("r.example/a", auths=["odd"], credHelpers=3) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"auths": {"r.example": {"auth": "%%%"}}}, "the login of r.example in f cannot be read"),
        ({"auths": {"r.example": auth("no colon")}}, "log in again with `docker login r.example`"),
        ({"credsStore": "../evil"}, "must be one word"),
        ({"credHelpers": {"r.example": ["x"]}}, "must be one word"),
    ],
)
def test_what_cannot_be_read_is_told_without_its_secrets(
    values: dict[str, Any], words: str
) -> None:
    with pytest.raises(PermanentError, match=words):
        found("r.example/a", **values)


def test_files_are_read_where_docker_and_podman_keep_them(tmp_path: Path) -> None:
    paths = [".docker/config.json", "run/containers/auth.json", ".config/containers/auth.json"]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("{}")
    env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert [str(file.path.relative_to(tmp_path)) for file in read_login_files(env)] == paths
    (tmp_path / "own.json").write_text("")
    elsewhere = {**env, "REGISTRY_AUTH_FILE": str(tmp_path / "own.json"), "DOCKER_CONFIG": "/none"}
    assert [file.path for file in read_login_files(elsewhere)] == [tmp_path / "own.json"]
    assert read_login_files({}) == []
    (tmp_path / "own.json").write_text("[")
    with pytest.raises(PermanentError, match=r"own\.json, where logins .* no JSON object"):
        read_login_files(elsewhere)


def test_a_lent_file_has_one_login_in_place_of_all_that_there_were() -> None:
    ref = ImageRef.parse("r.example/team/a")
    own = {
        "auths": {"https://r.example/v1/": auth("old:x"), "r.example/team": auth("old:y"), "o": {}},
        "credHelpers": {"r.example": "pass", "o": "pass"},
        "credsStore": "desktop",
        "currentContext": "far",
    }
    made = with_login([own], ref, ADA, is_docker=True)
    assert made == {
        "auths": {"o": {}, "r.example": auth()},
        "credHelpers": {"o": "pass", "r.example": ""},  # the file itself, not the store
        "credsStore": "desktop",
        "currentContext": "far",
    }
    assert own["credHelpers"] == {"r.example": "pass", "o": "pass"}
    again = LoginFile(path=Path("f"), values=json.loads(json.dumps(made)))
    assert list(again.logins(ref)) == [ADA]


def test_a_lent_file_of_podman_joins_those_that_it_would_read() -> None:
    ref = ImageRef.parse("docker.io/library/python")
    token = Credentials(username=IDENTITY, password="t0k")
    first = {"auths": {"a": {"auth": "1"}}}
    second = {"auths": {"a": {"auth": "2"}, "b": {"auth": "3"}, HUB_KEY: {"auth": "4"}}}
    made = with_login([first, second], ref, token, is_docker=False)
    assert made["auths"] == {
        "a": {"auth": "1"}, "b": {"auth": "3"},
        "docker.io": {**auth("<token>:"), "identitytoken": "t0k"},
    }  # fmt: skip
    again = LoginFile(path=Path("f"), values=made)
    assert list(again.logins(ref)) == [token]
    assert with_login([], ref, ADA, is_docker=True)["auths"] == {HUB_KEY: auth()}


def test_a_password_is_in_no_repr() -> None:
    assert "pass" not in repr(ADA)
    values = {"auths": {"r.example": {"auth": "c2VjcmV0"}}}
    assert "c2VjcmV0" not in repr(LoginFile(path=Path("f"), values=values))
