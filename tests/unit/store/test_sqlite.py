"""What is SQLite's own; what every store is stands in tests/contract/test_store.py."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, text

from clary.domain.principal import Scope
from clary.store import migrate
from clary.store.base import StoreFormatError
from clary.store.documents import pack, unpack
from clary.store.sqlite import SqliteStore
from clary.store.tables import tags


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "clary.db")
    yield store
    store.close()


def add(key: str) -> object:
    return lambda connection: connection.execute(insert(tags).values(resource_uid="u", key=key, value="v"))


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def keys(connection: Connection) -> list[str]:
    return list(connection.execute(select(tags.c.key).order_by(tags.c.key)).scalars())


def test_every_step_is_known_and_in_order() -> None:
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == migrate.STEPS


async def test_it_is_durable_private_and_waits_for_no_reader(tmp_path: Path, store: SqliteStore) -> None:
    def pragmas(connection: Connection) -> list[object]:
        return [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]

    assert await store.write(pragmas) == ["wal", 2]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(tmp_path)} == {0o600}


async def test_what_was_acknowledged_is_there_after_a_crash(tmp_path: Path, store: SqliteStore) -> None:
    await store.write(add("a"))  # type: ignore[arg-type]
    # As a kill leaves it: the file and its log, never closed.
    for path in files(tmp_path):
        (tmp_path / f"copy-{path.name}").write_bytes(path.read_bytes())
    again = SqliteStore(tmp_path / "copy-clary.db")
    assert await again.read(keys) == ["a"]
    again.close()


def test_a_document_of_a_newer_version_is_refused() -> None:
    assert unpack(pack(Scope("a", "r")), Scope) == Scope("a", "r")
    with pytest.raises(StoreFormatError, match="a stored Scope has version 2; this Clary reads 1"):
        unpack(pack(Scope("a", "r")).replace('"version":1', '"version":2'), Scope)
