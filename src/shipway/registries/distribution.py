"""Asks a registry for an image's manifest, as the OCI distribution specification has it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from shipway.domain.image_ref import ImageRef
from shipway.domain.platform import platform_of
from shipway.engines.login_files import is_hub
from shipway.http.message import Answer
from shipway.plugins.errors import PermanentError, PluginError, TemporaryError
from shipway.plugins.registry import IDENTITY, Credentials, Manifest
from shipway.registries.challenge import Challenge, read_challenges
from shipway.registries.conversation import Conversation

MANIFEST_LIMIT = 4 << 20  # bytes, the specification's own
CONFIG_LIMIT = 4 << 20  # bytes of an image's configuration
TOKEN_LIMIT = 1 << 20  # bytes of an answer with a token
PLATFORMS_LIMIT = 100
ACCEPTED = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_DIGEST = re.compile(r"(sha256|sha512):[0-9a-f]{64,128}")
_SAID_LIMIT = 300  # characters of a registry's own words


class Distribution:
    """One question about one image, with a login where the registry asks for one."""

    def __init__(
        self,
        conversation: Conversation,
        ref: ImageRef,
        *,
        login: Callable[[], Credentials | None],
    ) -> None:
        self._conversation = conversation
        self._ref = ref
        is_official = is_hub(ref.host) and "/" not in ref.repository
        self._repository = f"library/{ref.repository}" if is_official else ref.repository
        self._ask_for_login = login
        self._authorization: dict[str, str] = {}
        self._login: Credentials | None = None
        self._missing: PluginError | None = None  # why there was no login
        self._is_asked = False

    def manifest(self) -> Manifest | None:
        """Return what the image's name stands for, or None where there is no such image."""
        path = f"/v2/{self._repository}/manifests/{self._ref.reference}"
        answer = self._get(path, accept=ACCEPTED, limit=MANIFEST_LIMIT)
        if answer.status == 404 and _errors(answer):
            return None
        if answer.status != 200:
            raise self._refusal(answer)
        value = _json(answer)
        if not isinstance(value, dict) or "schemaVersion" not in value:
            raise PermanentError(f"{self._host} answers, but not as a registry of images does")
        return Manifest(digest=self._digest(answer), platforms=self._platforms(value))

    @property
    def _host(self) -> str:
        return self._conversation.host

    def _get(self, path: str, *, accept: str, limit: int) -> Answer:
        headers = {"Accept": accept}
        answer = self._conversation.ask(path, {**headers, **self._authorization}, limit=limit)
        if answer.status in (401, 403, 404) and not self._is_asked:
            self._is_asked = True
            asks = answer
            if answer.status != 401:
                # some show nothing to strangers and do not ask who they are, except here
                asks = self._conversation.ask("/v2/", {}, limit=TOKEN_LIMIT)
            if asks.status == 401:
                self._log_in(asks)
                return self._conversation.ask(path, {**headers, **self._authorization}, limit=limit)
        return answer

    def _log_in(self, answer: Answer) -> None:
        """Get what the registry wants to see: a token, or name and password."""
        try:
            self._login = self._ask_for_login()
        except PluginError as error:
            self._missing = error  # told where nobody may read it without
        header = answer.headers.get("www-authenticate", "")
        ways = {way.scheme: way for way in reversed(read_challenges(header))}
        if "bearer" in ways:
            self._authorization = {"Authorization": f"Bearer {self._token(ways['bearer'])}"}
        elif "basic" in ways:
            if self._login is not None and self._login.username != IDENTITY:
                self._authorization = _basic(self._login)
        else:
            raise PermanentError(
                f"the registry {self._host} wants a login of a kind that is not known here: "
                f"{header[:_SAID_LIMIT]!r} (known: Bearer, Basic)"
            )

    def _token(self, way: Challenge) -> str:
        """Ask whom the registry names for a token to read this image."""
        asked = {"scope": way.parameters.get("scope") or f"repository:{self._repository}:pull"}
        if "service" in way.parameters:
            asked["service"] = way.parameters["service"]
        realm = way.parameters.get("realm", "")
        if self._login is not None and self._login.username == IDENTITY:
            asked |= {"grant_type": "refresh_token", "client_id": "shipway"}
            asked["refresh_token"] = self._login.password
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._conversation.post(
                realm, headers, urlencode(asked).encode(), limit=TOKEN_LIMIT
            )
        else:
            parts = urlsplit(realm)
            query = "&".join(part for part in (parts.query, urlencode(asked)) if part)
            url = urlunsplit(parts._replace(query=query, fragment=""))
            headers = {} if self._login is None else _basic(self._login)
            answer = self._conversation.get(url, headers, limit=TOKEN_LIMIT)
        if answer.status != 200:
            raise self._refusal(answer)
        value = _json(answer)
        token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else ""
        if (
            not isinstance(token, str)
            or not token.isascii()
            or not token.isprintable()
            or not token
        ):
            raise PermanentError(f"the registry {self._host} gives no token for a login")
        return token

    def _refusal(self, answer: Answer) -> PluginError:
        """Return why an answer is no success."""
        said = _said(answer)
        status = answer.status
        if status in (408, 429) or status >= 500:
            return TemporaryError(f"the registry {self._host} is busy: {status}{said}")
        if status not in (401, 403, 404):
            return PermanentError(f"the registry {self._host} answers {status}{said}")
        log_in = f"log in with `docker login {self._host}` or `podman login {self._host}`"
        if self._login is not None:
            name = self._login.username
            who = "the login" if name == IDENTITY else f"the login of user {name!r}"
            return PermanentError(
                f"the registry {self._host} does not show {self._repository} to {who} "
                f"({status}{said}): the password is wrong, its rights do not reach, or there is no "
                f"such image; {log_in}"
            )
        why = f" ({self._missing})" if self._missing else ""
        return PermanentError(
            f"the registry {self._host} does not show {self._repository} without a login{why} "
            f"({status}{said}): {log_in}"
        )

    def _digest(self, answer: Answer) -> str:
        """Return the manifest's digest, held to the bytes that came."""
        named = answer.headers.get("docker-content-digest", "")
        wanted = self._ref.digest or (named if _DIGEST.fullmatch(named) else "")
        kind = wanted.partition(":")[0] or "sha256"
        digest = f"{kind}:{hashlib.new(kind, answer.data).hexdigest()}"
        if wanted and wanted != digest:
            raise PermanentError(
                f"the registry {self._host} answers for {self._ref} with {digest}, "
                f"not with {wanted} as it should"
            )
        return digest

    def _platforms(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the platforms of an index, or the one of an image, where it says so."""
        if isinstance(value.get("manifests"), list):
            rows = [row.get("platform") for row in value["manifests"] if isinstance(row, dict)]
        else:
            rows = [self._config(value.get("config"))]
        found = (platform_of(row) for row in rows if isinstance(row, dict))
        return tuple(dict.fromkeys(one for one in found if one))[:PLATFORMS_LIMIT]

    def _config(self, descriptor: object) -> object:
        """Return an image's configuration, or None where it cannot be had: much goes without."""
        digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            return None
        path = f"/v2/{self._repository}/blobs/{digest}"
        try:
            answer = self._get(path, accept="*/*", limit=CONFIG_LIMIT)
        except PluginError:
            return None
        kind, _, wanted = digest.partition(":")
        is_whole = answer.status == 200 and hashlib.new(kind, answer.data).hexdigest() == wanted
        return _json(answer) if is_whole else None


def _basic(login: Credentials) -> dict[str, str]:
    pair = f"{login.username}:{login.password}".encode()
    return {"Authorization": "Basic " + base64.b64encode(pair).decode()}


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.data)
    except (ValueError, RecursionError):
        return None


def _errors(answer: Answer) -> list[Any]:
    """Return the errors of an answer as registries write them; none is no registry's answer."""
    value = _json(answer)
    errors = value.get("errors") if isinstance(value, dict) else None
    return errors if isinstance(errors, list) else []


def _said(answer: Answer) -> str:
    """Return the words of a registry's first error, made fit for a line."""
    first = next(iter(_errors(answer)), None)
    text = str(first.get("message") or first.get("code") or "") if isinstance(first, dict) else ""
    text = "".join(char if char.isprintable() else " " for char in text)[:_SAID_LIMIT]
    return f", {text}" if text else ""
