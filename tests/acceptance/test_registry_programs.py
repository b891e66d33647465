"""Logins that other programs keep: credential helpers, and clouds' own command lines.

The clouds themselves cannot be had here: small programs of their names stand in for theirs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shipway.domain.image_ref import ImageRef
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.registry import Credentials, registry_for
from shipway.registries.registry_client import RegistryClient
from tests.support.scripted_server import ok, scripted_server

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
AZURE = "00000000-0000-0000-0000-000000000000"


def a_program(tmp_path: Path, name: str, script: str) -> None:
    """Put a program on the PATH that notes how it was called."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "$0 $@" >> "{tmp_path}/calls"\n{script}\n')
    path.chmod(0o755)


def a_user(tmp_path: Path, **config: object) -> dict[str, str]:
    (tmp_path / ".docker").mkdir(exist_ok=True)
    (tmp_path / ".docker/config.json").write_text(json.dumps(config))
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}


def credentials(image: str, env: dict[str, str]) -> Credentials | None:
    ref = ImageRef.parse(image)
    return registry_for(ref, env).credentials(ref)


@pytest.mark.parametrize(
    ("host", "program", "words", "user"),
    [
        (ECR, "aws", "ecr get-login-password --region eu-west-1", "AWS"),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "aws",
            "ecr get-login-password --region cn-north-1", "AWS",
        ),
        ("europe-west4-docker.pkg.dev", "gcloud", "auth print-access-token --quiet",
         "oauth2accesstoken"),
        ("eu.gcr.io", "gcloud", "auth print-access-token --quiet", "oauth2accesstoken"),
        ("ships.azurecr.io", "az",
         "acr login --name ships --expose-token --query accessToken --output tsv", AZURE),
    ],
)  # fmt: skip
def test_a_cloud_says_its_login_by_its_own_command_line(
    tmp_path: Path, host: str, program: str, words: str, user: str
) -> None:
    a_program(tmp_path, program, "echo t0k")
    env = a_user(tmp_path)
    assert credentials(f"{host}/team/a", env) == Credentials(username=user, password="t0k")
    assert (tmp_path / "calls").read_text() == f"{tmp_path}/bin/{program} {words}\n"
    own = a_user(tmp_path, auths={host: {"auth": "YWRhOnB3"}})
    assert credentials(f"{host}/team/a", own) == Credentials(username="ada", password="pw")
    nothing = {**a_user(tmp_path), "PATH": str(tmp_path)}
    with pytest.raises(PermanentError, match=f"'{program}', which is not in PATH: install"):
        credentials(f"{host}/team/a", nothing)
    a_program(tmp_path, program, "echo token expired >&2; exit 3")
    with pytest.raises(PermanentError, match=f"`{program} .*` gives no login .*: token expired"):
        credentials(f"{host}/team/a", env)


@pytest.mark.parametrize(
    "host",
    ["amazonaws.com", f"x.{ECR}", f"{ECR}.evil.example", "evil-gcr.io", "azurecr.io", "a.b.gcr.io"],
)
def test_no_cloud_is_asked_for_a_host_that_only_looks_like_its_own(
    tmp_path: Path, host: str
) -> None:
    for name in ("aws", "gcloud", "az"):
        a_program(tmp_path, name, "echo t0k")
    assert credentials(f"{host}/a", a_user(tmp_path)) is None


def test_a_helper_is_asked_by_its_protocol(tmp_path: Path) -> None:
    said = '{"ServerURL": "x", "Username": "ada", "Secret": "pw"}'
    a_program(tmp_path, "docker-credential-safe", f"cat > '{tmp_path}/input'\necho '{said}'")
    env = a_user(tmp_path, credHelpers={"r.example:5000": "safe"})
    assert credentials("r.example:5000/a", env) == Credentials(username="ada", password="pw")
    assert (tmp_path / "input").read_text() == "r.example:5000"
    assert (tmp_path / "calls").read_text().endswith("/docker-credential-safe get\n")
    assert credentials("other.example/a", env) is None
    hub = a_user(tmp_path, credsStore="safe")
    assert credentials("python", hub) == Credentials(username="ada", password="pw")
    assert (tmp_path / "input").read_text() == "https://index.docker.io/v1/"


def test_a_helper_that_knows_nothing_is_told_from_one_that_fails(tmp_path: Path) -> None:
    env = a_user(tmp_path, credsStore="safe", auths={"r.example": {"auth": "YWRhOnB3"}})
    a_program(tmp_path, "docker-credential-safe", "echo credentials not found in keychain; exit 1")
    assert credentials("r.example/a", env) == Credentials(username="ada", password="pw")
    assert credentials("s.example/a", env) is None
    a_program(tmp_path, "docker-credential-safe", "echo the safe is locked; exit 1")
    with pytest.raises(PermanentError, match=r"docker-credential-safe .*: the safe is locked"):
        credentials("s.example/a", env)
    a_program(tmp_path, "docker-credential-safe", "echo '[]'")
    with pytest.raises(PermanentError, match="its answer is no login"):
        credentials("s.example/a", env)
    podman = tmp_path / ".config/containers/auth.json"
    podman.parent.mkdir(parents=True)
    podman.write_text('{"auths": {"s.example": {"auth": "YWRhOnB3"}}}')
    assert credentials("s.example/a", env) == Credentials(username="ada", password="pw")
    podman.unlink()
    (tmp_path / "bin/docker-credential-safe").unlink()
    with pytest.raises(PermanentError, match=r"docker-credential-safe, which is not in PATH"):
        credentials("s.example/a", env)


def test_a_program_that_hangs_is_given_up(tmp_path: Path) -> None:
    a_program(tmp_path, "docker-credential-slow", "exec sleep 30")
    client = RegistryClient(a_user(tmp_path, credsStore="slow"))
    with pytest.raises(TemporaryError, match=r"get` did not end within 0\.1 s"):
        client.credentials(ImageRef.parse("r.example/a"), limit_s=0.1)


def test_an_image_for_everybody_needs_no_helper(tmp_path: Path) -> None:
    env = a_user(tmp_path, credsStore="not-there")
    wants = ok({}, 401, WWW_Authenticate='Basic realm="x"')
    with scripted_server(wants, ok({"schemaVersion": 2})) as server:
        ref = ImageRef.parse(server.base_url.removeprefix("http://") + "/a")
        assert registry_for(ref, env).manifest(ref) is not None
    with scripted_server(wants) as server:
        ref = ImageRef.parse(server.base_url.removeprefix("http://") + "/a")
        with pytest.raises(PermanentError, match=r"without a login \(.*not-there, which is not"):
            registry_for(ref, env).manifest(ref)
