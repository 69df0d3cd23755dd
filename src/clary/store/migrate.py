"""Bring a database to this Clary's schema, or refuse it.

One transaction; a copy of what is there is made first; alembic is imported only when there is work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from clary.store.base import StoreFormatError

STEPS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012")
"""Every schema revision, oldest first; a test compares it with the scripts."""


@dataclass(frozen=True)
class Database:
    """What migrating needs to know of a database."""

    name: str
    """In messages: a path or a URL."""
    elsewhere: str
    """The remedy where it holds somebody else's tables, a sentence."""
    keep: Callable[[Connection, str], None]
    """Copies all tables as they are before they are raised to the step given; may raise StoreFormatError."""


def migrate(engine: Engine, database: Database) -> None:
    """Upgrade the database behind `engine` to the last of STEPS, in one transaction. Raises StoreFormatError."""
    with engine.begin() as connection:
        raise_schema(connection, database)


def raise_schema(connection: Connection, database: Database) -> None:
    """Upgrade within the transaction that `connection` is in."""
    current = schema_of(connection, database)
    if current == STEPS[-1]:
        return
    if current is not None:
        database.keep(connection, STEPS[-1])
    _upgrade(connection)


def schema_of(connection: Connection, database: Database) -> str | None:
    """The revision; None for an empty database. Raises StoreFormatError for another program's or a newer one."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise StoreFormatError(f"{database.name} is a database, but not Clary's. {database.elsewhere}")
    current = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    if current not in STEPS:
        raise StoreFormatError(
            f"{database.name} has schema {current}; this Clary knows up to {STEPS[-1]}. "
            "Use the Clary that wrote it, or a newer one."
        )
    return current


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, STEPS[-1])
