"""The store on a PostgreSQL database.

One writer, as on SQLite: write transactions go through one connection, which holds a session lock of the database for
as long as it lives. So a control that lost its connection writes nothing until it has the lock back, and another
control on the same database is refused. Readers see one snapshot each.

A lost connection fails nobody at once: work whose transaction did not happen runs again on the next connection. Where
the connection was lost just while committing, PostgreSQL is asked what became of the transaction (pg_xact_status).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from clary.kit.backoff import Backoff
from clary.kit.clock import Clock
from clary.kit.threads import Threads
from clary.store.address import Address, session_name
from clary.store.base import Signal, StoreUnavailableError, patience_s
from clary.store.migrate import migrate
from clary.store.postgres_engine import WRITE_LOCK, Connector, HeldError, cause_of, database_of

Result = TypeVar("Result")
_log = structlog.get_logger(__name__)
ALONE = text(
    f"SELECT pg_advisory_xact_lock({WRITE_LOCK}, hashtext(current_schema())), CAST(pg_current_xact_id() AS text)"
)
"""First statement of every write: no other writes meanwhile (a backup holds writers up with the same lock); its id."""
_STATUS = text("SELECT pg_xact_status(CAST(CAST(:xid AS text) AS xid8))")


@dataclass(frozen=True)
class PostgresOptions:
    """How the database is used."""

    readers_max: int = 4
    """Read transactions at once; more wait."""
    lock_wait_s: float = 4.0
    """Seconds in which another control's lock may go. A dead machine's session ends within ten (postgres_engine): the
    agent starts control three times before it gives up."""
    beat_s: float = 10.0
    """Seconds between looks at the writing connection: a lock that was lost with it is taken back soon."""
    backoff: Backoff = field(default_factory=lambda: Backoff(max_s=2.0))
    """Waits between attempts."""


class _AwayError(Exception):
    """The connection was refused or lost; the transaction did not happen."""


class _DoubtError(Exception):
    """The connection was lost while committing the transaction `xid`, whose work gave `result`."""

    def __init__(self, xid: str, result: Any) -> None:
        super().__init__(xid)
        self.xid = xid
        self.result = result


class PostgresStore:
    """Implements store.base.OpenStore. Reads and writes wait for a database that is away, as long as they may."""

    def __init__(self, address: Address, clock: Clock, options: PostgresOptions = PostgresOptions()) -> None:
        """Connects to nothing yet: `await open()` does."""
        self.signal = Signal()
        self.options = options
        self._address = address
        self._clock = clock
        connector = Connector(address, session_name("clary control"))
        self._writer = connector.writing_engine()
        self._reader = connector.reading_engine(options.readers_max)
        self._write_thread = Threads("store-write", 1)
        self._read_threads = Threads("store-read", options.readers_max)

    async def open(self) -> None:
        """Take the lock and bring the database to this schema. Raises StoreFormatError, StoreUnavailableError."""

        def run() -> None:
            with _connected(self._writer):
                pass
            migrate(self._writer, database_of(self._address))

        try:
            await self._patiently(lambda: self._write_thread.run(run), 0.0)
        except BaseException:
            self.close()
            raise

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        def run() -> Result:
            with _connected(self._reader) as connection, connection.begin():
                return work(connection)

        return await self._patiently(lambda: self._read_threads.run(run), patience_s.get())

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        def run() -> Result:
            with _connected(self._writer) as connection:
                return _write(connection, work)

        async def once() -> Result:
            try:
                return await self._write_thread.run(run)
            except _DoubtError as doubt:
                if await self._happened(doubt.xid):
                    result: Result = doubt.result
                    return result
                raise _AwayError("the connection was lost while committing") from doubt

        try:
            return await self._patiently(once, patience_s.get())
        finally:
            # Also after an error or a cancelled caller: the commit may have happened, and a spare wake harms nobody.
            self.signal.notify()

    async def run(self) -> None:
        """Hold on to the lock. Raises StoreUnavailableError once another control has it."""

        def beat() -> None:
            with _connected(self._writer) as connection, connection.begin():
                connection.execute(text("SELECT 1"))

        while True:
            await self._clock.sleep(self.options.beat_s)
            await self._patiently(lambda: self._write_thread.run(beat), math.inf)

    def close(self) -> None:
        """Wait for running transactions and close the connections. Blocking."""
        self._write_thread.close()
        self._read_threads.close()
        self._writer.dispose()
        self._reader.dispose()

    async def _happened(self, xid: str) -> bool:
        """What became of a transaction of ours."""
        failures = 0
        while True:
            status = await self.read(lambda connection: connection.execute(_STATUS, {"xid": xid}).scalar())
            if status != "in progress":
                return bool(status == "committed")
            failures += 1
            await self._clock.sleep(self.options.backoff.wait_s(failures))

    async def _patiently(self, attempt: Callable[[], Awaitable[Result]], away_s: float) -> Result:
        """`attempt`, again after each _AwayError until `away_s` are over, and while another holds the lock."""
        since_s, failures = self._clock.monotonic_s(), 0
        while True:
            try:
                result = await attempt()
            except _AwayError as error:
                cause, over = str(error), self._clock.monotonic_s() - since_s >= away_s
                said = f"The store {self._address} cannot be reached: {cause}. Start or mend it, or look at --store."
            except HeldError as error:
                cause, over = str(error), self._clock.monotonic_s() - since_s >= self.options.lock_wait_s
                said = (
                    f"The store {self._address} is in use by another Clary: {error.holder}. "
                    "Stop that one, or name another database with --store."
                )
            else:
                if failures:
                    _log.info("the store is back", failures=failures)
                return result
            if over:
                raise StoreUnavailableError(said)
            if not failures:
                _log.warning("the store is away", store=str(self._address), cause=cause)
            failures += 1
            await self._clock.sleep(self.options.backoff.wait_s(failures))


def _write(connection: Connection, work: Callable[[Connection], Result]) -> Result:
    """`work` alone in a transaction. Raises _DoubtError where the connection is lost while committing."""
    transaction = connection.begin()
    try:
        xid = str(connection.execute(ALONE).one()[1])
        result = work(connection)
    except BaseException:
        transaction.rollback()
        raise
    try:
        transaction.commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _DoubtError(xid, result) from error
        raise
    return result


@contextlib.contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    """A connection. Raises _AwayError where there is none, or it is lost within; HeldError; StoreFormatError."""
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise _AwayError(cause_of(error)) from error
    with connection:
        try:
            yield connection
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _AwayError(cause_of(error)) from error
            raise
