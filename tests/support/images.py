"""Builds images in tests: a source tree, an engine of the test's own, and the build log."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from shipway.builders.container import ContainerBuilder
from shipway.engines.engine import Engine
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.image_builder import Image, ImageRequest
from tests.support.engines import BASE, TestEngine


@dataclass(kw_only=True)
class ImageBench:
    """A tree, a cache and a log; what is not said is as a careful agent has it."""

    lent: TestEngine
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    builder: ContainerBuilder = field(default_factory=ContainerBuilder)
    log: list[str] = field(default_factory=list)

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def engine(self) -> Engine:
        return self.lent.engine

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text(text)

    def request(self, **changes: Any) -> ImageRequest:
        self.tree.mkdir(parents=True, exist_ok=True)
        request = ImageRequest(
            tree=self.tree,
            start=self.tree,
            entry_point=("python3", "main.py"),
            name="demo",
            cache=self.cache,
            base_image=BASE,
            env={**self.lent.env, **self.env},
            policy=ContainerPolicy(engine=self.lent.program, network="none"),
            timeout_s=120,
            print=self.log.append,
        )
        return replace(request, **changes)

    def build(self, **changes: Any) -> Image:
        self.log.clear()
        return self.builder.build(self.request(**changes))

    def run(self, image: Image, *argv: str) -> str:
        """Run a program in an image and return what it prints."""
        where = ["--workdir", image.workdir] if image.workdir else []
        words = ["run", "--rm", "--network=none", *where, image.image, *argv]
        return self.engine.run(*words).decode()

    def images(self) -> set[str]:
        """Return the ids of all images, those without a name too."""
        said = self.engine.run("images", "-a", "-q", "--no-trunc").decode()
        return set(said.split())

    def names(self) -> set[str]:
        said = self.engine.run("images", "--format", "{{.Repository}}:{{.Tag}}").decode()
        return set(said.split())


def wheel(folder: Path, name: str = "greeter", version: str = "1.0", says: str = "hello") -> Path:
    """Write the smallest wheel: one module, with a word in it."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"WORD = {says!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        rows.append(f"{path},sha256={digest.decode()},{len(text)}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{version}-py3-none-any.whl"
    file.write_bytes(out.getvalue())
    return file


@contextmanager
def an_index(folder: Path, *, user: str, password: str) -> Iterator[str]:
    """Serve the wheels of a folder as a package index on loopback, to whoever has the password."""
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="test"')
                self.end_headers()
                return
            wheels = [one for one in folder.iterdir() if self.path.endswith(f"/{one.name}")]
            page = "".join(f'<a href="/{one.name}">{one.name}</a>' for one in folder.iterdir())
            body = wheels[0].read_bytes() if wheels else page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{user}:{password}@127.0.0.1:{server.server_address[1]}/simple"
        server.shutdown()
