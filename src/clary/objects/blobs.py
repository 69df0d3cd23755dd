"""Files of the object store: bytes first, then a footer that says what they are.

    HOME/buckets/<bucket>/bucket.json           the bucket's own record
    HOME/buckets/<bucket>/<shard>/<blob>        bytes, footer record (JSON), u32 length, u32 CRC-32, 8 bytes of magic
    HOME/buckets/.incoming/<blob>               being written; swept at start

A blob is named by a ULID, never by its key, so no key can escape the folder. It becomes visible by rename after fsync
and never changes. The footer lets the index be rebuilt from the files alone.
"""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clary.objects.records import Bucket, ObjectRecord, PartRecord, TagRecord

MAGIC = b"CLARYOB1"
_TAIL = struct.Struct(">II8s")
_FOOTER_BYTES_MAX = 16 * 1024 * 1024
INCOMING = ".incoming"
BUCKET_FILE = "bucket.json"

Footer = ObjectRecord | PartRecord | TagRecord
_decoder: msgspec.json.Decoder[Footer] = msgspec.json.Decoder(Footer)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Blobs:
    """The folder tree. Thread-safe: it holds no state but the root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / INCOMING
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._incoming.mkdir(mode=0o700, exist_ok=True)

    def path(self, bucket: str, blob: str) -> Path:
        """Where a blob lies. The last character of a ULID is random: 32 shards."""
        return self._root / bucket / blob[-1] / blob

    def folder(self, bucket: str) -> Path:
        return self._root / bucket

    def create(self, blob: str) -> int:
        """A new file in `.incoming`, open for writing; the caller closes it."""
        return os.open(self._incoming / blob, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def discard(self, blob: str) -> None:
        """Remove a file that was not published."""
        (self._incoming / blob).unlink(missing_ok=True)

    def publish(self, fd: int, bucket: str, footer: Footer) -> None:
        """Append the footer, make the bytes durable, then give the file its name, durably. Closes `fd`."""
        try:
            write_all(fd, encode_footer(footer))
            os.fsync(fd)
        finally:
            os.close(fd)
        target = self.path(bucket, footer.blob)
        # A bucket that was deleted meanwhile is not brought back: its folder is not made here.
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(target.parent.parent)
        (self._incoming / footer.blob).rename(target)
        sync_folder(target.parent)

    def remove(self, bucket: str, blob: str) -> None:
        """Remove a published blob. Not synced: an orphan that comes back is swept at start."""
        self.path(bucket, blob).unlink(missing_ok=True)

    def names(self, bucket: str) -> Iterator[str]:
        """Names of all published blobs of a bucket."""
        for shard in self._shards(bucket):
            with os.scandir(shard) as entries:
                for entry in entries:
                    yield entry.name

    def footer(self, bucket: str, blob: str) -> Footer | None:
        """What a blob says it is; None for a file without an intact footer."""
        try:
            return read_footer(self.path(bucket, blob))
        except (OSError, ValueError):
            return None

    def sweep_incoming(self) -> int:
        """Remove what a killed process left half written; how many."""
        left = list(self._incoming.iterdir())
        for path in left:
            path.unlink()
        return len(left)

    def create_bucket(self, bucket: Bucket) -> None:
        """Make the folder and its record, durably."""
        self.folder(bucket.name).mkdir(mode=0o700, exist_ok=True)
        self.write_bucket(bucket)
        sync_folder(self._root)

    def write_bucket(self, bucket: Bucket) -> None:
        """Replace a bucket's record, durably."""
        folder = self.folder(bucket.name)
        temporary = folder / (BUCKET_FILE + ".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, msgspec.json.encode(bucket))
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(folder / BUCKET_FILE)
        sync_folder(folder)

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket's folder; its record goes first, so that a half-removed folder is known as such."""
        folder = self.folder(name)
        (folder / BUCKET_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        sync_folder(self._root)

    def buckets(self) -> Iterator[tuple[str, Bucket | None]]:
        """Every bucket folder with its record; None where the record is missing or broken."""
        for folder in sorted(self._root.iterdir()):
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            try:
                record = msgspec.json.decode((folder / BUCKET_FILE).read_bytes(), type=Bucket)
            except (OSError, msgspec.MsgspecError):
                yield folder.name, None
            else:
                yield folder.name, record if record.name == folder.name else None

    def _shards(self, bucket: str) -> list[Path]:
        return [path for path in self.folder(bucket).iterdir() if path.is_dir()]


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte: a single write to a file may take fewer."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def encode_footer(footer: Footer) -> bytes:
    """The record and the fixed tail that finds it from the end of the file."""
    body = msgspec.json.encode(footer)
    return body + _TAIL.pack(len(body), zlib.crc32(body), MAGIC)


def read_footer(path: Path) -> Footer:
    """The footer of a blob; ValueError where it is not intact."""
    with path.open("rb") as blob:
        size = blob.seek(0, os.SEEK_END)
        if size < _TAIL.size:
            raise ValueError(f"{path} is too short for a footer")
        blob.seek(size - _TAIL.size)
        length, crc, magic = _TAIL.unpack(blob.read(_TAIL.size))
        if magic != MAGIC or length > min(_FOOTER_BYTES_MAX, size - _TAIL.size):
            raise ValueError(f"{path} has no footer")
        blob.seek(size - _TAIL.size - length)
        body = blob.read(length)
    if zlib.crc32(body) != crc:
        raise ValueError(f"{path} has a broken footer")
    return _decoder.decode(body)
