"""Connections to PostgreSQL as Clary needs them: the control's lock, text that is SQLite's, failures told apart.

What SQLite and PostgreSQL differ in ends here, so that tables, migrations and queries are written once: a column of
text has no length and is compared by its bytes (COLLATE "C"), an Integer has 64 bits, and a text may hold a NUL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.adapt import Buffer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.string import StrDumperUnknown, TextLoader
from sqlalchemy import Column, Connection, Engine, create_engine, event, text
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool
from sqlalchemy.types import Integer

from clary.store.address import Address
from clary.store.base import StoreFormatError
from clary.store.migrate import Database

VERSION_MIN = 13
"""pg_current_xact_id and pg_xact_status."""
CONTROL_LOCK, WRITE_LOCK = 0x434C4101, 0x434C4102
"""Classes of advisory locks ("CLA" and a number), beside the hash of the schema's name: held by control as long as it
is connected; held within every write."""
_DEFAULTS = {
    "connect_timeout": "5",
    # A peer that vanished is known as gone after ten seconds, here and (by _SERVER_SIDE) there.
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # Of several hosts the one that is no standby.
    "target_session_attrs": "read-write",
}
"""libpq's parameters where the URL does not give them."""
_SERVER_SIDE = (
    "SELECT set_config('tcp_keepalives_idle', '4', false), set_config('tcp_keepalives_interval', '2', false), "
    "set_config('tcp_keepalives_count', '3', false), set_config('synchronous_commit', "
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, "
    "false)"
)
_TAKE = "SELECT pg_try_advisory_lock(%s, hashtext(current_schema()))"
_HOLDER = (
    "SELECT pid, application_name FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE granted "
    "AND locktype = 'advisory' AND classid = %s AND objid::int8 = hashtext(current_schema())::int8 & 4294967295 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_GONE = ("08", "57P")
"""Beginnings of SQLSTATEs after which there is no connection: connection exceptions, and a server that ends."""


class HeldError(Exception):
    """Another session holds the control's lock."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class Connector:
    """Makes the engines of one process on one database."""

    def __init__(self, address: Address, session: str) -> None:
        """`session`: its name in pg_stat_activity."""
        self._address = address
        self._session = session

    def writing_engine(self) -> Engine:
        """One connection, which holds the control's lock. Connecting raises HeldError where another session has it."""
        return _engine(self._connect_control, 1)

    def reading_engine(self, connections: int) -> Engine:
        """Transactions that see one snapshot and write nothing."""
        return _engine(self._connect_reader, connections)

    def tool_engine(self) -> Engine:
        """One connection without the control's lock."""
        return _engine(self._connect, 1)

    def _connect(self) -> psycopg.Connection[Any]:
        """Raises psycopg.Error, and StoreFormatError for a server that cannot hold the store."""
        parameters: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(self._address.url)}
        parameters |= {"application_name": self._session, "client_encoding": "UTF8"}
        if self._address.password:
            parameters["password"] = self._address.password
        connection = psycopg.connect(make_conninfo(**parameters))
        with _closing_on_error(connection):
            _check_server(connection, self._address)
            connection.adapters.register_dumper(str, _NulDumper)
            for kind in ("text", "varchar"):
                connection.adapters.register_loader(kind, _NulLoader)
            connection.execute(_SERVER_SIDE)
            connection.commit()
        return connection

    def _connect_reader(self) -> psycopg.Connection[Any]:
        connection = self._connect()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return connection

    def _connect_control(self) -> psycopg.Connection[Any]:
        connection = self._connect()
        with _closing_on_error(connection):
            if not _take(connection):
                pid, holder = connection.execute(_HOLDER, (CONTROL_LOCK,)).fetchone() or (0, "")
                if holder == self._session:
                    # This process's own, whose end the server has not noticed yet.
                    connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
                raise HeldError(holder or "a session that ended just now")
            connection.commit()
        return connection


