"""Turns what was chosen into a lock: read from the source, pinned, remembered or made anew."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from shipway.builders.needs import locks
from shipway.builders.needs.files import LOCAL, PLACE, files_of, lines_of
from shipway.builders.needs.inputs import (
    Input,
    Kind,
    read,
    read_toml,
    script_header,
    workspace_members,
)
from shipway.builders.needs.local import local_places
from shipway.builders.needs.locks import Form, Lock
from shipway.builders.uv.pythons import Python
from shipway.builders.uv.tool import Uv, UvFailed, tail
from shipway.builders.uv_settings import index_settings, uv_environment
from shipway.plugins.builder import BuildRequest
from shipway.plugins.errors import PermanentError

_OPTION = re.compile(
    r"^(-i|--index-url|--extra-index-url|-f|--find-links|--no-index|--pre|--only-binary"
    r"|--no-binary)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A lock, and whether it still has to be pinned on the item."""

    lock: Lock
    is_new: bool


def lock_of(chosen: Input, request: BuildRequest) -> Lock | None:
    """Return the lock that is there already: pinned, or part of the source."""
    base = _base(chosen, request.tree)
    if request.lock is not None:
        return _located(locks.from_bytes(request.lock), chosen, request, base)
    if chosen.kind is Kind.NONE:
        return Lock(form=Form.NONE, content=b"")
    assert chosen.file is not None
    if chosen.kind in {Kind.UV_LOCK, Kind.PYLOCK}:
        lock = Lock(form=Form(chosen.kind.value), content=read(chosen.file))
        return _located(lock, chosen, request, base)
    if chosen.kind is Kind.REQUIREMENTS and _is_hashed(read(chosen.file).decode()):
        return Lock(form=Form.REQUIREMENTS, content=read(chosen.file))
    return None


def memory_key(chosen: Input, request: BuildRequest, python: Python) -> str:
    """Return the digest of all that a resolution depends on, apart from the index's own state."""
    digest = hashlib.sha256()
    facts = [
        chosen.kind,
        _base(chosen, request.tree),
        python.implementation,
        python.short,
        sorted(request.extras),
        sorted(request.groups),
        index_settings(uv_environment(request.env, {})),
    ]
    digest.update(json.dumps(facts).encode())
    for path in files_of(chosen, request.tree):
        data = read(path)
        digest.update(f"\n{path.relative_to(request.tree)} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def resolve(chosen: Input, request: BuildRequest, python: Python, uv: Uv) -> Lock:
    """Resolve an unlocked input; raise `PermanentError` with the resolver's own words."""
    base = _base(chosen, request.tree)
    scratch_root = uv.cache.parent / "tmp"
    scratch_root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch_root) as scratch:
        try:
            if chosen.kind is Kind.PROJECT and _is_uvs(chosen):
                content = _lock_project(chosen, request, python, uv, Path(scratch))
                lock = Lock(form=Form.UV, content=content, python=python.short)
                return _located(lock, chosen, request, base)
            return _compile(chosen, request, python, uv, Path(scratch))
        except UvFailed as failed:
            assert chosen.file is not None
            name = chosen.file.relative_to(request.tree).as_posix()
            words = tail(failed.words).replace(f"{scratch}/", "").replace(scratch, ".")
            raise PermanentError(
                f"the dependencies of {name} could not be resolved for {python}; uv says:\n{words}"
            ) from failed


def lay_out(chosen: Input, folder: Path) -> None:
    """Copy the pyproject files that uv reads beside a uv.lock, so that the tree stays as it is."""
    members = workspace_members(chosen.folder, read_toml(chosen.folder / "pyproject.toml"))
    for source in dict.fromkeys([chosen.folder, *members, chosen.member]):
        target = folder / source.relative_to(chosen.folder)
        target.mkdir(parents=True, exist_ok=True)
        copy_settings(source, target)


def copy_settings(source: Path, target: Path) -> None:
    """Copy the files in which a project has its settings for uv, its indexes among them."""
    for name in ("pyproject.toml", "uv.toml"):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def not_in_lock(chosen: Input, lock: Lock) -> list[str]:
    """Return the dependencies that pyproject.toml asks for and an old uv.lock does not know."""
    project = read_toml(chosen.member / "pyproject.toml").get("project", {})
    packages = {one["name"]: one for one in locks.parse(lock)["package"]}
    ours = packages.get(locks.normal(str(project.get("name", ""))), {})
    known = {one["name"] for one in ours.get("metadata", {}).get("requires-dist", [])}
    asked = [re.match(r"[\w.-]+", text.strip()) for text in project.get("dependencies", [])]
    names = [locks.normal(found[0]) for found in asked if found]
    return [name for name in names if name not in known]


def _base(chosen: Input, tree: Path) -> str:
    return chosen.folder.relative_to(tree).as_posix()


def _located(lock: Lock, chosen: Input, request: BuildRequest, base: str) -> Lock:
    """Return the lock with the local packages that its own text names."""
    if lock.form is Form.PYLOCK:
        content, local = locks.without_local(lock, base)
        return Lock(form=lock.form, content=content, python=lock.python, local=local)
    if lock.form is Form.UV:
        if chosen.file is None or not (chosen.folder / "pyproject.toml").is_file():
            raise PermanentError("the lock is a uv.lock, but the source has no pyproject.toml")
        name = read_toml(chosen.member / "pyproject.toml").get("project", {}).get("name")
        local = locks.local_packages(lock, name, extras=request.extras, base=base)
        return Lock(form=lock.form, content=lock.content, python=lock.python, local=local)
    return lock


