"""Bring a database to this Clary's schema, or refuse it.

One transaction; a copy of the old file is made first; alembic is imported only when there is work.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from clary.store.base import StoreFormatError

STEPS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""Every schema revision, oldest first; a test compares it with the scripts."""


def migrate(engine: Engine, path: Path) -> None:
    """Upgrade the database behind `engine` (a file at `path`) to the last of STEPS."""
    with engine.begin() as connection:
        current = _current(connection, path)
        if current == STEPS[-1]:
            return
        if current is not None:
            _backup(path, path.with_name(f"{path.name}.before-{STEPS[-1]}"))
        _upgrade(connection)


def _current(connection: Connection, path: Path) -> str | None:
    """The revision of the file; None for an empty one."""
    tables = {row[0] for row in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))}
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise StoreFormatError(f"{path} is a database, but not Clary's. Move it away or choose another --home.")
    current = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    if current not in STEPS:
        raise StoreFormatError(
            f"{path} has schema {current}; this Clary knows up to {STEPS[-1]}. "
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


def _backup(source: Path, target: Path) -> None:
    """A consistent copy through SQLite itself: the file alone lacks what is still in the write-ahead log."""
    old, new = sqlite3.connect(source), sqlite3.connect(target)
    try:
        old.backup(new)
    finally:
        new.close()
        old.close()
    target.chmod(0o600)
