"""The store on one SQLite file.

One writer at a time on a thread of its own, BEGIN IMMEDIATE: with deferred BEGIN, three writers made 125 of 180
transactions fail with `database is locked`, since SQLite refuses to upgrade a stale read to a write. Write-ahead log,
so that readers never wait; synchronous=FULL, so that what was acknowledged survives a power cut.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from clary.kit.threads import Threads
from clary.store.base import Signal
from clary.store.migrate import Database, migrate

Result = TypeVar("Result")


@dataclass(frozen=True)
class SqliteOptions:
    """How the file is used."""

    busy_timeout_ms: int = 5_000
    """Wait for another process's lock (a backup tool), in milliseconds; Clary itself has one writer."""
    readers_max: int = 4
    """Read transactions at once; more wait. Reads are short: four cover two cores and the waits on disk."""


class SqliteStore:
    """Implements store.base.Store."""

    def __init__(self, path: Path, options: SqliteOptions = SqliteOptions()) -> None:
        """Open or create the database at `path` and bring it to this schema. Blocking; raises StoreFormatError."""
        self.signal = Signal()
        # Created by us first: SQLite would make it readable by others under a loose umask, its -wal beside it too.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._writer = _engine(path, options, begin="BEGIN IMMEDIATE", connections=1)
        self._reader = _engine(path, options, begin="BEGIN", connections=options.readers_max)
        self._write_thread = Threads("store-write", 1)
        self._read_threads = Threads("store-read", options.readers_max)
        try:
            migrate(self._writer, database_of(path))
        except BaseException:
            self.close()
            raise

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        def run() -> Result:
            with self._reader.begin() as connection:
                return work(connection)

        return await self._read_threads.run(run)

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        def run() -> Result:
            with self._writer.begin() as connection:
                return work(connection)

        try:
            return await self._write_thread.run(run)
        finally:
            # Also after an error or a cancelled caller: the commit may have happened, and a spare wake harms nobody.
            self.signal.notify()

    async def run(self) -> None:
        """Nothing to watch: a file does not go away."""
        await asyncio.Event().wait()

    def close(self) -> None:
        """Wait for running transactions and close the file. Blocking."""
        self._write_thread.close()
        self._read_threads.close()
        self._writer.dispose()
        self._reader.dispose()


def database_of(path: Path) -> Database:
    """The file, as migrating sees it."""
    return Database(
        str(path),
        "Move it away or choose another --home.",
        lambda _, step: _copy(path, path.with_name(f"{path.name}.before-{step}")),
    )


def _copy(source: Path, target: Path) -> None:
    """A consistent copy through SQLite itself: the file alone lacks what is still in the write-ahead log."""
    old, new = sqlite3.connect(source), sqlite3.connect(target)
    try:
        old.backup(new)
    finally:
        new.close()
        old.close()
    target.chmod(0o600)


def _engine(path: Path, options: SqliteOptions, *, begin: str, connections: int) -> Engine:
    """An engine whose transactions start with `begin`, on at most `connections` connections."""
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": options.busy_timeout_ms / 1000},
    )

    @event.listens_for(engine, "connect")
    def set_up(raw: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # None: the driver starts no transactions of its own; `begin` below does.
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        if begin == "BEGIN":
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
