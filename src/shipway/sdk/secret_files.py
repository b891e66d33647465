"""Tells which files look like secrets that nobody means to send along."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

HEAD_BYTES = 64 << 10  # of a file, looked at

_BY_NAME = (  # secrets whatever is in them
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "*.key",
    "*.ppk",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.tfstate",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".htpasswd",
    ".dockercfg",
    ".vault-token",
    "credentials.json",
    "client_secret*.json",
    "service-account*.json",
    "service_account*.json",
    "kubeconfig",
    "*.kubeconfig",
    "kaggle.json",
    "secrets.toml",
    "secrets.yaml",
    "secrets.yml",
    "secrets.json",
)
_BY_PLACE = (".aws/credentials", ".kube/config", ".docker/config.json", ".ssh/*", ".gnupg/*")
_TEMPLATES = ("*.example", "*.sample", "*.template", "*.dist", "*.tmpl", "*.pub")
_BY_CONTENT = {  # secrets only with such a line in them
    ".npmrc": re.compile(rb"_auth|_password", re.IGNORECASE),
    ".yarnrc.yml": re.compile(rb"npmAuth"),
    ".pypirc": re.compile(rb"^\s*password\s*[=:]", re.IGNORECASE | re.MULTILINE),
    "pip.conf": re.compile(rb"://[^/@\s]+:[^/@\s]+@"),
}
_PUBLIC = re.compile(rb"-----BEGIN (CERTIFICATE|PUBLIC KEY|X509 CRL)")  # a .pem without secret
_TEXT = ("*.json", "*.yaml", "*.yml", "*.ini", "*.cfg", "*.conf", "*.toml", "*.txt", "*.crt")
_ANYWHERE = re.compile(  # in files of settings and files without a suffix
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|aws_secret_access_key\s*[=:]\s*['\"]?[A-Za-z0-9/+]{30}"
    rb'|"type"\s*:\s*"service_account"(?s:.*)"private_key"'
    rb'|"private_key"\s*:(?s:.*)"type"\s*:\s*"service_account"'
    rb"|client-key-data\s*:\s*\S{20}"
)


def may_be_secret(path: bytes) -> bool:
    """Tell whether a file's bytes must be looked at, by its name alone."""
    name = _name(path)
    return looks_secret(path, b"") or _is_text(name) or bool(_match(name))


def looks_secret(path: bytes, head: bytes) -> bool:
    """Tell whether a file with this name and these first bytes looks like a secret."""
    name, place = _name(path), path.decode("utf-8", "replace").lower()
    if any(fnmatchcase(name, pattern) for pattern in _TEMPLATES):
        return False
    if any(fnmatchcase(name, pattern) for pattern in _BY_NAME):
        return True
    if any(fnmatchcase("/" + place, "*/" + pattern) for pattern in _BY_PLACE):
        return True
    if name.endswith(".pem"):
        return b"PRIVATE KEY" in head or _PUBLIC.search(head) is None
    if any(_BY_CONTENT[pattern].search(head) for pattern in _match(name)):
        return True
    return _is_text(name) and _ANYWHERE.search(head) is not None


def _name(path: bytes) -> str:
    return path.rpartition(b"/")[2].decode("utf-8", "replace").lower()


def _is_text(name: str) -> bool:
    return "." not in name.lstrip(".") or any(fnmatchcase(name, pattern) for pattern in _TEXT)


def _match(name: str) -> list[str]:
    return [pattern for pattern in _BY_CONTENT if fnmatchcase(name, pattern)]
