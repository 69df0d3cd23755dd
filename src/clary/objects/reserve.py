"""Room that is kept for deleting: without it nothing could be removed from a disk that is full.

A delete is a commit in the index, which SQLite writes down before it is true; that takes room.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from clary.kit.disk import is_full

RESERVE_BYTES = 4 << 20
"""The index' log at its longest between two checkpoints (1000 pages), so that it finds room whatever is deleted."""
RESERVE_FILE = ".reserve"

T = TypeVar("T")


class Reserve:
    """A file that takes room and is given up where none is left. Thread-safe."""

    def __init__(self, folder: Path, size_bytes: int = RESERVE_BYTES) -> None:
        """Room is taken at once if there is any: a disk that is full already does not keep a store from opening."""
        self._path = folder / RESERVE_FILE
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._held = False
        self.hold()

    def hold(self) -> None:
        """Take the room, unless it is taken or there is none."""
        with self._lock:
            if self._held:
                return
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(fd, 0, self._size_bytes)
                finally:
                    os.close(fd)
                self._held = True
            except OSError:
                # Part of a reserve would only keep others from the little that is left.
                with contextlib.suppress(OSError):
                    self._path.unlink(missing_ok=True)

    def deleting(self, delete: Callable[[], T]) -> T:
        """What `delete` gives; it is called again, with the room given up, where it found the disk full."""
        try:
            return delete()
        except Exception as error:
            if not is_full(error) or not self._give_up():
                raise
        try:
            return delete()
        finally:
            self.hold()

    def _give_up(self) -> bool:
        with self._lock:
            held, self._held = self._held, False
            if held:
                self._path.unlink(missing_ok=True)
            return held
