"""Bytes on their way into the store: a temporary file and the digests of what passed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence

from clary.objects import checksums
from clary.objects.blobs import Blobs, Footer, write_all
from clary.objects.records import Checksum


class EndedError(RuntimeError):
    """A writer that was published or abandoned was used again."""


class Writer:
    """Takes bytes in order, computes MD5 and one checksum; then it is published once, or abandoned.

    Blocking: use it on a thread. Calls come one after another, but for `abandon`, which may come while a write runs:
    its caller may have been cancelled.
    """

    def __init__(self, blobs: Blobs, bucket: str, blob: str, algorithms: Sequence[str]) -> None:
        """`algorithms`: the checksum to keep, then others that a client's own are compared with."""
        self.bucket = bucket
        self.blob = blob
        self.size = 0
        """Bytes so far."""
        self._blobs = blobs
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._hashers = {name: checksums.ALGORITHMS[name].new() for name in algorithms}
        self._kept = algorithms[0]
        self._checksums: dict[str, Checksum] = {}
        self._lock = threading.Lock()
        self._fd: int | None = blobs.create(blob)

    def write(self, data: bytes | memoryview) -> None:
        with self._lock:
            if self._fd is None:
                raise EndedError
            self._md5.update(data)
            for hasher in self._hashers.values():
                hasher.update(data)
            write_all(self._fd, data)
            self.size += len(data)

    @property
    def md5(self) -> bytes:
        """Digest of the bytes so far."""
        return self._md5.digest()

    def checksum(self, algorithm: str | None = None) -> Checksum:
        """A checksum of all bytes, None: the one to keep. Nothing may be written afterwards."""
        name = algorithm or self._kept
        if name not in self._checksums:
            self._checksums[name] = checksums.full(name, self._hashers[name].digest())
        return self._checksums[name]

    def publish(self, footer: Footer) -> None:
        """Make the bytes and what they are durable under the blob's name. Nothing refers to it yet."""
        with self._lock:
            fd, self._fd = self._fd, None
        if fd is None:
            raise EndedError
        try:
            self._blobs.publish(fd, self.bucket, footer)
        except BaseException:
            self._blobs.discard(self.blob)
            raise

    def abandon(self) -> None:
        """Forget the bytes. Harmless after `publish`."""
        with self._lock:
            fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
            self._blobs.discard(self.blob)
