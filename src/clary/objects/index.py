"""The index of the object store: one SQLite file, opened by one process only, rebuildable from the blobs' footers.

Commits are durable (WAL, synchronous=FULL): a commit here is the moment at which a write becomes true.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clary.objects.errors import IndexFormatError
from clary.objects.records import Bucket, Entry, ObjectRecord, PartRecord, Upload, VersionEntry

_FORMAT = 2

_SCHEMA = """
CREATE TABLE bucket(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, account TEXT NOT NULL, region TEXT NOT NULL,
  created_us INTEGER NOT NULL);
CREATE TABLE object(bucket TEXT NOT NULL, key BLOB NOT NULL, version TEXT NOT NULL, size INTEGER NOT NULL,
  etag TEXT NOT NULL, modified_us INTEGER NOT NULL, storage_class TEXT NOT NULL, checksum_algorithm TEXT NOT NULL,
  checksum_kind TEXT NOT NULL, blob TEXT NOT NULL, record BLOB NOT NULL);
CREATE UNIQUE INDEX object_by_key ON object(bucket, key, version);
CREATE TABLE upload(upload_id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, record BLOB NOT NULL);
CREATE INDEX upload_by_key ON upload(bucket, key, upload_id);
CREATE TABLE part(upload_id TEXT NOT NULL, number INTEGER NOT NULL, bucket TEXT NOT NULL, blob TEXT NOT NULL,
  record BLOB NOT NULL, PRIMARY KEY(upload_id, number)) WITHOUT ROWID
