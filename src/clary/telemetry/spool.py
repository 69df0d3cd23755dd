"""The spool: append-only segments of deltas in one folder per router, bounded, oldest dropped first.

A segment is named by a number that grows (`0000000001.deltas`), so that order does not hang on the wall clock. Its
writer holds an exclusive flock on it for as long as it may append: a reader that gets the lock knows that the segment
is complete, however its writer ended. Nothing is fsynced: a killed process loses nothing, and a power cut only some
seconds of metrics.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".deltas"


@dataclass(frozen=True)
class SpoolOptions:
    """How much a spool holds."""

    bytes_max: int = 64 << 20
    """All segments of one router together. Hours of an idle control plane at a few busy variants."""
    segment_bytes: int = 1 << 20
    """A segment that has reached this is closed and the next begun: what is lost at once when the spool is full."""


def segments(folder: Path) -> list[Path]:
    """The segments in a router's folder, oldest first; none where there is no folder."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix == SUFFIX and path.stem.isdigit()]
    except FileNotFoundError:
        return []
    return sorted(paths, key=lambda path: int(path.stem))


class SpoolWriter:
    """Appends to a router's folder. One writer at a time; a second one merely begins a segment of its own."""

    def __init__(self, folder: Path, options: SpoolOptions | None = None) -> None:
        self._folder = folder
        self._options = options or SpoolOptions()
        self._fd = -1
        self._path = folder
        self._bytes = 0
        self._sealed: list[tuple[Path, int]] = []
        """Older segments and their sizes, oldest first, as far as this writer knows; the reader deletes them too."""
        self.dropped_bytes = 0
        """Bytes of segments dropped because the spool was full, since this writer began."""

    @property
    def waiting_bytes(self) -> int:
        """About what nobody took yet."""
        return self._bytes + sum(size for _, size in self._sealed)

    def append(self, record: bytes) -> None:
        """Write a record whole. OSError (a full disk) leaves the segment as it was before."""
        if self._fd < 0 or self._bytes >= self._options.segment_bytes:
            self._begin()
        self._make_room(len(record))
        written = os.write(self._fd, record)
        if written < len(record):
            os.ftruncate(self._fd, self._bytes)
            raise OSError(errno.ENOSPC, f"only {written} of {len(record)} bytes were written", str(self._path))
        self._bytes += len(record)

    def close(self) -> None:
        """Give the segment up to the reader."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin(self) -> None:
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        older = segments(self._folder)
        number = int(older[-1].stem) + 1 if older else 1
        while True:
            path = self._folder / f"{number:010d}{SUFFIX}"
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
                break
            except FileExistsError:
                number += 1
        # A reader may hold the lock for the moment in which it looks whether the segment is complete; it then
        # finds an empty one and deletes it, so the lock is only good if the file still has its name.
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        if os.fstat(self._fd).st_nlink == 0:
            self._begin()
            return
        self._path = path
        self._bytes = 0
        self._sealed = [(old, _size(old)) for old in older]

    def _make_room(self, need_bytes: int) -> None:
        total = self._bytes + need_bytes + sum(size for _, size in self._sealed)
        if total <= self._options.bytes_max:
            return
        self._sealed = [(path, size) for path, _ in self._sealed if (size := _size(path))]
        total = self._bytes + need_bytes + sum(size for _, size in self._sealed)
        while self._sealed and total > self._options.bytes_max:
            path, size = self._sealed.pop(0)
            path.unlink(missing_ok=True)
            self.dropped_bytes += size
            total -= size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def is_complete(fd: int) -> bool:
    """Whether no writer can append to the open segment any more."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
