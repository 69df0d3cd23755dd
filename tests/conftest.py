"""What every suite may ask for."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clary.store.postgres import PostgresStore
    from clary.store.sqlite import SqliteStore
    from tests.support.postgres import Cluster


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets: a Unix address holds 107 bytes, and `tmp_path` may take most of them."""
    folder = Path(tempfile.mkdtemp(prefix="c-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server of this test run; skips, with the reason, where the machine has none."""
    from tests.support.postgres import Cluster, binaries

    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: neither initdb nor pg_config on PATH, nor /usr/lib/postgresql")
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore | PostgresStore]:
    """A new store with the present schema: each kind in turn."""
    from clary.kit.clock import SystemClock
    from clary.store.sqlite import SqliteStore

    opened: SqliteStore | PostgresStore
    if request.param == "sqlite":
        opened = SqliteStore(tmp_path / "clary.db")
    else:
        from clary.store.postgres import PostgresStore

        opened = PostgresStore(request.getfixturevalue("postgres").store_address(), SystemClock())
        asyncio.run(opened.open())
    yield opened
    opened.close()
