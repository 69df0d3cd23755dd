"""The store on SQLite: transactions, threads, schema, refusals."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy.exc
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, insert, select, text

from clary.domain.principal import Principal, Scope
from clary.kit.clock import VirtualClock
from clary.store import migrate
from clary.store.base import StoreFormatError
from clary.store.documents import pack, unpack
from clary.store.records import CHANGES_MAX, Caller, Deed, announce, changes_after, last_change, record
from clary.store.sqlite import SqliteStore
from clary.store.tables import audit, changes, metadata, tags


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


async def test_the_schema_that_the_steps_make_is_the_one_in_the_tables(store: SqliteStore) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        # Comments live in the code: SQLite has none.
        return [found for found in compare_metadata(context, metadata) if "comment" not in str(found)]

    assert await store.read(differences) == []


def test_every_step_is_known_and_in_order() -> None:
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == migrate.STEPS


async def test_it_is_durable_private_and_waits_for_no_reader(tmp_path: Path, store: SqliteStore) -> None:
    def pragmas(connection: Connection) -> list[object]:
        return [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]

    assert await store.write(pragmas) == ["wal", 2]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(tmp_path)} == {0o600}


async def test_an_error_rolls_everything_back(store: SqliteStore) -> None:
    def work(connection: Connection) -> None:
        add("a")(connection)  # type: ignore[operator]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(work)
    assert await store.read(keys) == []


async def test_a_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
        await store.read(add("a"))  # type: ignore[arg-type]


async def test_many_writers_one_after_the_other_and_none_fails(store: SqliteStore) -> None:
    def increment(connection: Connection) -> None:
        count = connection.execute(select(func.count()).select_from(tags)).scalar_one()
        connection.execute(insert(tags).values(resource_uid="u", key=f"{count:04}", value="v"))

    await asyncio.gather(*(store.write(increment) for _ in range(200)), *(store.read(keys) for _ in range(50)))
    assert await store.read(keys) == [f"{index:04}" for index in range(200)]


async def test_what_was_acknowledged_is_there_after_a_crash(tmp_path: Path, store: SqliteStore) -> None:
    await store.write(add("a"))  # type: ignore[arg-type]
    # As a kill leaves it: the file and its log, never closed.
    for path in files(tmp_path):
        (tmp_path / f"copy-{path.name}").write_bytes(path.read_bytes())
    again = SqliteStore(tmp_path / "copy-clary.db")
    assert await again.read(keys) == ["a"]
    again.close()


async def test_a_newer_schema_is_refused_with_the_remedy(tmp_path: Path, store: SqliteStore) -> None:
    await store.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(StoreFormatError, match=rf"schema 9999; .* knows up to {migrate.STEPS[-1]}\. Use the Clary"):
        SqliteStore(tmp_path / "clary.db")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(StoreFormatError, match="not Clary's"):
        SqliteStore(tmp_path / "other.db")


async def test_an_upgrade_is_one_transaction_after_a_copy(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write(add("a"))  # type: ignore[arg-type]
    path = tmp_path / "clary.db"
    monkeypatch.setattr(migrate, "STEPS", (*migrate.STEPS, "9000"))

    def broken(connection: Connection) -> None:
        connection.execute(text("DROP TABLE tags"))
        raise ZeroDivisionError

    monkeypatch.setattr(migrate, "_upgrade", broken)
    with pytest.raises(ZeroDivisionError):
        SqliteStore(path)
    assert await store.read(keys) == ["a"]
    assert sqlite3.connect(tmp_path / "clary.db.before-9000").execute("SELECT key FROM tags").fetchall() == [("a",)]


CALLER = Caller(Principal("123456789012", "arn:aws:iam::123456789012:root", "K"), Scope("123456789012", "r"), "q")


async def test_audit_rows_cannot_be_changed_or_removed(store: SqliteStore) -> None:
    await store.write(lambda connection: record(connection, CALLER, Deed("CreateModel", "u", "arn", 1, "model")))
    for statement in ("UPDATE audit SET action = 'x'", "DELETE FROM audit"):
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="append-only"):
            await store.write(lambda connection, statement=statement: connection.execute(text(statement)))
    row = (await store.read(lambda connection: connection.execute(select(audit)).all()))[0]
    assert (row.action, row.principal_arn, row.key_id, row.request_id) == (
        "CreateModel", "arn:aws:iam::123456789012:root", "K", "q",
    )  # fmt: skip


async def test_changes_are_numbered_without_reuse_and_bounded(store: SqliteStore) -> None:
    for uid in ("a", "b", "c"):
        await store.write(lambda connection, uid=uid: announce(connection, "endpoint", uid, 1))
    await store.write(lambda connection: announce(connection, "key", "k", 1))
    assert await store.read(lambda c: changes_after(c, 1)) == [
        (2, "endpoint", "b"), (3, "endpoint", "c"), (4, "key", "k"),
    ]  # fmt: skip
    assert await store.read(lambda c: last_change(c, "endpoint")) == 3
    await store.write(lambda connection: connection.execute(changes.delete()))
    await store.write(lambda connection: announce(connection, "endpoint", "d", 1))
    assert await store.read(last_change) == 5
    await store.write(
        lambda c: c.execute(insert(changes), [{"kind": "x", "uid": "x", "at_us": 1} for _ in range(CHANGES_MAX)])
    )
    await store.write(lambda connection: announce(connection, "endpoint", "e", 1))
    assert await store.read(lambda c: c.execute(select(func.count()).select_from(changes)).scalar()) == CHANGES_MAX


async def test_the_signal_misses_no_commit(store: SqliteStore) -> None:
    seen = store.signal.version
    await store.write(lambda _: None)
    assert await store.signal.wait_past(seen) > seen
    waiting = asyncio.ensure_future(store.signal.wait_past(store.signal.version))
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.write(lambda _: None)
    await waiting


async def test_waiting_for_a_commit_ends_with_the_time(store: SqliteStore) -> None:
    clock = VirtualClock()
    seen = store.signal.version
    waiting = asyncio.ensure_future(store.signal.wait_past_or(seen, clock, 5.0))
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert await waiting == seen


def test_a_document_of_a_newer_version_is_refused() -> None:
    assert unpack(pack(Scope("a", "r")), Scope) == Scope("a", "r")
    with pytest.raises(StoreFormatError, match="a stored Scope has version 2; this Clary reads 1"):
        unpack(pack(Scope("a", "r")).replace('"version":1', '"version":2'), Scope)
