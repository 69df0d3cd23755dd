"""Which errors say that the disk is full."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from clary.kit.disk import is_full


def test_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full, Path("/dev/full").open("wb", buffering=0) as out:
        out.write(b"x")
    assert is_full(full.value)
    assert is_full(OSError(errno.EDQUOT, "quota"))
    assert not is_full(FileNotFoundError(errno.ENOENT, "gone"))
    assert not is_full(ValueError("28"))


def test_sqlite_also_below_another_error(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as plain:
        plain.execute("CREATE TABLE t (x)")
        plain.execute("PRAGMA max_page_count = 3")
        with pytest.raises(sqlite3.OperationalError) as full:
            plain.execute("INSERT INTO t VALUES (zeroblob(100000))")
    plain.close()
    assert is_full(full.value)
    engine = create_engine(f"sqlite:///{tmp_path / 'b.db'}")
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        connection.execute(text("PRAGMA max_page_count = 3"))
        with pytest.raises(OperationalError) as wrapped:
            connection.execute(text("INSERT INTO t VALUES (zeroblob(100000))"))
    engine.dispose()
    assert is_full(wrapped.value)
    assert not is_full(sqlite3.ProgrammingError("closed"))
