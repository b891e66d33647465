"""Puts images into a registry without any engine: a manifest, its configuration, no layer."""

from __future__ import annotations

import hashlib
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"


def push_image(address: str, repository: str, tag: str, *platforms: str) -> str:
    """Push an image of a platform, or an index of several; return its digest."""
    images = [_push_one(address, repository, platform) for platform in platforms]
    if len(images) == 1:
        _put(address, f"/v2/{repository}/manifests/{tag}", images[0], MANIFEST)
        return _digest(images[0])
    rows = [
        {**_descriptor(image, MANIFEST), "platform": _words(platform)}
        for image, platform in zip(images, platforms, strict=True)
    ]
    index = _text({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})
    _put(address, f"/v2/{repository}/manifests/{tag}", index, INDEX)
    return _digest(index)


def _push_one(address: str, repository: str, platform: str) -> bytes:
    config = _text({**_words(platform), "rootfs": {"type": "layers", "diff_ids": []}})
    where = _send(address, "POST", f"/v2/{repository}/blobs/uploads/", b"")
    parts = urlsplit(where)
    path = f"{parts.path}?{parts.query}&digest={_digest(config)}"
    _put(address, path, config, "application/octet-stream")
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
    image = _text({**manifest, "config": _descriptor(config, _CONFIG)})
    _put(address, f"/v2/{repository}/manifests/{_digest(image)}", image, MANIFEST)
    return image


def _words(platform: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))


def _descriptor(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(data), "digest": _digest(data)}


def _text(value: object) -> bytes:
    return json.dumps(value).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _put(address: str, path: str, data: bytes, kind: str) -> None:
    _send(address, "PUT", path, data, {"Content-Type": kind})


def _send(
    address: str, method: str, path: str, data: bytes, headers: dict[str, str] | None = None
) -> str:
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status in (201, 202), said
        return answer.headers.get("Location", "")
    finally:
        connection.close()
