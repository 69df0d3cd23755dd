"""The object store: buckets and objects. Every method blocks; call it on a thread (`kit.threads`).

A write becomes true at one moment, the commit in the index; its bytes are durable before that. Whatever a kill leaves
behind, files that nothing refers to, goes at the next start.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from clary.domain.errors import AlreadyExists, Invalid, NotFound
from clary.kit.clock import Clock
from clary.kit.ids import Ids
from clary.objects import checksums
from clary.objects.blobs import Blobs, Footer
from clary.objects.errors import BucketNotEmpty, Hidden, IsMarker, PreconditionFailed
from clary.objects.index import Transaction
from clary.objects.listing import page
from clary.objects.names import KEY_BYTES_MAX, bucket_allowed, key_allowed
from clary.objects.reader import ObjectFile, Reader
from clary.objects.records import (
    ENABLED,
    NO_CONDITION,
    Attributes,
    Bucket,
    Condition,
    Entry,
    Listing,
    ObjectRecord,
)
from clary.objects.recovery import recover
from clary.objects.reserve import Reserve
from clary.objects.writer import Writer

BLOCK_BYTES = 1024 * 1024
"""What is read or written at once."""


class ObjectStore:
    """Buckets under one folder. Thread-safe; only one process may have it open (the lock of HOME sees to that)."""

    def __init__(self, root: Path, clock: Clock, ids: Ids) -> None:
        """Open `root` (made if absent), finish or undo what a kill interrupted."""
        self.clock = clock
        self.ids = ids
        self.blobs = Blobs(root)
        self.index = recover(root, self.blobs)
        self.reserve = Reserve(root)
        self._bucket_lock = threading.Lock()
        """Held while a bucket's folder and its row are made or removed together."""
        self._pin_lock = threading.Lock()
        self._pins: Counter[str] = Counter()
        self._doomed: dict[str, tuple[str, ObjectRecord]] = {}

    def close(self) -> None:
        """Nothing may be in use."""
        self.index.close()

    # buckets

    def create_bucket(self, name: str, account: str, region: str, tags: Mapping[str, str] | None = None) -> Bucket:
        """A new bucket; AlreadyExists whoever owns it, Invalid for a name that S3 refuses."""
        if not bucket_allowed(name):
            raise Invalid(f"{name!r} is not a valid bucket name")
        bucket = Bucket(name, account, region, self.clock.now_us(), tags=tags or {})
        with self._bucket_lock, self.index.write() as index:
            if index.bucket(name) is not None:
                raise AlreadyExists("bucket", name, bucket_arn(name))
            # The folder first: a kill before the commit leaves an empty bucket, adopted at the next start.
            self.blobs.create_bucket(bucket)
            index.put_bucket(bucket)
        return bucket

    def bucket(self, name: str) -> Bucket:
        """The bucket, or NotFound."""
        with self.index.read() as index:
            return _bucket(index, name)

    def buckets(self) -> list[Bucket]:
        """All buckets by name."""
        with self.index.read() as index:
            return index.buckets()

    def change_bucket(self, name: str, change: Callable[[Bucket], Bucket]) -> Bucket:
        """Replace what is known of a bucket, durably; NotFound."""
        with self._bucket_lock, self.index.write() as index:
            bucket = change(_bucket(index, name))
            # The file first: it is what the index is made to agree with at the next start.
            self.blobs.write_bucket(bucket)
            index.put_bucket(bucket)
        return bucket

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket without any version and the uploads in progress in it; BucketNotEmpty, NotFound."""

        def forget() -> None:
            with self.index.write() as index:
                _bucket(index, name)
                if index.any_version(name):
                    raise BucketNotEmpty(name)
                index.remove_bucket(name)

        with self._bucket_lock:
            self.reserve.deleting(forget)
            self.blobs.remove_bucket(name)

    # objects

    def head(self, bucket: str, key: str, version: str | None = None) -> ObjectRecord:
        """What is known of an object, or of one version of it (empty: the null version).

        NotFound of kind `bucket`, `object` (Hidden where a delete marker hides it) or `version`; IsMarker.
        """
        with self.index.read() as index:
            _bucket(index, bucket)
            return find(index, bucket, key, version)

    def read(self, bucket: str, key: str, version: str | None = None) -> Reader:
        """Open an object as it is now; later writes to its key do not disturb the reader. Errors: `head`. Close it."""
        with self._pin_lock, self.index.read() as index:
            _bucket(index, bucket)
            record = find(index, bucket, key, version)
            self._pins[record.blob] += 1
        return Reader(self.blobs, bucket, record, lambda: self._unpin(record.blob))

    def open(self, bucket: str, key: str) -> BinaryIO:
        """An object as a seekable binary file; NotFound of kind `bucket` or `object`. Close it."""
        return io.BufferedReader(ObjectFile(self.read(bucket, key)), BLOCK_BYTES)

    def list(self, bucket: str, prefix: str = "") -> Iterator[Entry]:
        """Every object whose key starts with `prefix`, in key order, page by page: not one moment's view."""
        after = ""
        while True:
            found = self.list_page(bucket, prefix=prefix, after=after)
            yield from found.entries
            if not found.truncated:
                return
            after = found.last

    def list_page(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", count_max: int = 1000
    ) -> Listing:
        """One page of at most `count_max` keys and common prefixes together, those after `after`."""
        with self.index.read() as index:
            _bucket(index, bucket)
            return page(index, bucket, prefix=prefix, delimiter=delimiter, after=after, count_max=count_max)

    def begin(self, bucket: str, algorithm: str = checksums.DEFAULT, check: str | None = None) -> Writer:
        """Start writing bytes that become an object (`commit`) or a part; `abandon` the writer otherwise.

        `algorithm`: of the checksum that is kept; `check`: of another that the caller wants to compare.
        """
        self.bucket(bucket)
        return Writer(self.blobs, bucket, self.ids.ulid(self.clock.now_us()), (algorithm, check or algorithm))

    def commit(
        self, writer: Writer, key: str, attributes: Attributes, condition: Condition = NO_CONDITION
    ) -> ObjectRecord:
        """Make what was written the object of `key`: durable when this returns, all or nothing."""
        check_key(key)
        try:
            state, modified_us = self.stamp(writer.bucket, key)
        except NotFound:
            writer.abandon()
            raise
        record = ObjectRecord(
            key=key,
            size=writer.size,
            etag=writer.md5.hex(),
            modified_us=modified_us,
            blob=writer.blob,
            headers=attributes.headers,
            user=attributes.user,
            storage_class=attributes.storage_class,
            checksum=writer.checksum(),
            version=writer.blob if state.versioning == ENABLED else "",
            tags=attributes.tags,
        )
        with self.published(writer, record) as index:
            check_condition(index, writer.bucket, key, condition)
            old = index.put_object(writer.bucket, record)
        self.drop(writer.bucket, old)
        self.reserve.hold()
        return record

    def put(
        self,
        bucket: str,
        key: str,
        source: Iterable[bytes],
        *,
        attributes: Attributes | None = None,
        condition: Condition = NO_CONDITION,
        algorithm: str = checksums.DEFAULT,
    ) -> ObjectRecord:
        """Write an object from pieces of bytes (a list, a generator, an open binary file)."""
        writer = self.begin(bucket, algorithm)
        try:
            for data in source:
                writer.write(data)
            return self.commit(writer, key, attributes or Attributes(), condition)
        finally:
            writer.abandon()

    def check(self, bucket: str, key: str, condition: Condition) -> None:
        """Whether a conditional write would be let in now: asked before a body is read, and again at the commit."""
        if condition != NO_CONDITION:
            with self.index.read() as index:
                check_condition(index, bucket, key, condition)

    def stamp(self, bucket: str, key: str) -> tuple[Bucket, int]:
        """The bucket, and the instant that a version written to the key now has: later than every other of the key.

        The versions of a key are ordered by it, so a clock that is set back must not hide what is written.
        """
        with self.index.read() as index:
            state = _bucket(index, bucket)
            newest = index.newest(bucket, key)
        now_us = self.clock.now_us()
        return state, now_us if newest is None else max(now_us, newest.modified_us + 1)

    # files of objects

    def drop(self, bucket: str, record: ObjectRecord | None) -> None:
        """Remove the files of an object that the index no longer knows, now or when its last reader closes."""
        if record is None:
            return
        with self._pin_lock:
            if self._pins[record.blob] > 0:
                self._doomed[record.blob] = (bucket, record)
                return
            del self._pins[record.blob]
        self._remove_files(bucket, record)

    @contextlib.contextmanager
    def published(self, writer: Writer, footer: Footer) -> Iterator[Transaction]:
        """Publish what was written, then lend the transaction that first refers to it; undone if that fails."""
        bucket, blob = writer.bucket, writer.blob
        with self._of_bucket(bucket):
            writer.publish(footer)
        try:
            with self.writing(bucket, [blob]) as index:
                yield index
        except BaseException:
            self.blobs.remove(bucket, blob)
            raise

    def publish_empty(self, bucket: str, footer: Footer) -> None:
        """A blob without bytes: what it says is all there is to it. Nothing refers to it yet."""
        fd = self.blobs.create(footer.blob)
        try:
            with self._of_bucket(bucket):
                self.blobs.publish(fd, bucket, footer)
        except BaseException:
            self.blobs.discard(footer.blob)
            raise

    @contextlib.contextmanager
    def writing(self, bucket: str, blobs: Iterable[str]) -> Iterator[Transaction]:
        """The transaction that first refers to `blobs` of a bucket; NotFound where the bucket was deleted meanwhile."""
        with self.index.write() as index:
            _bucket(index, bucket, whole=all(self.blobs.path(bucket, blob).exists() for blob in blobs))
            yield index

    @contextlib.contextmanager
    def _of_bucket(self, bucket: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self.bucket(bucket)  # NotFound, where the bucket was deleted meanwhile
            raise

    def _unpin(self, blob: str) -> None:
        with self._pin_lock:
            self._pins[blob] -= 1
            if self._pins[blob] > 0:
                return
            del self._pins[blob]
            doomed = self._doomed.pop(blob, None)
        if doomed is not None:
            self._remove_files(*doomed)

    def _remove_files(self, bucket: str, record: ObjectRecord) -> None:
        self.blobs.remove(bucket, record.blob)
        if record.tag_blob:
            self.blobs.remove(bucket, record.tag_blob)
        for segment in record.segments:
            self.blobs.remove(bucket, segment.blob)


def bucket_arn(name: str) -> str:
    return f"arn:aws:s3:::{name}"


def check_key(key: str) -> None:
    """Raise Invalid for a key that S3 refuses."""
    if not key_allowed(key):
        raise Invalid(f"a key has 1 to {KEY_BYTES_MAX} bytes of UTF-8; this one has {len(key.encode())}")


def check_condition(
    index: Transaction, bucket: str, key: str, condition: Condition, version: str | None = None
) -> None:
    """PreconditionFailed or NotFound where the condition does not hold of the object now, or of one version of it."""
    current = index.object(bucket, key) if version is None else index.version(bucket, key, version)
    if condition.absent and current is not None:
        raise PreconditionFailed("If-None-Match")
    if condition.etag is not None:
        if current is None:
            raise NotFound("object", key, f"{bucket_arn(bucket)}/{key}")
        if condition.etag not in ("*", current.etag):
            raise PreconditionFailed("If-Match")


def _bucket(index: Transaction, name: str, *, whole: bool = True) -> Bucket:
    """The bucket; `whole` False says that a blob in it is gone: a bucket of that name was deleted and made anew."""
    bucket = index.bucket(name)
    if bucket is None or not whole:
        raise NotFound("bucket", name, bucket_arn(name))
    return bucket


def find(index: Transaction, bucket: str, key: str, version: str | None) -> ObjectRecord:
    """The object of a key, or one version of it; errors as `ObjectStore.head`."""
    arn = f"{bucket_arn(bucket)}/{key}"
    record = index.newest(bucket, key) if version is None else index.version(bucket, key, version)
    if record is None:
        raise NotFound("object", key, arn) if version is None else NotFound("version", key, arn)
    if record.marker and version is None:
        raise Hidden("object", key, arn, record.version)
    if record.marker:
        raise IsMarker(key, record.version, record.modified_us)
    return record
