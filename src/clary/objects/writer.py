"""Bytes on their way into the store: a temporary file and the digests of what passed."""

from __future__ import annotations

import hashlib
import os
import threading

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

    def __init__(self, blobs: Blobs, bucket: str, blob: str, algorithm: str) -> None:
        self.bucket = bucket
        self.blob = blob
        self.size = 0
        """Bytes so far."""
        self.algorithm = algorithm
        self._blobs = blobs
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._hasher = checksums.ALGORITHMS[algorithm].new()
        self._checksum: Checksum | None = None
        self._lock = threading.Lock()
        self._fd: int | None = blobs.create(blob)

    def write(self, data: bytes | memoryview) -> None:
        with self._lock:
            if self._fd is None:
                raise EndedError
            self._md5.update(data)
            self._hasher.update(data)
            write_all(self._fd, data)
            self.size += len(data)

    @property
    def md5(self) -> bytes:
        """Digest of the bytes so far."""
        return self._md5.digest()

    def checksum(self) -> Checksum:
        """The checksum of all bytes; nothing may be written afterwards."""
        if self._checksum is None:
            self._checksum = checksums.full(self.algorithm, self._hasher.digest())
        return self._checksum

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