"""

_VERSIONS = """
ALTER TABLE bucket ADD COLUMN record BLOB;
ALTER TABLE object ADD COLUMN current INTEGER NOT NULL DEFAULT 1;
ALTER TABLE object ADD COLUMN marker INTEGER NOT NULL DEFAULT 0;
ALTER TABLE object ADD COLUMN tag_blob TEXT NOT NULL DEFAULT '';
CREATE INDEX object_now ON object(bucket, key) WHERE current = 1 AND marker = 0;
CREATE INDEX object_by_age ON object(bucket, key, modified_us DESC, blob DESC)
"""
"""Format 2: several versions of a key. `current` marks the newest of each, `marker` delete markers; `bucket.record` is
the whole bucket where it has more than the columns (versioning, tags, CORS)."""

_STEPS = (_SCHEMA, _VERSIONS)
"""What leads from each format to the next."""

_VISIBLE = "current = 1 AND marker = 0"
_NEWEST = "ORDER BY modified_us DESC, blob DESC"
_ENTRY = "size, etag, modified_us, storage_class, checksum_algorithm, checksum_kind"

_BUCKET = "name, account, region, created_us, record"

_bucket = msgspec.json.Decoder(Bucket)
_object = msgspec.json.Decoder(ObjectRecord)
_part = msgspec.json.Decoder(PartRecord)
_upload = msgspec.json.Decoder(Upload)


class Index:
    """Connections to the index. `read()` and `write()` lend a Transaction; one writer at a time."""

    def __init__(self, path: Path) -> None:
        """Open it, made readable for this user alone; IndexFormatError for one that a newer Clary wrote."""
        self._path = path
        path.touch(mode=0o600)
        path.chmod(0o600)  # older ones are 0644
        self._lock = threading.Lock()
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._writer = self._connect()
        found = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if found > _FORMAT:
            self._writer.close()
            raise IndexFormatError(
                f"{path} has format {found}; this Clary knows up to {_FORMAT}. "
                "Use the Clary that wrote it, or a newer one."
            )
        self.fresh = found == 0
        """Whether the index was just made, so that it does not know yet what the files hold."""
        if not self.fresh and found < _FORMAT:
            with self.write():
                self._raise_from(found)

    def create(self, fill: Iterator[tuple[Bucket, Iterator[ObjectRecord]]]) -> None:
        """Make the tables of a fresh index and fill them, in one transaction."""
        with self._lock, _transaction(self._writer, "BEGIN IMMEDIATE"):
            self._raise_from(0)
            work = Transaction(self._writer)
            for bucket, records in fill:
                work.put_bucket(bucket)
                for record in records:
                    work.put_object(bucket.name, record)
        self.fresh = False

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """A consistent view, concurrent with the writer."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            with _transaction(connection, "BEGIN"):
                yield Transaction(connection)
        finally:
            self._idle.put(connection)

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """The one writer; durable when the block ends, undone when it raises."""
        with self._lock, _transaction(self._writer, "BEGIN IMMEDIATE"):
            yield Transaction(self._writer)

    def close(self) -> None:
        """Close every connection; no transaction may be running."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
        self._writer.close()

    def _raise_from(self, found: int) -> None:
        """Bring the tables from format `found` to this one, within the writer's transaction."""
        for step in _STEPS[found:]:
            for statement in step.split(";\n"):
                self._writer.execute(statement)
        self._writer.execute(f"PRAGMA user_version = {_FORMAT}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


class Transaction:
    """Queries of one transaction. Buckets go by name, keys by text; order is that of UTF-8 bytes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    # buckets

    def bucket(self, name: str) -> Bucket | None:
        row = self._db.execute(f"SELECT {_BUCKET} FROM bucket WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return _bucket_of(row) if row else None

    def buckets(self) -> list[Bucket]:
        rows = self._db.execute(f"SELECT {_BUCKET} FROM bucket ORDER BY name")  # noqa: S608
        return [_bucket_of(row) for row in rows]

    def put_bucket(self, bucket: Bucket) -> None:
        """Add a bucket, or replace what is known of it."""
        self._db.execute(
            "INSERT INTO bucket(name, account, region, created_us, record) VALUES(?, ?, ?, ?, ?) ON CONFLICT(name) DO"
            " UPDATE SET account = excluded.account, region = excluded.region, created_us = excluded.created_us,"
            " record = excluded.record",
            (bucket.name, bucket.account, bucket.region, bucket.created_us, msgspec.json.encode(bucket)),
        )

    def remove_bucket(self, name: str) -> None:
        for table in ("part", "upload", "object"):
            self._db.execute(f"DELETE FROM {table} WHERE bucket = ?", (name,))  # noqa: S608 - names of this file
        self._db.execute("DELETE FROM bucket WHERE name = ?", (name,))

    def blobs(self, bucket: str) -> set[str]:
        """Every blob that something in the bucket refers to."""
        named = {row[0] for row in self._db.execute("SELECT blob FROM object WHERE bucket = ?", (bucket,))}
        named.update(row[0] for row in self._db.execute("SELECT blob FROM part WHERE bucket = ?", (bucket,)))
        tagged = self._db.execute("SELECT tag_blob FROM object WHERE bucket = ? AND tag_blob <> ''", (bucket,))
        named.update(row[0] for row in tagged)
        joined = self._db.execute("SELECT record FROM object WHERE bucket = ? AND etag LIKE '%-%'", (bucket,))
        for (record,) in joined:
            named.update(segment.blob for segment in _object.decode(record).segments)
        return named

    # objects

    def object(self, bucket: str, key: str) -> ObjectRecord | None:
        """The object that a key shows now; None where there is none, or the newest version is a delete marker."""
        return self._one(bucket, key, _VISIBLE)

    def newest(self, bucket: str, key: str) -> ObjectRecord | None:
        """The newest version of a key, which may be a delete marker."""
        return self._one(bucket, key, "current = 1")

    def version(self, bucket: str, key: str, version: str) -> ObjectRecord | None:
        """One version of a key, empty for the null version."""
        return self._one(bucket, key, "version = ?", version)

    def put_object(self, bucket: str, record: ObjectRecord) -> ObjectRecord | None:
        """Add a version, the null version in place of the one before, which is returned."""
        old = self.version(bucket, record.key, record.version)
        checksum = record.checksum
        self._db.execute(
            "INSERT OR REPLACE INTO object(bucket, key, version, size, etag, modified_us, storage_class,"
            " checksum_algorithm, checksum_kind, blob, record, current, marker, tag_blob)"
            " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
            (
                bucket,
                record.key.encode(),
                record.version,
                record.size,
                record.etag,
                record.modified_us,
                record.storage_class,
                checksum.algorithm if checksum else "",
                checksum.kind if checksum else "",
                record.blob,
                msgspec.json.encode(record),
                int(record.marker),
                record.tag_blob,
            ),
        )
        self._settle(bucket, record.key)
        return old

    def remove_version(self, bucket: str, key: str, version: str) -> ObjectRecord | None:
        """Remove one version and return it; None where there was none."""
        old = self.version(bucket, key, version)
        if old is not None:
            self._db.execute(
                "DELETE FROM object WHERE bucket = ? AND key = ? AND version = ?", (bucket, key.encode(), version)
            )
            self._settle(bucket, key)
        return old

    def any_version(self, bucket: str) -> bool:
        return self._db.execute("SELECT 1 FROM object WHERE bucket = ? LIMIT 1", (bucket,)).fetchone() is not None

    def entries(self, bucket: str, first: bytes, below: bytes | None, *, after: bool) -> Iterator[tuple[bytes, Entry]]:
        """Entries from `first` (without it where `after`) up to, not including, `below` (None: to the end)."""
        bound = "" if below is None else " AND key < ?"
        query = (
            f"SELECT key, {_ENTRY} FROM object"  # noqa: S608
            f" WHERE bucket = ? AND {_VISIBLE} AND key {'>' if after else '>='} ?{bound} ORDER BY key"
        )
        values: list[str | bytes] = [bucket, first]
        if below is not None:
            values.append(below)
        for row in self._db.execute(query, values):
            yield row[0], Entry(row[0].decode(), *row[1:])

    def versions(
        self, bucket: str, first: bytes, below: bytes | None, age: tuple[int, str] | None
    ) -> Iterator[tuple[bytes, VersionEntry]]:
        """Versions by key, the newest of each key first, from key `first` up to, not including, `below`.

        `age` (modified_us, blob): of the key `first` only versions older than that.
        """
        # Two queries: an OR over both would not be one range of the index.
        order = "ORDER BY key, modified_us DESC, blob DESC"
        columns = f"key, version, current, marker, {_ENTRY}"
        if age is not None:
            rows = self._db.execute(
                f"SELECT {columns} FROM object WHERE bucket = ? AND key = ? AND (modified_us, blob) < (?, ?) {order}",  # noqa: S608
                (bucket, first, *age),
            )
            yield from map(_version_of, rows)
        bound = "" if below is None else " AND key < ?"
        values: list[str | bytes] = [bucket, first]
        if below is not None:
            values.append(below)
        rows = self._db.execute(
            f"SELECT {columns} FROM object WHERE bucket = ? AND key {'>=' if age is None else '>'} ?{bound} {order}",  # noqa: S608
            values,
        )
        yield from map(_version_of, rows)

    def _one(self, bucket: str, key: str, which: str, *values: str) -> ObjectRecord | None:
        row = self._db.execute(
            f"SELECT record FROM object WHERE bucket = ? AND key = ? AND {which}",  # noqa: S608
            (bucket, key.encode(), *values),
        ).fetchone()
        return _object.decode(row[0]) if row else None

    def _settle(self, bucket: str, key: str) -> None:
        """Mark the newest version of a key as its current one."""
        where = (bucket, key.encode())
        newest = self._db.execute(
            f"SELECT rowid, current FROM object WHERE bucket = ? AND key = ? {_NEWEST} LIMIT 1",  # noqa: S608
            where,
        ).fetchone()
        if newest is not None and not newest[1]:
            self._db.execute("UPDATE object SET current = 0 WHERE bucket = ? AND key = ? AND current = 1", where)
            self._db.execute("UPDATE object SET current = 1 WHERE rowid = ?", newest[:1])

    # uploads

    def upload(self, bucket: str, key: str, upload_id: str) -> Upload | None:
        row = self._db.execute(
            "SELECT record FROM upload WHERE upload_id = ? AND bucket = ? AND key = ?",
            (upload_id, bucket, key.encode()),
        ).fetchone()
        return _upload.decode(row[0]) if row else None

    def add_upload(self, bucket: str, upload: Upload) -> None:
        self._db.execute(
            "INSERT INTO upload(upload_id, bucket, key, record) VALUES(?, ?, ?, ?)",
            (upload.upload_id, bucket, upload.key.encode(), msgspec.json.encode(upload)),
        )

    def remove_upload(self, upload_id: str) -> None:
        self._db.execute("DELETE FROM part WHERE upload_id = ?", (upload_id,))
        self._db.execute("DELETE FROM upload WHERE upload_id = ?", (upload_id,))

    def uploads(self, bucket: str, first: bytes, below: bytes | None, after_id: str) -> Iterator[tuple[bytes, Upload]]:
        """Uploads by key, then by id, from `first` on; of `first` itself only ids above `after_id`."""
        bound = "" if below is None else " AND key < ?"
        query = (
            "SELECT key, record FROM upload WHERE bucket = ? AND key >= ? AND (key > ? OR upload_id > ?)"  # noqa: S608
            f"{bound} ORDER BY key, upload_id"
        )
        values: list[str | bytes] = [bucket, first, first, after_id]
        if below is not None:
            values.append(below)
        for key, record in self._db.execute(query, values):
            yield key, _upload.decode(record)

    def part(self, upload_id: str, number: int) -> PartRecord | None:
        row = self._db.execute(
            "SELECT record FROM part WHERE upload_id = ? AND number = ?", (upload_id, number)
        ).fetchone()
        return _part.decode(row[0]) if row else None

    def put_part(self, bucket: str, part: PartRecord) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO part(upload_id, number, bucket, blob, record) VALUES(?, ?, ?, ?, ?)",
            (part.upload_id, part.number, bucket, part.blob, msgspec.json.encode(part)),
        )

    def parts(self, upload_id: str, after: int = 0) -> Iterator[PartRecord]:
        """Parts of an upload in ascending order, those above `after`."""
        rows = self._db.execute(
            "SELECT record FROM part WHERE upload_id = ? AND number > ? ORDER BY number", (upload_id, after)
        )
        for (record,) in rows:
            yield _part.decode(record)


def _bucket_of(row: tuple[str, str, str, int, bytes | None]) -> Bucket:
    return Bucket(*row[:4]) if row[4] is None else _bucket.decode(row[4])


def _version_of(row: sqlite3.Row) -> tuple[bytes, VersionEntry]:
    key, version, current, marker = row[:4]
    return key, VersionEntry(Entry(key.decode(), *row[4:]), version, bool(current), bool(marker))
