"""What a server is told at its start: addresses, places and limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

KEEP_ALIVE_S = 90  # longer than an agent's poll and its pause together
POLL_LIMIT_S = 25.0  # of one long poll
KEY_CACHE_S = 4.0  # a revoked key works no longer than this
STREAM_LIMIT_S = 3_600.0  # of one stream of server-sent events; clients resume it


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request, one address and the whole server may use."""

    body: int = 2 << 20  # bytes of a request's body
    batch_body: int = 16 << 20  # of a batch of items
    blob_body: int = 64 << 20  # of one blob
    pack_body: int = 32 << 20  # of several small blobs
    log_body: int = (1 << 20) + 4_096  # of a compressed log chunk
    log_chunk: int = 1 << 20  # bytes of a log chunk before compression
    graphql_body: int = 16 << 20  # a config or a summary lies in it as text
    stream_body: int = 32 << 20  # lines of a run: the client sends 20 MB at most
    file_body: int = 64 << 30  # of a run's file, which goes to the disk as it comes
    bodies: int = 512 << 20  # bytes of all bodies in memory at once
    head: int = 32 << 10  # bytes of a request's line and headers
    head_s: float = 10.0  # until the head is there
    body_s: float = 20.0  # until the body is there, beside what its size allows
    body_rate: int = 64 << 10  # bytes a second that a slow sender must reach
    discard: int = 128 << 20  # bytes thrown away after a refusal, before the line is cut
    json_depth: int = 64
    connections: int = 20_000
    writes: int = 4_096  # requests that may wait for the writer
    reads: int = 512  # requests that may wait for a reader
    wrong_keys: int = 10  # a minute from one address


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One server's settings."""

    database: str  # sqlite:///… or postgresql://…
    blobs: Path
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    base_url: str | None = None  # how others reach it; default: host and port
    migrate: bool = False  # SQLite migrates anyway
    key_file: Path | None = None  # embedded: the key to adopt, or to make when it is absent
    admin_key_file: Path = Path("shipway-admin.key")  # else: where a first admin's key goes
    admin: str = "admin"  # the first user's name
    parent_fd: int | None = None  # a pipe whose end means that the parent is gone
    parent_pid: int | None = None
    limits: Limits = field(default_factory=Limits)
