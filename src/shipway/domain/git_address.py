"""Git addresses, refs and folders inside a repository, checked before git sees them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from shipway.domain.errors import Invalid

PROTOCOLS = ("https", "ssh")  # what is allowed unless a policy adds others
ADDRESS_LIMIT = 2048
REF_LIMIT = 255

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?\Z|\[[0-9A-Fa-f:.]+\]\Z")
_USER = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._~+%-]*)\Z")
_SCP = re.compile(r"(?:(?P<user>[^@:/\\]+)@)?(?P<host>\[[^\]]+\]|[^@:/\\]+):(?P<path>[^\\]*)\Z")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HELPER = re.compile(r"([A-Za-z0-9][A-Za-z0-9+.-]*)::")
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_SHORT = re.compile(r"[0-9a-f]{4,39}\Z")
_TOKEN = re.compile(r"gh[a-z]_|github_pat_|glpat-|x-access-token|x-token-auth|oauth2\Z|.{30}")
_SECRET = re.compile(r"(?:(?<=://)|(?<=::))[^/@\s]*:[^/@\s]*@")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAddress:
    """A remote git repository, with the folder in it where a program starts."""

    url: str  # what git is given: no fragment, no password
    protocol: str
    host: str  # '' for a file address, which only a test's policy allows
    subdirectory: str = ""


def parse_git_address(text: str, *, protocols: Collection[str] = PROTOCOLS) -> GitAddress:
    """Read an https, ssh or scp address; raise `Invalid` for anything else.

    `…#subdirectory=DIR` names the folder where the program starts.
    """
    _check_text(text)
    url, _, fragment = text.partition("#")
    subdirectory = ""
    if fragment:
        name, _, value = fragment.partition("=")
        if name != "subdirectory" or not value:
            raise _invalid(text, f"'#{fragment}' is unknown: only '#subdirectory=DIR' may follow")
        subdirectory = check_subdirectory(value)
    helper = _HELPER.match(url)
    if helper:
        raise _refused(text, helper.group(1), protocols)
    scheme = _SCHEME.match(url)
    if scheme is None:
        return _parse_scp(text, url, subdirectory, protocols)
    protocol = scheme.group(1).lower()
    if protocol not in protocols:
        raise _refused(text, protocol, protocols)
    host = "" if protocol == "file" else _check_host(text, url)
    return GitAddress(url=url, protocol=protocol, host=host, subdirectory=subdirectory)


def is_remote(text: str) -> bool:
    """Tell whether text has the form of a remote address, allowed or not."""
    if _SCHEME.match(text) or _HELPER.match(text):
        return True
    found = _SCP.match(text)
    return found is not None and (found.group("user") is not None or len(found.group("host")) > 1)


def check_ref(ref: str, *, field: str = "version") -> str:
    """Return a branch, tag or full ref name that git itself would accept, or a commit."""
    bad = (
        not ref
        or len(ref) > REF_LIMIT
        or ref.startswith(("-", "/", "."))
        or ref.endswith(("/", "."))
        or ref == "@"
        or _BAD_IN_REF.search(ref)
        or not ref.isprintable()
    )
    if bad:
        raise Invalid(
            f"{field} {ref[:80]!r} is not the name of a branch, a tag or a commit",
            field=field,
            value=ref,
        )
    return ref


def check_subdirectory(text: str, *, field: str = "subdirectory") -> str:
    """Return a folder of a source, relative to its root, '' for the root."""
    names = [name for name in text.split("/") if name not in ("", ".")]
    if text.startswith(("/", "-")) or ".." in names or "\\" in text or not text.isprintable():
        raise Invalid(
            f"{field} {text[:80]!r} is not a directory below the source's root",
            field=field,
            value=text,
        )
    if any(name.lower() == ".git" for name in names) or len(text) > ADDRESS_LIMIT:
        raise Invalid(f"{field} {text[:80]!r} cannot be used", field=field, value=text)
    return "/".join(names)


def is_commit(text: str) -> bool:
    """Tell whether text is a whole commit id."""
    return _COMMIT.match(text) is not None


def is_short_commit(text: str) -> bool:
    """Tell whether text may be the beginning of a commit id."""
    return _SHORT.match(text) is not None


def without_credentials(url: str) -> str:
    """Return an address that may be shown: no password, and no user but ssh's."""
    if _SCHEME.match(url) is None:
        return _SECRET.sub("", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return _SECRET.sub("", url)
    user, at, host = parts.netloc.rpartition("@")
    if parts.scheme == "ssh" and at and ":" not in user:
        host = f"{user}@{host}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def redact(text: str) -> str:
    """Return text of git's with the passwords in its addresses struck out."""
    return _SECRET.sub("***@", text)


def join_address(base: str, relative: str) -> str:
    """Return a submodule's address, which may be relative to its parent's."""
    if not relative.startswith(("./", "../")):
        return relative
    scheme = _SCHEME.match(base)
    at = base.find("/", scheme.end()) if scheme else base.find(":") + 1
    at = len(base) if at < 0 else at
    path = posixpath.normpath(posixpath.join("/", base[at:].strip("/"), relative))
    return base[:at] + (path if scheme else path.lstrip("/"))


def _check_text(text: str) -> None:
    if not text or len(text) > ADDRESS_LIMIT:
        raise _invalid(text, f"an address has 1 to {ADDRESS_LIMIT} characters")
    if text.startswith("-"):
        raise _invalid(text, "an address cannot begin with '-'")
    if not text.isprintable() or any(mark in text for mark in " \\"):
        raise _invalid(text, "an address has no spaces, backslashes or control characters")


def _check_host(text: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _invalid(text, str(error)) from error
    shown = f"[{host}]" if ":" in host else host
    if not _HOST.match(shown) or port == 0:
        raise _invalid(text, "its host is not a host's name")
    if parts.password is not None or (
        parts.scheme != "ssh" and parts.username and _TOKEN.match(parts.username)
    ):
        raise Invalid(
            f"the address {without_credentials(url)!r} was given with a password or token in it: "
            "leave it out, git asks the credential helpers of the agent's user",
            field="uri",
            value=without_credentials(url),
        )
    if parts.username and not _USER.match(parts.username):
        raise _invalid(text, "its user is not a user's name")
    if not parts.path.strip("/") or parts.path.startswith("/-") or parts.query:
        raise _invalid(text, "it names no repository")
    return host


def _parse_scp(text: str, url: str, subdirectory: str, protocols: Collection[str]) -> GitAddress:
    found = _SCP.match(url)
    if found is None:
        raise _invalid(text, "give https://HOST/PATH, ssh://HOST/PATH or USER@HOST:PATH")
    user, host, path = found.group("user", "host", "path")
    if not _HOST.match(host) or (user is not None and not _USER.match(user)):
        raise _invalid(text, "its user or host is none")
    if not path.strip("/") or path.startswith("-"):
        raise _invalid(text, "it names no repository")
    if "ssh" not in protocols:
        raise _refused(text, "ssh", protocols)
    return GitAddress(url=url, protocol="ssh", host=host.strip("[]"), subdirectory=subdirectory)


def _invalid(text: object, why: str) -> Invalid:
    shown = redact(str(text))
    return Invalid(f"the git address {shown[:200]!r} is refused: {why}", field="uri", value=shown)


def _refused(text: str, protocol: str, protocols: Collection[str]) -> Invalid:
    return _invalid(
        text, f"the protocol {protocol!r} is not allowed (allowed: {', '.join(protocols)})"
    )
