"""Real registries, plain, with a login and with TLS: what they say, and both engines through us."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from shipway.domain.image_ref import ImageRef
from shipway.engines.engine import EngineRefused
from shipway.engines.images import get_image
from shipway.engines.login import lent_login
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.registry import Credentials, registry_for
from tests.support.engines import ENGINES, TestEngine, a_registry, an_engine, trust

PASSWORD = "open sesame"
HTPASSWD = "ada:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n"  # bcrypt of it


@pytest.fixture(scope="module", params=ENGINES)
def lent(request: pytest.FixtureRequest) -> Iterator[TestEngine]:
    with an_engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with a_registry(tmp_path_factory.mktemp("plain") / "r") as address:
        yield address


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with a_registry(tmp_path_factory.mktemp("locked") / "r", htpasswd=HTPASSWD) as address:
        yield address


def a_user(home: Path, address: str, password: str = PASSWORD) -> dict[str, str]:
    """Return the variables of somebody who once said `docker login`."""
    pair = base64.b64encode(f"ada:{password}".encode()).decode()
    (home / ".docker").mkdir(parents=True)
    (home / ".docker/config.json").write_text(json.dumps({"auths": {address: {"auth": pair}}}))
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


def push(lent: TestEngine, ref: ImageRef, user: dict[str, str]) -> None:
    trust(lent, ref.host)
    lent.engine.run("import", "-", str(ref), input=a_small_tar())
    with lent_login(lent.engine, ref, registry_for(ref, user)) as env:
        lent.engine.run("push", str(ref), env=env)
    lent.engine.run("rmi", str(ref))


def pull(lent: TestEngine, ref: ImageRef, user: dict[str, str]) -> set[str]:
    """Return the digests that the engine says of what it pulled.

    Podman adds the one that the image had before it was pushed, which no registry knows.
    """
    with lent_login(lent.engine, ref, registry_for(ref, user)) as env:
        lent.engine.run("pull", ref.exact, env=env)
    words = ("image", "inspect", "--format", "{{json .RepoDigests}}", ref.exact)
    names = json.loads(lent.engine.run(*words))
    return {name.partition("@")[2] for name in names if name.startswith(f"{ref.name}@")}


def a_small_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    return out.getvalue()


def test_a_name_stands_for_what_the_engine_pushed(lent: TestEngine, plain: str) -> None:
    user = {"HOME": str(lent.folder / "home")}
    ref = ImageRef.parse(f"{plain}/team/{lent.name}:1")
    registry = registry_for(ref, user)
    assert registry.manifest(ref) is None
    push(lent, ref, user)
    found = registry.manifest(ref)
    assert found is not None
    assert found.platforms == ("linux/amd64",)
    pinned = ref.pinned(found.digest)
    assert found.digest in pull(lent, pinned, user)
    assert registry.manifest(pinned) == found
    assert registry.manifest(ref.pinned("sha256:" + "0" * 64)) is None


def settings_of(lent: TestEngine, address: str) -> Path:
    """Give the engine's user settings that name a helper which knows no login."""
    path = lent.folder / ("config/config.json" if lent.name == "docker" else "auth.json")
    path.parent.mkdir(exist_ok=True)
    named = {"credsStore": "empty", "credHelpers": {address: "empty"}}
    path.write_text(json.dumps({"auths": {"other.example": {"auth": "YTpi"}}, **named}))
    helper = lent.folder / "bin/docker-credential-empty"
    helper.parent.mkdir(exist_ok=True)
    helper.write_text("#!/bin/sh\necho credentials not found in native keychain\nexit 1\n")
    helper.chmod(0o755)
    lent.env["PATH"] = f"{helper.parent}:{os.environ['PATH']}"
    return path


