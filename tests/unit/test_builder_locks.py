"""What a lock is, and what a seal notices."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest

from shipway.builders.needs import locks
from shipway.builders.needs.locks import Form, Lock
from shipway.builders.uv import seal
from shipway.builders.uv.tool import UvFailed
from shipway.builders.uv_settings import index_settings, uv_environment
from shipway.plugins.errors import PermanentError

UV_LOCK = b"""
version = 1
requires-python = ">=3.10"

[[package]]
name = "app"
version = "1"
source = { editable = "." }
dependencies = [{ name = "lib" }, { name = "six" }]

[package.optional-dependencies]
more = [{ name = "other" }]

[[package]]
name = "lib"
version = "1"
source = { directory = "../lib" }

[[package]]
name = "other"
version = "1"
source = { editable = "packages/other" }

[[package]]
name = "six"
version = "1.17.0"
source = { registry = "https://index.invalid/simple" }
"""


def uv_lock(content: bytes = UV_LOCK) -> Lock:
    return Lock(form=Form.UV, content=content)


def test_a_pinned_lock_comes_back_as_it_was() -> None:
    lock = Lock(form=Form.REQUIREMENTS, content=b"six==1\n", python="3.11", local=("lib",))
    assert locks.from_bytes(lock.to_bytes()) == lock


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (UV_LOCK, Form.UV),
        (b'lock-version = "1.0"\n', Form.PYLOCK),
        (b"six==1.17.0\n", Form.REQUIREMENTS),
    ],
)
def test_a_lock_of_somebody_else_is_taken_for_what_it_looks_like(data: bytes, form: Form) -> None:
    assert locks.from_bytes(data).form is form


def test_a_new_version_of_the_project_needs_no_new_environment() -> None:
    newer = UV_LOCK.replace(b'name = "app"\nversion = "1"', b'name = "app"\nversion = "2"')
    assert newer != UV_LOCK
    assert locks.key(uv_lock(newer)) == locks.key(uv_lock())
    assert locks.key(uv_lock(UV_LOCK.replace(b"1.17.0", b"1.16.0"))) != locks.key(uv_lock())


def test_local_packages_are_those_that_the_member_needs() -> None:
    found = locks.local_packages(uv_lock(), "App", extras=(), base="apps/one")
    assert found == ("apps/one", "apps/lib")
    found = locks.local_packages(uv_lock(), "app", extras=("more",), base="apps/one")
    assert "apps/one/packages/other" in found


def test_a_path_out_of_the_source_is_refused() -> None:
    with pytest.raises(PermanentError, match="outside of the source"):
        locks.local_packages(uv_lock(), "app", extras=(), base=".")


def test_a_pylock_is_parted_from_its_folders() -> None:
    text = b"""lock-version = "1.0"

[[packages]]
name = "mine"
directory = { path = "lib" }

