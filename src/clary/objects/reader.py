"""Bytes on their way out of the store: one object, over its blob or its segments."""

from __future__ import annotations

import bisect
import io
import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from clary.objects.blobs import Blobs
from clary.objects.records import ObjectRecord

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Reader:
    """Reads one object as it was when it was opened, whatever happens to its key meanwhile.

    Blocking: use it on a thread. Not thread-safe. Close it: its files are kept until then.
    """

    def __init__(self, blobs: Blobs, bucket: str, record: ObjectRecord, closed: Callable[[], None]) -> None:
        self.record = record
        self._closed: Callable[[], None] | None = closed
        pieces = [(segment.blob, segment.size) for segment in record.segments] or [(record.blob, record.size)]
        self._paths = [blobs.path(bucket, blob) for blob, _ in pieces]
        self._sizes = [size for _, size in pieces]
        self._starts = [0, *itertools.accumulate(self._sizes)][:-1]
        self._open: tuple[int, int] | None = None

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer at the end of a segment, none at the end of the object."""
        if offset >= self.record.size or count <= 0:
            return b""
        # Empty segments share their start with the next one; the last of them is the one that has bytes.
        at = bisect.bisect_right(self._starts, offset) - 1
        within = offset - self._starts[at]
        data = os.pread(self._descriptor(at), min(count, self._sizes[at] - within), within)
        if not data:
            raise OSError(f"{self._paths[at]} is shorter than its record says")
        return data

    def close(self) -> None:
        """Let go of the files; again is harmless."""
        if self._open is not None:
            os.close(self._open[1])
            self._open = None
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed()

    def _descriptor(self, at: int) -> int:
        if self._open is not None and self._open[0] == at:
            return self._open[1]
        if self._open is not None:
            os.close(self._open[1])
            self._open = None
        self._open = (at, os.open(self._paths[at], os.O_RDONLY | os.O_CLOEXEC))
        return self._open[1]


class ObjectFile(io.RawIOBase):
    """A Reader as a file: seekable, read-only. Wrap it in `io.BufferedReader`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._offset = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._reader.record.size}[whence]
        if base + offset < 0:
            raise ValueError("an offset before the start")
        self._offset = base + offset
        return self._offset

    def tell(self) -> int:
        return self._offset

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._reader.read_at(self._offset, len(view))
        view[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()
