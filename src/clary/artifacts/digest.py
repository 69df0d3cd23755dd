"""The address of an artifact: sha256 over the sorted manifest of its files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PLAIN_MODE = 0o444
EXECUTABLE_MODE = 0o555
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One regular file of an artifact."""

    path: str
    """Relative, components joined by `/`."""
    mode: int
    """`PLAIN_MODE` or `EXECUTABLE_MODE`: nothing else of a mode travels."""
    size: int
    """Bytes."""
    sha256: str
    """64 hex digits of the content."""


def digest_of(entries: Iterable[Entry]) -> str:
    """64 hex digits. Entries sort by their path's bytes; fields end in NUL, which no path can hold."""
    manifest = hashlib.sha256()
    for entry in sorted(entries, key=lambda e: os.fsencode(e.path)):
        line = b"%s\0%o\0%d\0%s\n" % (os.fsencode(entry.path), entry.mode, entry.size, entry.sha256.encode())
        manifest.update(line)
    return manifest.hexdigest()


def read_entries(folder: Path) -> list[Entry]:
    """The manifest of files on disk, read anew: what `digest_of` must turn into the folder's own name."""
    found: list[Entry] = []
    for at, _, names in os.walk(folder):
        for name in names:
            file = Path(at) / name
            stat = file.lstat()
            mode = EXECUTABLE_MODE if stat.st_mode & 0o100 else PLAIN_MODE
            path = file.relative_to(folder).as_posix()
            found.append(Entry(path=path, mode=mode, size=stat.st_size, sha256=_sha256(file)))
    return found


def _sha256(file: Path) -> str:
    content = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            content.update(chunk)
    return content.hexdigest()