[[packages]]
name = "six"
version = "1.17.0"
"""
    content, local = locks.without_local(Lock(form=Form.PYLOCK, content=text), "sub")
    assert local == ("sub/lib",)
    assert b"mine" not in content
    assert b"six" in content


def an_environment(root: Path) -> Path:
    site = root / "env/lib/python3.11/site-packages"
    (site / "pkg/__pycache__").mkdir(parents=True)
    (site / "pkg/__init__.py").write_text("a = 1\n")
    (site / "pkg/__pycache__/x.pyc").write_text("")
    info = site / "pkg-1.dist-info"
    info.mkdir()
    sum_ = base64.urlsafe_b64encode(hashlib.sha256(b"a = 1\n").digest()).rstrip(b"=").decode()
    row = f"pkg/__init__.py,sha256={sum_},6\n"
    (info / "RECORD").write_text(f"{row}pkg-1.dist-info/RECORD,,\n")
    return root / "env"


def sealed(root: Path) -> seal.Seal:
    seal.write(seal.make(root), root.parent / "seal.json")
    read = seal.load(root.parent / "seal.json")
    assert read is not None
    return read


MODULE = "lib/python3.11/site-packages/pkg/__init__.py"


def test_an_untouched_environment_is_whole(tmp_path: Path) -> None:
    env = an_environment(tmp_path)
    assert seal.check(env, sealed(env)) == seal.Finding()
    assert seal.mismatches(env, seal.make(env).files) == {}


def test_a_changed_time_alone_is_no_damage(tmp_path: Path) -> None:
    env = an_environment(tmp_path)
    before = sealed(env)
    os.utime(env / MODULE, (1, 1))
    assert seal.check(env, before) == seal.Finding(restamped=True)


def test_changed_contents_are_damage(tmp_path: Path) -> None:
    env = an_environment(tmp_path)
    before = sealed(env)
    (env / MODULE).write_text("a = 2\n")
    assert seal.check(env, before).damaged == (MODULE,)
    assert seal.mismatches(env, before.files) == {MODULE: "pkg"}


def test_a_missing_file_is_damage(tmp_path: Path) -> None:
    env = an_environment(tmp_path)
    before = sealed(env)
    (env / MODULE).unlink()
    assert MODULE in seal.check(env, before).damaged


def test_something_installed_afterwards_is_damage_but_bytecode_is_not(tmp_path: Path) -> None:
    env = an_environment(tmp_path)
    before = sealed(env)
    (env / MODULE).with_name("__pycache__").joinpath("y.pyc").write_text("")
    (env / MODULE).with_name("cache.bin").write_text("")
    assert seal.check(env, before).damaged == ()
    (env / "lib/python3.11/site-packages/more").mkdir()
    assert seal.check(env, before).damaged == ("lib/python3.11/site-packages/more",)


def test_a_link_that_leads_nowhere_is_damage(tmp_path: Path) -> None:
    env = an_environment(tmp_path)
    (tmp_path / "python").write_text("")
    (env / "python").symlink_to(tmp_path / "python")
    before = sealed(env)
    assert seal.check(env, before).damaged == ()
    (tmp_path / "python").unlink()
    assert seal.check(env, before).damaged == ("python",)


def test_uv_gets_index_and_network_settings_and_nothing_else() -> None:
    given = {
        "PIP_INDEX_URL": "https://me:secret@index.invalid/simple",
        "HTTPS_PROXY": "http://proxy.invalid",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_INDEX_MINE_PASSWORD": "p",
        "SHIPWAY_API_KEY": "sw_x",
        "PYTHONPATH": "/agent",
        "VIRTUAL_ENV": "/agent/venv",
        "UV_CACHE_DIR": "/elsewhere",
    }
    env = uv_environment(given, {"PATH": "/bin", "HOME": "/h", "AWS_SECRET_ACCESS_KEY": "s"})
    assert env == {
        "UV_DEFAULT_INDEX": "https://me:secret@index.invalid/simple",
        "HTTPS_PROXY": "http://proxy.invalid",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_INDEX_MINE_PASSWORD": "p",
        "PATH": "/bin",
        "HOME": "/h",
    }
    assert index_settings(env) == [("UV_DEFAULT_INDEX", "https://index.invalid/simple")]


@pytest.mark.parametrize(
    ("words", "is_unreachable"),
    [
        ("error sending request for url (https://index.invalid/)", True),
        ("dns error: failed to lookup address", True),
        ("Could not connect, are you offline?", True),
        ("HTTP status server error (503 Service Unavailable) for url", True),
        ("error sending request\n cause: invalid peer certificate: UnknownIssuer", False),
        ("No solution found when resolving dependencies", False),
        ("HTTP status client error (403 Forbidden) for url", False),
    ],
)
def test_only_a_network_that_is_away_may_come_back(words: str, *, is_unreachable: bool) -> None:
    assert UvFailed(words, 2).is_unreachable is is_unreachable
