"""Runs a server until it is told to end."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from shipway import __version__
from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.errors import Invalid, ShipwayError
from shipway.server.app import SystemClock, build_app, build_service
from shipway.server.disk import folders_of, room_of
from shipway.server.event_log import start_logging
from shipway.server.first_key import adopt_key, make_admin
from shipway.server.serving import BACKLOG, serve
from shipway.server.settings import Settings
from shipway.service.ports import Store
from shipway.service.wiring import Service
from shipway.store.open import end_process, open_store


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m shipway.server`."""
    try:
        return run_server(_settings(argv))
    except ShipwayError as error:
        sys.stderr.write(f"shipway server: {error.message}\n")
        return 1


def run_server(settings: Settings) -> int:
    """Serve until SIGTERM, SIGINT or the parent's end; print one line once it is ready."""
    start_logging()
    clock = SystemClock()
    service = build_service(clock)
    is_migrated = settings.migrate or settings.database.startswith("sqlite:")
    with closing(open_store(settings.database, migrate=is_migrated)) as store:
        blobs = open_blobs(settings.blobs)
        key_line = _see_to_keys(settings, store, service)
        with closing(_bind(settings)) as listener:
            port = listener.getsockname()[1]
            base_url = settings.base_url or f"http://{_shown_host(settings.host)}:{port}"
            app = build_app(
                settings,
                store,
                blobs,
                base_url=base_url.rstrip("/"),
                clock=clock,
                service=service,
                holds_upkeep=store.holds_upkeep,
                room=lambda: room_of(folders_of(settings)),
            )
            line = key_line or json.dumps({"base_url": base_url})
            serve(app, listener, settings, lambda: _say(line))
    return 0


def open_blobs(folder: Path) -> DirectoryBlobs:
    """Return the blobs of a folder; a failed sync ends this process."""
    blobs = DirectoryBlobs(folder, fatal=end_process)
    blobs.open()
    return blobs


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _see_to_keys(settings: Settings, store: Store, service: Service) -> str | None:
    if settings.key_file is not None:
        adopt_key(store, service.keys, settings.key_file, name=settings.admin)
        return None
    if make_admin(store, service.keys, settings.admin_key_file, name=settings.admin):
        return str(settings.admin_key_file)
    return None


def _bind(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ShipwayError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
            "choose another with --port, or 0 for any free one"
        ) from None


def _shown_host(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _settings(argv: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="shipway server", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--database", required=True, help="sqlite:///FILE or postgresql://…")
    parser.add_argument("--blobs", required=True, type=Path, help="folder of the blobs")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--base-url", help="how others reach this server")
    parser.add_argument("--migrate", action="store_true")
    parser.add_argument("--key-file", type=Path, help="the owner's key, made when absent")
    parser.add_argument("--admin-key-file", type=Path, default=Path("shipway-admin.key"))
    parser.add_argument("--parent-fd", type=int, help="end when this pipe's other end closes")
    parser.add_argument("--parent-pid", type=int, help="end when this is not the parent any more")
    asked = parser.parse_args(argv)
    if not 0 <= asked.port <= 65535:
        raise Invalid(f"port {asked.port} is not from 0 to 65535", field="port", value=asked.port)
    return Settings(**vars(asked))
