"""Starts real container engines and a real registry of a test run's own, and removes all of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shipway.engines.engine import Engine, engine_env
from tests.support.base_image import base_tar

BASE = "localhost/shipway-test-base:1"
ENGINES = ("docker", "podman")
DOCKER = "/usr/bin/docker"  # Debian's; another one on the PATH may be newer than its daemon
_START_S = 60.0
_END_S = 20.0


@dataclass(kw_only=True)
class TestEngine:
    """An engine in a folder of its own: nothing of the machine's is touched."""

    __test__ = False
    name: str
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    program: str = ""
    daemon: subprocess.Popen[bytes] | None = None
    containerd: subprocess.Popen[bytes] | None = None  # outlives the daemon, as a service's does
    with_live_restore: bool = True

    @property
    def engine(self) -> Engine:
        """Return it as the product sees it."""
        return Engine(name=self.name, program=self.program, env=engine_env(self.env))

    def start(self) -> None:
        """Start its daemon, if it has one."""
        if self.name == "docker":
            if self.containerd is None:
                self._start_containerd()
            self._start_dockerd()

    def kill_daemon(self) -> None:
        """Kill its daemon as a crash does; containers are left to themselves."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def containers(self) -> list[str]:
        """Return the ids of all its containers, ended ones too."""
        return self.engine.run("ps", "-aq").decode().split()

    def close(self) -> None:
        """Remove every container, end the daemon, unmount what is left, remove the folder."""
        with suppress(Exception):
            if found := self.containers():
                self.engine.run("rm", "-f", *found)
        for process in (self.daemon, self.containerd):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(_END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for pid in _pids_of(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for place in _mounts_below(self.folder):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_containerd(self) -> None:
        folder = self.folder
        (folder / "containerd.toml").write_text(
            'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'root = "{folder}/ctr"\nstate = "{folder}/ctr-run"\n'
            f'[grpc]\n  address = "{folder}/containerd.sock"\n'
        )
        argv = ["/usr/bin/containerd", "--config", f"{folder}/containerd.toml"]
        with (folder / "containerd.log").open("ab") as log:
            self.containerd = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _start_dockerd(self) -> None:
        folder = self.folder
        (folder / "daemon.json").write_text("{}")
        # fmt: off
        argv = [
            "/usr/sbin/dockerd", "-H", f"unix://{folder}/docker.sock",
            "--config-file", f"{folder}/daemon.json", "--data-root", f"{folder}/data",
            "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/dockerd.pid",
            "--containerd", f"{folder}/containerd.sock", "--storage-driver", "overlay2",
            "--iptables=false", "--ip6tables=false", "--bridge=none",
            *(["--live-restore"] if self.with_live_restore else []),
        ]
        # fmt: on
        (folder / "dockerd.pid").unlink(missing_ok=True)
        with (folder / "dockerd.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + _START_S
        while True:
            with suppress(Exception):
                self.engine.run("version", timeout_s=10)
                return
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "dockerd.log").read_text()[-3000:])
            time.sleep(0.05)


@contextmanager
def an_engine(name: str, *, with_live_restore: bool = True) -> Iterator[TestEngine]:
    """Lend an engine with the base image in it; skip where the machine has none."""
    need_engine(name)
    folder = Path(tempfile.mkdtemp(prefix="swe-"))  # short: its sockets' addresses have 108 bytes
    env = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    env["HOME"] = str(folder / "home")
    (folder / "home").mkdir()
    engine = TestEngine(
        name=name, folder=folder, env=env, program=DOCKER, with_live_restore=with_live_restore
    )
    if name == "docker":
        env |= {"DOCKER_HOST": f"unix://{folder}/docker.sock", "DOCKER_CONFIG": f"{folder}/config"}
    else:
        engine.program = str(shutil.which("podman"))
        env |= _podman_files(folder)
    try:
        engine.start()
        words = ["import", "-c", "ENV PATH=/usr/bin:/bin", "-c", 'CMD ["python3"]', "-", BASE]
        engine.engine.run(*words, input=base_tar())
        yield engine
    finally:
        engine.close()


def need_engine(name: str) -> None:
    """Skip a test on a machine without that engine, or where it cannot be started."""
    program = "/usr/sbin/dockerd" if name == "docker" else shutil.which("podman")
    if not program or not Path(program).exists():
        pytest.skip(f"{name} is not on this machine")
    if os.geteuid() != 0:
        pytest.skip(f"a {name} of the tests' own needs root")


def _podman_files(folder: Path) -> dict[str, str]:
    files = int(subprocess.run(["sh", "-c", "ulimit -Hn"], capture_output=True, check=True).stdout)
    said = subprocess.run(["bash", "-c", "ulimit -Hu"], capture_output=True, check=True).stdout
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    tasks = most if said.strip() == b"unlimited" else min(most, int(said))
    (folder / "containers.conf").write_text(
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
        f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc={tasks}:{tasks}"]\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
    )
    (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
    (folder / "auth.json").write_text("{}")
    return {
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        "CONTAINERS_REGISTRIES_CONF": f"{folder}/registries.conf",
        "REGISTRY_AUTH_FILE": f"{folder}/auth.json",
    }


def trust(engine: TestEngine, address: str) -> None:
    """Let podman speak plain HTTP to a registry on loopback, as docker does by itself."""
    if engine.name == "podman":
        path = engine.folder / "registries.conf"
        text = f'[[registry]]\nlocation = "{address}"\ninsecure = true\n'
        path.write_text("unqualified-search-registries = []\n" + text)


@contextmanager
def a_registry(
    folder: Path,
    *,
    htpasswd: str = "",
    token: dict[str, str] | None = None,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[str]:
    """Lend a registry's host:port; with `tls` it speaks HTTPS.

    With `htpasswd` it wants name and password, with `token` (its own settings) a token.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not on this machine")
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if tls is not None:
        http["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": f"{folder}/data"}, "delete": {"enabled": True}},
        "http": http,
    }
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        config["auth"] = {"htpasswd": {"realm": "test", "path": f"{folder}/htpasswd"}}
    if token is not None:
        config["auth"] = {"token": token}
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + _START_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "log").read_text()[-3000:])
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_END_S)


def _pids_of(folder: Path) -> list[int]:
    """Return the processes whose command line names the folder: shims, conmons, the daemon's."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    places = [line.split()[1] for line in lines]
    return sorted((place for place in places if place.startswith(f"{folder}/")), reverse=True)