def database_of(address: Address) -> Database:
    """The database, as migrating sees it."""
    remedy = "Name an empty database, or an empty schema with ?options=-csearch_path%3DNAME."
    return Database(f"The store {address}", remedy, _keep_tables)


def cause_of(error: BaseException) -> str:
    """The first line of what libpq or the server says; it never holds a password."""
    said = str(error.orig if isinstance(error, DBAPIError) and error.orig is not None else error).strip()
    return said.splitlines()[0].rstrip(".") if said else type(error).__name__


def _engine(connect: Any, connections: int) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        # Parameters hold sealed secrets and documents: errors need not.
        hide_parameters=True,
    )
    engine.dialect.type_compiler_instance = _Types(engine.dialect)
    engine.dialect.colspecs = {**engine.dialect.colspecs, Integer: _Integer}

    @event.listens_for(engine, "handle_error")
    def tell_gone(context: ExceptionContext) -> None:
        # The server's last words arrive before the end of the connection does.
        if (getattr(context.original_exception, "sqlstate", None) or "").startswith(_GONE):
            context.is_disconnect = True

    return engine


def _take(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(_TAKE, (CONTROL_LOCK,)).fetchone()
    return bool(row and row[0])


def _check_server(connection: psycopg.Connection[Any], address: Address) -> None:
    if connection.info.server_version < VERSION_MIN * 10_000:
        version = connection.info.server_version // 10_000
        raise StoreFormatError(f"The store {address} is PostgreSQL {version}; Clary needs {VERSION_MIN} or newer.")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreFormatError(
            f"The store {address} has the encoding {encoding}; create the database with ENCODING 'UTF8'."
        )
    row = connection.execute("SELECT current_schema()").fetchone()
    if row is None or row[0] is None:
        raise StoreFormatError(f"The store {address} has no schema of its search_path: create it first.")


@contextlib.contextmanager
def _closing_on_error(connection: psycopg.Connection[Any]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _keep_tables(connection: Connection, step: str) -> None:
    """Copies of all tables, without their indexes, in a schema of their own: SCHEMA_before_STEP."""
    schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    target = _quoted(f"{schema}_before_{step}")
    allowed = "SELECT has_database_privilege(current_database(), 'CREATE'), current_database(), current_user"
    may, database, user = connection.execute(text(allowed)).one()
    if not may:
        raise StoreFormatError(
            f"The store must be raised to schema {step}, which keeps a copy of its tables in the schema {target}: "
            f"GRANT CREATE ON DATABASE {_quoted(database)} TO {_quoted(user)}."
        )
    connection.execute(text(f"DROP SCHEMA IF EXISTS {target} CASCADE"))
    connection.execute(text(f"CREATE SCHEMA {target}"))
    for table in connection.dialect.get_table_names(connection):
        name = _quoted(table)
        connection.execute(text(f"CREATE TABLE {target}.{name} AS TABLE {_quoted(schema)}.{name}"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""').replace(":", "\\:") + '"'


class _Types(PGTypeCompiler):
    """Column types that hold what SQLite's hold."""

    def visit_string(self, *_: Any, **kw: Any) -> str:
        # Only a column's definition takes a collation; a cast does not.
        return 'TEXT COLLATE "C"' if isinstance(kw.get("type_expression"), Column) else "TEXT"

    visit_text = visit_string

    def visit_integer(self, *_: Any, **kw: Any) -> str:
        return "BIGINT" if isinstance(kw.get("type_expression"), Column) else "INTEGER"


class _Integer(Integer):
    """A value of it is sent as what it fits into, without a cast to 32 bits."""

    render_bind_cast = False


_ESCAPE = "\uffff"
"""No character (Unicode, 23.7); itself and NUL, which PostgreSQL's text cannot hold, are written as two."""


class _NulDumper(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        if "\0" in obj or _ESCAPE in obj:
            obj = obj.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")
        return super().dump(obj)


class _NulLoader(TextLoader):
    def load(self, data: Buffer) -> bytes | str:
        said = super().load(data)
        if isinstance(said, str) and _ESCAPE in said:
            said = said.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)
        return said
