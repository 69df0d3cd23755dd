"""All rows of a PostgreSQL store out of it and into it, for backups: between, they lie in a file of SQLite's store.

So an archive is the same whatever the store was, and one made on either is restored into the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from clary.store.address import Address, session_name
from clary.store.base import StoreFormatError, StoreUnavailableError
from clary.store.migrate import STEPS, raise_schema, schema_of
from clary.store.postgres_engine import WRITE_LOCK, Connector, HeldError, cause_of, database_of
from clary.store.sqlite import SqliteStore
from clary.store.tables import metadata

_ROWS = 500
"""Rows on their way at once."""


@contextlib.contextmanager
def writers_held(address: Address, timeout_s: float) -> Iterator[None]:
    """Nobody writes to the store meanwhile; readers go on. StoreUnavailableError where writers take longer."""
    with _transaction(address) as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{timeout_s:.0f}s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({WRITE_LOCK}, hashtext(current_schema()))"))
        yield


@contextlib.contextmanager
def pinned(address: Address) -> Iterator[Callable[[Path], None]]:
    """The store as it is now, whatever is written later: a function that copies it into a file, which it makes.

    Raises StoreUnavailableError, and StoreFormatError where the store does not have this Clary's schema.
    """
    with _transaction(address) as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        # A snapshot begins with the first read.
        schema = schema_of(connection, database_of(address))
        if schema is None:
            raise StoreFormatError(f"The store {address} is empty: no Clary has used it.")
        if schema != STEPS[-1]:
            raise StoreFormatError(
                f"The store {address} has schema {schema}, this Clary {STEPS[-1]}: use the Clary that serves it."
            )

        def copy(path: Path) -> None:
            with _file(path) as target:
                _copy_rows(connection, target)

        yield copy


@contextlib.contextmanager
def filled(address: Address, path: Path) -> Iterator[Callable[[], None]]:
    """The store with the rows of the file at `path` in the place of its own, once what is yielded is called.

    The file is raised to this Clary's schema. Raises StoreUnavailableError, also where a server uses the store, and
    StoreFormatError.
    """
    SqliteStore(path).close()
    with _transaction(address, control=True) as connection, _file(path) as source:
        raise_schema(connection, database_of(address))
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        # Not DELETE: a trigger keeps the audit.
        connection.execute(text(f"TRUNCATE {names}"))
        _copy_rows(source, connection)
        _continue_numbers(connection)
        yield connection.commit


def used(address: Address) -> bool:
    """Whether a Clary's tables are there. Raises StoreUnavailableError, StoreFormatError."""
    with _transaction(address) as connection:
        return schema_of(connection, database_of(address)) is not None


def facts_of(address: Address) -> str:
    """Server and schema in a few words. Raises StoreUnavailableError, StoreFormatError."""
    with _transaction(address) as connection:
        version = connection.execute(text("SHOW server_version")).scalar_one()
        return f"PostgreSQL {version}, schema {schema_of(connection, database_of(address)) or 'none yet'}"


@contextlib.contextmanager
def _transaction(address: Address, *, control: bool = False) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back unless it is committed within. `control`: with its lock."""
    connector = Connector(address, session_name("clary restore" if control else "clary"))
    engine = connector.writing_engine() if control else connector.tool_engine()
    try:
        with engine.connect() as connection:
            yield connection
    except HeldError as held:
        raise StoreUnavailableError(f"The store {address} is in use: {held.holder}. Stop that one first.") from None
    except (OperationalError, DBAPIError) as error:
        raise StoreUnavailableError(f"The store {address} cannot be used: {cause_of(error)}.") from error
    finally:
        engine.dispose()


@contextlib.contextmanager
def _file(path: Path) -> Iterator[Connection]:
    """A file with SQLite's store, made with the present schema where there is none; committed at the end."""
    if not path.exists():
        SqliteStore(path).close()
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _copy_rows(source: Connection, target: Connection) -> None:
    for table in metadata.sorted_tables:
        rows = source.execution_options(yield_per=_ROWS).execute(select(table)).mappings()
        for some in rows.partitions(_ROWS):
            target.execute(table.insert(), [dict(row) for row in some])


def _continue_numbers(connection: Connection) -> None:
    """Rows that come get numbers after those that are there."""
    for table in metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        newest = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        connection.execute(select(func.setval(sequence, newest, False)))
