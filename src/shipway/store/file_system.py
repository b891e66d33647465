"""Tells whether a folder is on a disk that keeps a database's promises."""

from __future__ import annotations

import os
from pathlib import Path

from shipway.domain.errors import Invalid

# File systems over a network: their locks or their syncs do not hold what SQLite needs.
REMOTE = frozenset(
    (
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fhgfs",
        "fuse.ceph",
        "fuse.cephfs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.juicefs",
        "fuse.mfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.seaweedfs",
        "fuse.sshfs",
        "fuse.vmhgfs-fuse",
        "fuse.weed",
        "gfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "mfs",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    )
)


def check_is_local(folder: Path, *, mounts: str | None = None) -> None:
    """Refuse a folder on a network file system; `mounts` is text like that of /proc/mounts."""
    if mounts is None:
        mounts = _mounts()
    kind, where = mount_of(os.path.realpath(folder), mounts)
    if kind in REMOTE:
        raise Invalid(
            f"{folder} is on {where}, a network file system ({kind}), where SQLite can lose or "
            "damage data: put it on a local disk, or use PostgreSQL",
            field="database",
            value=str(folder),
        )


def mount_of(path: str, mounts: str) -> tuple[str, str]:
    """Return the kind of the file system that holds a real path, with its mount point."""
    best = ("", "")
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        where, kind = _unescape(fields[1]), fields[2]
        is_above = where in ("/", path) or path.startswith(where + "/")
        if is_above and len(where) >= len(best[1]):  # of two on one point, the later one shows
            best = (kind, where)
    return best


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux: nothing to tell it by
        return ""


def _unescape(text: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
