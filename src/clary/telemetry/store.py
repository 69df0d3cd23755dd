"""The small metric store: one SQLite file with roll-ups, written in one transaction a second, and droppable.

Roll-ups are kept as CloudWatch keeps them (API reference, GetMetricStatistics): below 60 s for 3 hours, 60 s for
15 days, 300 s for 63 days, 3600 s for 455 days. A file that is broken, or of another format, is moved aside and begun
anew: metrics are worth keeping, and never worth an outage.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clary.domain.errors import LimitExceeded
from clary.kit.clock import MICROS
from clary.telemetry.custom import is_reserved
from clary.telemetry.delta import Delta
from clary.telemetry.points import Cell, Sample, SeriesKey, encode_dimensions, samples_of
from clary.telemetry.room import Room, used_bytes
from clary.telemetry.sketch import merge_encoded

FORMAT = 1
RETENTION_S = {1: 3 * 3600, 10: 3 * 3600, 60: 15 * 86400, 300: 63 * 86400, 3600: 455 * 86400}
"""Seconds for which a roll-up is kept, by its resolution in seconds."""
FUTURE_S_MAX = 7200
"""Points later than this from now are refused, as PutMetricData refuses them."""

Result = TypeVar("Result")

_SCHEMA = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, namespace TEXT NOT NULL, metric TEXT NOT NULL,
    dimensions TEXT NOT NULL, unit TEXT NOT NULL, resource TEXT NOT NULL, part TEXT NOT NULL, last_s INTEGER NOT NULL,
    UNIQUE (account, region, namespace, metric, dimensions, unit, resource, part));
CREATE TABLE point (
    series INTEGER NOT NULL, resolution INTEGER NOT NULL, at INTEGER NOT NULL,
    count REAL NOT NULL, sum REAL NOT NULL, min REAL, max REAL, sketch BLOB,
    PRIMARY KEY (series, resolution, at)) WITHOUT ROWID;
CREATE TABLE taken (
    router TEXT NOT NULL, boot_id TEXT NOT NULL, sequence INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (router, boot_id)) WITHOUT ROWID;
"""
_LOG_MARKS = """
CREATE TABLE IF NOT EXISTS log_mark (log TEXT NOT NULL PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID
"""
_UPSERT = """
INSERT INTO point (series, resolution, at, count, sum, min, max, sketch) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET count = count + excluded.count, sum = sum + excluded.sum,
    min = coalesce(min(min, excluded.min), min, excluded.min),
    max = coalesce(max(max, excluded.max), max, excluded.max),
    sketch = merge_sketches(sketch, excluded.sketch)
"""
_KEY_COLUMNS = "account, region, namespace, metric, dimensions, unit, resource, part"


@dataclass(frozen=True)
class StoreOptions:
    """Limits of the metric store."""

    series_max: int = 100_000
    """Series kept; a point of one more is refused and counted. About 4,000 variants."""
    custom_series_max: int = 50_000
    """Of them, those in namespaces of users': what they publish never keeps an endpoint's metrics out."""
    prune_series: int = 256
    """Series whose old points are deleted in one step."""
    bytes_max: int = 4 << 30
    """Of the file: beyond, the finest points are kept for less time. About 3,000 busy series at full length."""


@dataclass(frozen=True)
class Pruned:
    """What one step of pruning did."""

    dropped: int
    """Points deleted before their time, for want of room."""
    kept_s: Mapping[int, int] | None
    """For how long points are kept from now on, by resolution, where that changed in this step."""


@dataclass(frozen=True)
class Taken:
    """What one step did."""

    deltas: int
    """New ones; those taken before are left out."""
    lost: int
    """Deltas that never arrived, by the gaps in their sequences."""
    refused: int
    """Samples refused: too many series, or a time that cannot be."""
    new: Sequence[Delta] = ()
    """Those that were not taken before."""
    moved_aside: Path | None = None
    """Where a broken file went in this step."""