def _lock_project(
    chosen: Input, request: BuildRequest, python: Python, uv: Uv, scratch: Path
) -> bytes:
    content = read_toml(chosen.folder / "pyproject.toml")
    is_dynamic = content.get("project", {}).get("dynamic")
    members = workspace_members(chosen.folder, content)
    if is_dynamic or members or local_places(chosen, request.tree):
        # Its build backend, or that of a folder it depends on, has to be asked.
        root = _copy_tree(request.tree, scratch) / chosen.folder.relative_to(request.tree)
    else:
        root = scratch
        lay_out(chosen, root)
    (root / "uv.lock").unlink(missing_ok=True)
    refresh = ("--refresh", "--upgrade") if request.refresh else ()
    uv.run("lock", "--project", root, "--python", python.path, *refresh, cwd=root)
    return read(root / "uv.lock")


def _compile(chosen: Input, request: BuildRequest, python: Python, uv: Uv, scratch: Path) -> Lock:
    assert chosen.file is not None
    folder, tree = chosen.folder, request.tree
    if chosen.kind is Kind.SCRIPT and _has_own_lock(chosen.file):
        return _export(chosen.file, request, python, uv, scratch)
    texts = [read(path).decode("utf-8", "replace") for path in files_of(chosen, tree)]
    if chosen.kind is Kind.PROJECT or any(
        LOCAL.match(line) for text in texts for line in lines_of(text)
    ):
        # A build backend writes beside what it builds, and the tree is nobody's to write to.
        folder = _copy_tree(tree, scratch) / chosen.folder.relative_to(tree)
        tree = scratch
    args = (
        *("pip", "compile", chosen.file.name, "--python", python.path, "--generate-hashes"),
        *("--no-header", "--no-annotate", "--quiet"),
        *(("--refresh", "--upgrade") if request.refresh else ()),
        *_selected(chosen, request),
    )
    try:
        text = uv.run(*args, "--universal", cwd=folder)
    except UvFailed:
        # Some sets only fit the platform at hand; then the lock is for that one.
        text = uv.run(*args, cwd=folder)
    kept, local = _split(text, tree, folder)
    options = [line for one in texts for line in lines_of(one) if _OPTION.match(line)]
    if chosen.kind is Kind.SCRIPT:
        options = _indexes(chosen.file)
    content = "".join(f"{line}\n" for line in [*dict.fromkeys(options), *kept])
    return Lock(form=Form.REQUIREMENTS, content=content.encode(), python=python.short, local=local)


def _is_uvs(chosen: Input) -> bool:
    """Tell whether uv locks it as a project: it is one, or the root of a workspace."""
    content = read_toml(chosen.folder / "pyproject.toml")
    return "project" in content or "workspace" in content.get("tool", {}).get("uv", {})


def _has_own_lock(script: Path) -> bool:
    """Tell whether a script has a lock of its own, or sources that only such a lock knows."""
    if script.with_name(f"{script.name}.lock").is_file():
        return True
    return bool(script_header(script).get("tool", {}).get("uv", {}).get("sources"))


def _export(script: Path, request: BuildRequest, python: Python, uv: Uv, scratch: Path) -> Lock:
    """Return a script's own lock as a list; made first, in a copy, where there is none."""
    folder = script.parent
    tree = request.tree
    if not script.with_name(f"{script.name}.lock").is_file():
        tree = _copy_tree(request.tree, scratch)
        folder = tree / script.parent.relative_to(request.tree)
        refresh = ("--refresh", "--upgrade") if request.refresh else ()
        uv.run("lock", "--script", script.name, "--python", python.path, *refresh, cwd=folder)
    args = ("export", "--script", script.name, "--frozen", "--no-header", "--no-annotate")
    kept, local = _split(uv.run(*args, "--python", python.path, cwd=folder), tree, folder)
    content = "".join(f"{line}\n" for line in [*_indexes(script), *kept])
    return Lock(form=Form.REQUIREMENTS, content=content.encode(), python=python.short, local=local)


def _indexes(script: Path) -> list[str]:
    indexes = script_header(script).get("tool", {}).get("uv", {}).get("index", [])
    return [f"--extra-index-url {index['url']}" for index in indexes]


def _selected(chosen: Input, request: BuildRequest) -> Iterator[str]:
    if chosen.kind is Kind.PROJECT:
        for extra in request.extras:
            yield from ("--extra", extra)
        for group in request.groups:
            yield from ("--group", group)


def _split(text: str, tree: Path, folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """Take the folders of the source out of a compiled list; they are laid over, not installed."""
    base = folder.resolve().relative_to(tree.resolve()).as_posix()
    kept: list[str] = []
    local: list[str] = []
    for line in text.splitlines():
        if not LOCAL.match(line):
            kept.append(line)
            continue
        found = PLACE.match(line)
        place = found[1] if found else line
        for root in (tree, tree.resolve()):
            place = place.removeprefix(f"{root}/") if place.startswith(f"{root}/") else place
            if place == str(root):
                place = "."
        is_under_tree = found is not None and place != found[1]
        local.append(locks.within("." if is_under_tree else base, place))
    return kept, tuple(dict.fromkeys(local))


def _is_hashed(text: str) -> bool:
    """Tell whether every requirement carries a hash: then the file is a lock as it is."""
    needs = [line for line in lines_of(text) if not _OPTION.match(line)]
    return bool(needs) and all("--hash=" in line for line in needs)


def _copy_tree(tree: Path, scratch: Path) -> Path:
    shutil.copytree(
        tree,
        scratch,
        symlinks=True,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"),
    )
    return scratch