def test_a_login_is_lent_and_leaves_nothing_behind(
    lent: TestEngine, locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    user = a_user(tmp_path / "home", locked)
    ref = ImageRef.parse(f"{locked}/{lent.name}:1")
    own = settings_of(lent, locked)
    before = own.read_bytes()
    with pytest.raises(EngineRefused, match=r"auth|denied"):
        push(lent, ref, {"HOME": str(tmp_path)})
    push(lent, ref, user)
    found = registry_for(ref, user).manifest(ref)
    assert found is not None
    assert found.digest in pull(lent, ref, user)
    assert own.read_bytes() == before
    own.unlink() if lent.name == "docker" else own.write_text("{}")
    assert not list((tmp_path / "tmp").iterdir())


def test_an_agent_s_pull_has_a_login_that_its_engine_does_not_find(
    lent: TestEngine, locked: str, tmp_path: Path
) -> None:
    user = a_user(tmp_path, locked)
    ref = ImageRef.parse(f"{locked}/{lent.name}/pulled:1")
    push(lent, ref, user)
    kept = tmp_path / ".docker/config.json"
    if lent.name == "docker":  # which reads no file of podman's
        more = {"REGISTRY_AUTH_FILE": str(kept.rename(tmp_path / "auth.json"))}
    else:  # which asks no store of docker's
        helper = tmp_path / "docker-credential-known"
        helper.write_text(f"""#!/bin/sh\necho '{{"Username": "ada", "Secret": "{PASSWORD}"}}'\n""")
        helper.chmod(0o755)
        kept.write_text('{"credsStore": "known"}')
        more = {"DOCKER_CONFIG": str(kept.parent), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    engine = replace(lent.engine, env={**lent.engine.env, **more})
    with pytest.raises(EngineRefused, match=r"auth|denied"):
        engine.run("pull", str(ref))
    said: list[str] = []
    assert get_image(engine, ref, print=said.append).platform == "linux/amd64"
    assert PASSWORD not in "".join(said)


def test_a_wrong_password_is_told_from_none(locked: str, tmp_path: Path) -> None:
    ref = ImageRef.parse(f"{locked}/team/x:1")
    wrong = registry_for(ref, a_user(tmp_path / "wrong", locked, "shut sesame"))
    assert wrong.credentials(ref) == Credentials(username="ada", password="shut sesame")
    with pytest.raises(PermanentError, match=r"the login of user 'ada' .*password is wrong"):
        wrong.manifest(ref)
    with pytest.raises(PermanentError, match=f"without a login.*docker login {locked}"):
        registry_for(ref, {"HOME": str(tmp_path)}).manifest(ref)
    assert registry_for(ref, a_user(tmp_path / "right", locked)).manifest(ref) is None


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Make an authority, and a certificate of 127.0.0.1 and registry.example with its key."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj")
    openssl(*new, "/CN=test authority", "-x509", "-days", "2", "-keyout", "a.key", "-out", "a.crt")
    openssl(*new, "/CN=127.0.0.1", "-keyout", "r.key", "-out", "r.csr")
    (folder / "r.ext").write_text("subjectAltName = IP:127.0.0.1, DNS:registry.example\n")
    by = ("-CA", "a.crt", "-CAkey", "a.key", "-CAcreateserial", "-extfile", "r.ext")
    openssl("x509", "-req", "-in", "r.csr", "-days", "2", *by, "-out", "r.crt")
    return folder / "a.crt", folder / "r.crt", folder / "r.key"


def test_a_registry_with_tls_is_trusted_by_its_authority(lent: TestEngine, tmp_path: Path) -> None:
    authority, certificate, key = certificates(tmp_path)
    with a_registry(tmp_path / "r", htpasswd=HTPASSWD, tls=(certificate, key)) as address:
        ref = ImageRef.parse(f"{address}/{lent.name}:1")
        user = a_user(tmp_path / "home", address)
        with pytest.raises(PermanentError, match=f"certs.d/{address}/ca.crt.*SSL_CERT_FILE"):
            registry_for(ref, user).manifest(ref)
        by_file = registry_for(ref, {**user, "SSL_CERT_FILE": str(authority)})
        assert by_file.manifest(ref) is None
        folder = tmp_path / "home/.docker/certs.d" / address
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.read_bytes())
        push(lent, ref, user)
        found = registry_for(ref, user).manifest(ref)
        assert found is not None
        assert found.digest in pull(lent, ref, user)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def a_token(certificate: Path, key: Path, scopes: list[str]) -> str:
    """Return a token for what is asked, signed as the registry wants it."""
    der = b"".join(certificate.read_bytes().split(b"-----")[2].split())
    head = {"typ": "JWT", "alg": "RS256", "x5c": [der.decode()]}
    now = int(time.time())
    access = [
        {"type": kind, "name": name, "actions": actions.split(",")}
        for kind, name, actions in (scope.split(":") for scope in scopes)
    ]
    claims = {"iss": "tests", "aud": "the tests", "sub": "ada", "access": access, "jti": "1"}
    claims |= {"nbf": now - 60, "iat": now, "exp": now + 300}
    text = ".".join(base64url(json.dumps(part).encode()) for part in (head, claims))
    words = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    signed = subprocess.run(words, input=text.encode(), capture_output=True, check=True)
    return f"{text}.{base64url(signed.stdout)}"