class MetricStore:
    """One writer at a time, any number of readers, from any thread."""

    def __init__(self, path: Path, options: StoreOptions | None = None) -> None:
        self._path = path
        self._options = options or StoreOptions()
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._ids: dict[SeriesKey, int] = {}
        self._counts: list[int] | None = None
        """How many series there are, and how many of them are users'."""
        self._moved_aside: Path | None = None
        self._suspect = False
        """A reader met damage: the next write begins anew."""
        self._prune_after = 0
        self._room = Room(RETENTION_S, self._options.bytes_max)

    def close(self) -> None:
        """Finish what is written."""
        with self._lock:
            self._close()

    def take(self, deltas: Iterable[Delta], now_us: int) -> Taken:
        """Fold in the deltas that were not taken before, in one transaction: all of them, or none on an error."""
        new = list(deltas)
        return self._write(lambda db: self._take(db, new, now_us), now_us)

    def put(self, samples: Iterable[Sample], now_us: int) -> int:
        """Fold in samples from elsewhere, in one transaction. Gives how many were refused."""
        given = list(samples)
        return self._write(lambda db: self._fold(db, given, now_us), now_us)

    def record(self, samples: Iterable[Sample], now_us: int) -> None:
        """Fold in samples that somebody was promised: all of them, on the disk when this returns.

        LimitExceeded, with nothing folded in, where the series would be too many.
        """
        given = list(samples)

        def work(db: sqlite3.Connection) -> None:
            if self._fold(db, given, now_us):
                raise LimitExceeded("metrics of your own", self._options.custom_series_max, "series")

        self._write(work, now_us, durable=True)

    def put_logs(self, samples: Iterable[Sample], marks: Mapping[str, int], now_us: int) -> int:
        """`put`, together with how far each log was read that they come from, both or neither: nothing is counted
        twice after a crash, nothing lost. `marks`: position by name of the log, negative to forget it."""
        given = list(samples)

        def work(db: sqlite3.Connection) -> int:
            db.execute(_LOG_MARKS)
            upsert = "INSERT INTO log_mark VALUES (?, ?) ON CONFLICT DO UPDATE SET position = excluded.position"
            db.executemany(upsert, [(name, at) for name, at in marks.items() if at >= 0])
            db.executemany("DELETE FROM log_mark WHERE log = ?", [(name,) for name, at in marks.items() if at < 0])
            return self._fold(db, given, now_us)

        return self._write(work, now_us)

    def log_marks(self) -> dict[str, int]:
        """The marks that `put_logs` wrote."""

        def work(db: sqlite3.Connection) -> dict[str, int]:
            if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'log_mark'").fetchone():
                return {}
            return {str(name): int(at) for name, at in db.execute("SELECT log, position FROM log_mark")}

        return self.read(work)

    def prune(self, now_us: int) -> Pruned:
        """Delete what outlived its retention, for the next few series in turn."""
        return self._write(lambda db: self._prune(db, now_us // MICROS), now_us)

    def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` on one consistent, read-only view: an empty one where there is no store yet or it is broken."""
        try:
            with contextlib.closing(self._connect_to_read()) as db:
                db.execute("BEGIN")
                return work(db)
        except sqlite3.DatabaseError as error:
            # The file may be missing, or be another's: the next write puts that right.
            self._suspect = self._suspect or _is_broken(error)
            if not self._suspect and self._path.exists() and not _lacks_tables(error):
                raise
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            db.executescript(_SCHEMA)
            return work(db)

    def _connect_to_read(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)

    def _write(self, work: Callable[[sqlite3.Connection], Result], now_us: int, *, durable: bool = False) -> Result:
        """Run `work` in a transaction; with a broken file, once more in a new one. `durable`: on disk at the end."""
        with self._lock:
            try:
                return self._transact(work, now_us, durable)
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                self._move_aside(now_us)
                return self._transact(work, now_us, durable)

    def _transact(self, work: Callable[[sqlite3.Connection], Result], now_us: int, durable: bool) -> Result:
        db = self._open(now_us)
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            self._forget()
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return result

    def _open(self, now_us: int) -> sqlite3.Connection:
        if self._suspect:
            self._move_aside(now_us)
        if self._db is not None and _inode(self._path) == self._inode:
            return self._db
        self._close()
        db = self._connect()
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if version != FORMAT and tables:
            self._move_aside(now_us)
            db = self._connect()
            tables = 0
        if not tables:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        self._inode = _inode(self._path)
        return db

    def _connect(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5)
        self._db = db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.create_function("merge_sketches", 2, merge_encoded, deterministic=True)
        return db

    def _forget(self) -> None:
        """What is known of the file's series, once that may be wrong."""
        self._ids.clear()
        self._counts = None

    def _close(self) -> None:
        self._forget()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _move_aside(self, now_us: int) -> None:
        """Keep the newest broken file for whoever wants to look, and no more."""
        self._close()
        self._suspect = False
        for old in self._path.parent.glob(f"{self._path.name}.broken-*"):
            old.unlink()
        aside = self._path.with_name(f"{self._path.name}.broken-{now_us}")
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._moved_aside = aside

    def _take(self, db: sqlite3.Connection, deltas: list[Delta], now_us: int) -> Taken:
        last = {
            (router, boot_id): sequence
            for router, boot_id, sequence in db.execute("SELECT router, boot_id, sequence FROM taken")
        }
        lost = 0
        fresh: list[Delta] = []
        samples: list[Sample] = []
        for delta in deltas:
            life = (delta.router, delta.boot_id)
            known = last.get(life, 0)
            if delta.sequence <= known:
                continue
            lost += delta.sequence - known - 1
            last[life] = delta.sequence
            fresh.append(delta)
            samples.extend(samples_of(delta))
        refused = self._fold(db, samples, now_us)
        db.executemany(
            "INSERT INTO taken VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET sequence = excluded.sequence, at = excluded.at",
            [(*life, last[life], now_us // MICROS) for life in {(delta.router, delta.boot_id) for delta in deltas}],
        )
        moved, self._moved_aside = self._moved_aside, None
        return Taken(len(fresh), lost, refused, fresh, moved)

    def _fold(self, db: sqlite3.Connection, samples: list[Sample], now_us: int) -> int:
        now_s = now_us // MICROS
        refused = 0
        cells: dict[tuple[int, int, int], Cell] = {}
        latest: dict[int, int] = {}
        for sample in samples:
            if sample.at_s > now_s + FUTURE_S_MAX or (series := self._series_id(db, sample)) is None:
                refused += 1
                continue
            latest[series] = max(latest.get(series, 0), sample.at_s)
            for resolution_s, kept_s in self._room.kept_s.items():
                at_s = sample.at_s // resolution_s * resolution_s
                if resolution_s >= sample.resolution_s and at_s >= now_s - kept_s:
                    cells.setdefault((series, resolution_s, at_s), Cell()).merge(sample.cell)
        rows = (
            (*where, cell.count, cell.sum, cell.min, cell.max, cell.sketch.encode() if cell.sketch else None)
            for where, cell in sorted(cells.items())
        )
        db.executemany(_UPSERT, rows)
        db.executemany("UPDATE series SET last_s = max(last_s, ?) WHERE id = ?", [(at, s) for s, at in latest.items()])
        return refused

    def _series_id(self, db: sqlite3.Connection, sample: Sample) -> int | None:
        key = sample.key
        known = self._ids.get(key)
        if known is not None:
            return known
        values = (
            *(key.account, key.region, key.namespace, key.metric),
            *(encode_dimensions(key.dimensions), key.unit, key.resource, key.part),
        )
        match = " AND ".join(f"{column} = ?" for column in _KEY_COLUMNS.split(", "))
        row = db.execute(f"SELECT id FROM series WHERE {match}", values).fetchone()  # noqa: S608 - constant columns
        if row is None:
            if not self._has_room(db, key):
                return None
            insert = f"INSERT INTO series ({_KEY_COLUMNS}, last_s) VALUES ({'?, ' * 8}?) RETURNING id"  # noqa: S608
            row = db.execute(insert, (*values, sample.at_s)).fetchone()
        series: int = row[0]
        self._ids[key] = series
        return series

    def _has_room(self, db: sqlite3.Connection, key: SeriesKey) -> bool:
        """Whether one more series may be; it is counted if so."""
        if self._counts is None:
            namespaces = db.execute("SELECT namespace, count(*) FROM series GROUP BY namespace").fetchall()
            self._counts = [sum(n for _, n in namespaces), sum(n for name, n in namespaces if not is_reserved(name))]
        custom = not is_reserved(key.namespace)
        if self._counts[0] >= self._options.series_max:
            return False
        if custom and self._counts[1] >= self._options.custom_series_max:
            return False
        self._counts = [self._counts[0] + 1, self._counts[1] + custom]
        return True

    def _prune(self, db: sqlite3.Connection, now_s: int) -> Pruned:
        oldest_s = now_s - max(RETENTION_S.values())
        dropped, kept_s = 0, self._room.kept_s
        query = "SELECT id, last_s FROM series WHERE id > ? ORDER BY id LIMIT ?"
        rows = db.execute(query, (self._prune_after, self._options.prune_series)).fetchall()
        self._prune_after = rows[-1][0] if len(rows) == self._options.prune_series else 0
        for series, last_s in rows:
            for resolution_s, whole_s in RETENTION_S.items():
                delete = "DELETE FROM point WHERE series = ? AND resolution = ? AND at < ?"
                db.execute(delete, (series, resolution_s, now_s - whole_s))
                if kept_s[resolution_s] < whole_s:
                    dropped += db.execute(delete, (series, resolution_s, now_s - kept_s[resolution_s])).rowcount
            if last_s < oldest_s:
                db.execute("DELETE FROM series WHERE id = ?", (series,))
                self._forget()
        db.execute("DELETE FROM taken WHERE at < ?", (now_s - RETENTION_S[60],))
        # Only a whole round shows what the windows in force come to.
        changed = self._prune_after == 0 and self._room.settle(used_bytes(db))
        return Pruned(dropped, dict(self._room.kept_s) if changed else None)


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    # Errors raised by the module itself, not by SQLite, carry no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _lacks_tables(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR and "no such table" in str(error)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1
