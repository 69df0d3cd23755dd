"""Backup and restore with either store on either side: all rows arrive, and numbers go on where they were."""

from __future__ import annotations

import asyncio
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from clary.kit.clock import SystemClock
from clary.store.address import Address
from clary.store.backup import BackupError, write_backup
from clary.store.base import StoreFormatError, StoreUnavailableError
from clary.store.postgres import PostgresStore
from clary.store.records import announce, last_change
from clary.store.restore import restore
from clary.store.sqlite import SqliteStore
from clary.store.tables import metadata, tags
from tests.support.postgres import Cluster

OLD = Path(__file__).parents[1] / "system" / "data" / "home-0001.tar.gz"
"""The HOME of a real server of the first schema (tests/unit/store/test_migrations.py)."""
Rows = dict[str, list[tuple[object, ...]]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path / "home", filter="data")
    return tmp_path / "home"


def everything(connection: Connection) -> Rows:
    return {table.name: sorted(map(tuple, connection.execute(select(table)))) for table in metadata.sorted_tables}


def opened(home: Path, address: Address | None) -> SqliteStore | PostgresStore:
    if address is None:
        return SqliteStore(home / "clary.db")
    store = PostgresStore(address, SystemClock())
    asyncio.run(store.open())
    return store


def rows(home: Path, address: Address | None = None) -> Rows:
    store = opened(home, address)
    try:
        return asyncio.run(store.read(everything))
    finally:
        store.close()


def test_from_sqlite_to_postgresql_and_back(home: Path, tmp_path: Path, postgres: Cluster) -> None:
    address = postgres.create()
    write_backup(home, tmp_path / "one.tar", "1", secrets=True, force=False)
    restore(tmp_path / "two", tmp_path / "one.tar", force=False, store=address)
    assert not (tmp_path / "two" / "clary.db").exists()
    was = rows(home)
    assert rows(tmp_path / "two", address) == was
    assert sum(map(len, was.values())) > 10
    store = opened(tmp_path / "two", address)
    newest = asyncio.run(store.read(last_change))
    asyncio.run(store.write(lambda connection: announce(connection, "endpoint", "u", 1)))
    asyncio.run(store.write(lambda c: c.execute(insert(tags).values(resource_uid="u", key="\0", value="\uffff"))))
    assert asyncio.run(store.read(last_change)) == newest + 1
    now = asyncio.run(store.read(everything))
    # Beside a server that runs.
    write_backup(tmp_path / "two", tmp_path / "two.tar", "1", secrets=False, force=False, store=address)
    store.close()
    restore(tmp_path / "three", tmp_path / "two.tar", force=False)
    assert rows(tmp_path / "three") == now


def test_a_store_that_holds_something_is_replaced_only_by_force(home: Path, tmp_path: Path, postgres: Cluster) -> None:
    address = postgres.store_address()
    write_backup(home, tmp_path / "one.tar", "1", secrets=True, force=False)
    with pytest.raises(BackupError, match=rf"The store {address} is in use: it has a Clary's tables") as refused:
        restore(tmp_path / "two", tmp_path / "one.tar", force=False, store=address)
    assert "--force" in refused.value.remedy
    for _ in range(2):
        restore(tmp_path / "two", tmp_path / "one.tar", force=True, store=address)
        assert rows(tmp_path / "two", address) == rows(home)


def test_what_fails_leaves_everything(
    home: Path, tmp_path: Path, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.store_address()
    write_backup(home, tmp_path / "one.tar", "1", secrets=True, force=False)
    two = tmp_path / "two"
    store = opened(two, address)
    with pytest.raises(StoreUnavailableError, match=r"is in use: clary control on .*\. Stop that one first"):
        restore(two, tmp_path / "one.tar", force=True, store=address)
    store.close()
    monkeypatch.setattr("clary.store.transfer._continue_numbers", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        restore(two, tmp_path / "one.tar", force=True, store=address)
    assert not [path.name for path in two.iterdir() if path.name not in ("backup.lock", "lock")]
    assert not any(rows(two, address).values())


def test_what_cannot_be_backed_up_is_refused(tmp_path: Path, postgres: Cluster) -> None:
    empty = postgres.create()
    with pytest.raises(StoreFormatError, match="is empty: no Clary has used it"):
        write_backup(tmp_path, tmp_path / "a.tar", "1", secrets=False, force=False, store=empty)
    away = Address("postgresql://clary@127.0.0.1:1/db", "hush")
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1/db cannot be used: connection failed") as refused:
        write_backup(tmp_path, tmp_path / "a.tar", "1", secrets=False, force=False, store=away)
    assert "hush" not in str(refused.value)