@contextmanager
def a_token_service(certificate: Path, key: Path) -> Iterator[tuple[str, list[str]]]:
    """Lend the address of a service that gives ada a token, and what it was asked for."""
    asked: list[str] = []
    pair = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            asked.extend(query.get("scope", []))
            is_ada = self.headers["Authorization"] == f"Basic {pair}"
            scopes = [word for scope in query.get("scope", []) for word in scope.split()]
            said = {"token": a_token(certificate, key, scopes)} if is_ada else {"errors": []}
            self.send_response(200 if is_ada else 401)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_registry_that_wants_tokens_gets_them(lent: TestEngine, tmp_path: Path) -> None:
    authority, _, _ = certificates(tmp_path)
    key = tmp_path / "a.key"
    with a_token_service(authority, key) as (realm, asked):
        token = {"realm": realm, "service": "the tests", "issuer": "tests"}
        token["rootcertbundle"] = str(authority)
        with a_registry(tmp_path / "r", token=token) as address:
            ref = ImageRef.parse(f"{address}/team/{lent.name}:1")
            user = a_user(tmp_path / "home", address)
            assert registry_for(ref, user).manifest(ref) is None
            assert asked == [f"repository:team/{lent.name}:pull"]
            push(lent, ref, user)
            found = registry_for(ref, user).manifest(ref)
            assert found is not None
            assert found.digest in pull(lent, ref, user)
            wrong = a_user(tmp_path / "wrong", address, "shut sesame")
            with pytest.raises(PermanentError, match="the login of user 'ada'"):
                registry_for(ref, wrong).manifest(ref)


def pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextmanager
def a_proxy(to: str) -> Iterator[tuple[str, list[str]]]:
    """Lend a proxy that leads everybody to one address, and the lines by which it was asked."""
    host, _, port = to.partition(":")
    asked: list[str] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode().strip())
            while self.rfile.readline().strip():
                pass
            with socket.create_connection((host, int(port))) as there:
                self.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pump, args=(there, self.connection))
                back.start()
                pump(self.connection, there)
                back.join()

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_registry_behind_a_proxy_is_spoken_to_by_tls_alone(tmp_path: Path) -> None:
    authority, certificate, key = certificates(tmp_path)
    tls = (certificate, key)
    with (
        a_registry(tmp_path / "r", htpasswd=HTPASSWD, tls=tls) as address,
        a_proxy(address) as (proxy, asked),
    ):
        ref = ImageRef.parse("registry.example/team/x:1")
        env = {"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(authority)}
        user = {**a_user(tmp_path / "home", ref.host), **env}
        assert registry_for(ref, user).manifest(ref) is None
        assert [line.rpartition(" ")[0] for line in asked] == ["CONNECT registry.example:443"]
        other = ImageRef.parse("else.example/team/x:1")
        with pytest.raises(
            PermanentError, match=r"certificate of the registry else\.example is no"
        ):
            registry_for(other, user).manifest(other)


def test_a_dead_registry_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes connections and says nothing
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        ref = ImageRef.parse(f"{address}/x")
        began = time.monotonic()
        with pytest.raises(TemporaryError, match=f"registry {address} does not answer"):
            registry_for(ref, {"HOME": str(tmp_path)}).manifest(ref, timeout_s=0.5)
        assert time.monotonic() - began < 2
    with pytest.raises(TemporaryError, match=f"{address} does not answer: .*refused"):
        registry_for(ref, {"HOME": str(tmp_path)}).manifest(ref, timeout_s=5)
