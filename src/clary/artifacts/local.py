"""Pinned artifacts on a folder tree: `ROOT/<digest>/...`, complete or not there at all.

An artifact is built in `ROOT/.new-*`, flushed, and renamed to its digest; it is removed by a rename to `ROOT/.old-*`
first. So a kill at any moment leaves whole artifacts and rests whose names say that they are rests.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from clary.artifacts.base import Limits, Pinned
from clary.artifacts.digest import Entry, digest_of, read_entries
from clary.artifacts.unpack import unpack
from clary.domain.errors import ArtifactError

_DIGEST = re.compile(r"[0-9a-f]{64}")
CODE = "code"
"""Folder of an artifact that holds scripts."""
_NEW = ".new-"
_OLD = ".old-"


class PinnedStore:
    """The artifacts of one HOME. One process at a time owns the folder; its threads may call all at once."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for rest in (p for p in root.iterdir() if p.name.startswith((_NEW, _OLD))):
            _remove(rest)

    def path_of(self, digest: str) -> Path | None:
        """The folder of a pinned artifact, or None where it is not pinned."""
        path = self._root / digest
        return path if _DIGEST.fullmatch(digest) and path.is_dir() else None

    def pin(self, archive: BinaryIO, url: str, scripts: BinaryIO | None = None) -> Pinned:
        """Unpack, verify and keep an archive; one that is already there is left alone. Raises ArtifactError.

        `scripts`: another archive, which takes the place of the folder `code/`.
        """
        building = Path(tempfile.mkdtemp(prefix=_NEW, dir=self._root))
        try:
            entries = unpack(archive, building, self._limits)
            if scripts is not None:
                entries = self._with_scripts(entries, building, scripts)
            _seal(building)
            digest = digest_of(entries)
            path = self._root / digest
            if not path.is_dir():
                _rename_new(building, path)
        finally:
            _remove(building)
        _fsync(self._root)
        return Pinned(digest=digest, path=path, bytes=sum(entry.size for entry in entries), url=url)

    def _with_scripts(self, entries: list[Entry], building: Path, scripts: BinaryIO) -> list[Entry]:
        code = building / CODE
        if code.is_file():
            code.unlink()
        _remove(code)
        code.mkdir()
        try:
            found = unpack(scripts, code, self._limits)
        except ArtifactError as error:
            raise ArtifactError(f"The archive of scripts: {error.cause}", error.remedy) from None
        kept = [entry for entry in entries if entry.path.split("/", 1)[0] != CODE]
        return kept + [replace(entry, path=f"{CODE}/{entry.path}") for entry in found]

    def intact(self, digest: str) -> bool:
        """Whether the files on disk still are what the digest says; reads them all."""
        path = self.path_of(digest)
        return path is not None and digest_of(read_entries(path)) == digest

    def digests(self) -> set[str]:
        """Everything that is pinned."""
        return {p.name for p in self._root.iterdir() if _DIGEST.fullmatch(p.name)}

    def sweep(self, keep: Iterable[str]) -> set[str]:
        """Remove what is pinned and not in `keep`; returns the digests removed."""
        removed = self.digests() - set(keep)
        for digest in removed:
            rest = self._root / f"{_OLD}{digest}"
            (self._root / digest).rename(rest)
            _remove(rest)
        return removed


def _rename_new(building: Path, path: Path) -> None:
    """Move into place; losing a race to an equal artifact is winning it."""
    try:
        building.rename(path)
    except OSError:
        if not path.is_dir():
            raise


def _seal(folder: Path) -> None:
    """Make the tree's folders read-only and durable, the deepest first."""
    for at, _, _ in os.walk(folder, topdown=False):
        Path(at).chmod(0o555)
        _fsync(Path(at))


def _fsync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(folder: Path) -> None:
    """Delete a tree whose folders may be read-only; nothing where it is gone."""
    if folder.exists():
        for at, _, _ in os.walk(folder):
            Path(at).chmod(stat.S_IRWXU)
        shutil.rmtree(folder)
