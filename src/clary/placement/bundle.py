"""The worker bundle: an immutable copy of the packages that a replica runs, addressed by its contents.

A running replica never sees an upgrade of Clary, and a model's own environment needs no Clary of its own.
"""

from __future__ import annotations

import hashlib
import os
import py_compile
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

PACKAGES = ("worker", "runtimes", "replica", "domain", "kit")
ENTRY = "boot.py"
_ENTRY_SOURCE = "worker/bundle_main.py"


def make_bundle(package: Path, bundles: Path) -> Path:
    """The folder `bundles/<digest>` for the sources under `package` (the folder of `clary`); made where it is missing.

    Written beside and renamed: a bundle is whole or not there. Blocking.
    """
    sources = _sources(package)
    target = bundles / _digest(sources)
    if target.is_dir():
        return target
    bundles.mkdir(parents=True, exist_ok=True)
    temporary = bundles / f".new-{secrets.token_hex(8)}"
    try:
        for name, content in sources.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            # Checked by nobody again: the folder's name is the digest of what is in it.
            py_compile.compile(str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
            path.chmod(0o400)
        _sync(temporary)
        temporary.rename(target)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not target.is_dir():  # else somebody else was faster with the same contents
            raise
    return target


def sweep_bundles(bundles: Path, keep: Collection[str]) -> None:
    """Remove every bundle whose folder name is not in `keep`, and what an interrupted copy left."""
    if not bundles.is_dir():
        return
    for folder in bundles.iterdir():
        if folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)


def _sources(package: Path) -> dict[str, bytes]:
    """Path within the bundle -> contents, sorted by path."""
    paths = [package / "__init__.py"]
    for name in PACKAGES:
        paths += (package / name).rglob("*.py")
    found = {f"clary/{path.relative_to(package).as_posix()}": path.read_bytes() for path in paths}
    found[ENTRY] = found[f"clary/{_ENTRY_SOURCE}"]
    return dict(sorted(found.items()))


def _digest(sources: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sources.items():
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:24]


def _sync(folder: Path) -> None:
    """Everything under `folder` on disk before the rename makes it visible."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
