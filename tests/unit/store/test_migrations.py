"""A database that the first Clary wrote, brought to the present schema with all that is in it.

tests/system/data/home-0001.tar.gz is the HOME of a real server of schema 0001 (and object index 1) that hosted a model,
failed to host another, tagged an endpoint and made a key: `format`, `clary.db`, `buckets`, `artifacts`, `secrets`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy.exc
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, select, text

from clary.control.keys import live_keys
from clary.domain.endpoint import EndpointConfigSpec
from clary.domain.model import ModelSpec
from clary.domain.states import EndpointStatus
from clary.domain.versions import Outcome
from clary.kit.clock import SystemClock
from clary.kit.ids import SystemIds
from clary.objects.store import ObjectStore
from clary.store import migrate
from clary.store.backup import write_backup
from clary.store.documents import unpack
from clary.store.endpoints import EndpointRecord, endpoint_record, fleet_of, wishes_of
from clary.store.restore import restore
from clary.store.seal import load_seal
from clary.store.sqlite import SqliteStore
from clary.store.tables import audit, endpoint_configs, endpoints, metadata, models, pins, tags

OLD = Path(__file__).parents[2] / "system" / "data" / "home-0001.tar.gz"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
def store(home: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(home / "clary.db")
    yield store
    store.close()


def schema(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def named(connection: Connection, name: str) -> EndpointRecord:
    return endpoint_record(connection.execute(select(endpoints).where(endpoints.c.name == name)).one())


async def test_it_has_the_present_schema_and_the_old_one_stays_beside_it(home: Path, store: SqliteStore) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [found for found in compare_metadata(context, metadata) if "comment" not in str(found)]

    assert await store.read(differences) == []
    assert schema(home / "clary.db") == migrate.STEPS[-1]
    assert schema(home / f"clary.db.before-{migrate.STEPS[-1]}") == "0001"


async def test_endpoints_keep_their_status_and_become_version_one(store: SqliteStore) -> None:
    old = await store.read(lambda connection: named(connection, "old"))
    broken = await store.read(lambda connection: named(connection, "broken"))
    assert (old.status, old.served_generation) == (EndpointStatus.IN_SERVICE, 1)
    assert (broken.status, broken.served_generation) == (EndpointStatus.FAILED, None)
    assert broken.failure_reason.startswith("The artifact is not a gzip file")
    for endpoint, outcome in ((old, Outcome.SERVED), (broken, Outcome.FAILED)):
        (wish,) = await store.read(lambda connection, uid=endpoint.uid: wishes_of(connection, uid))
        assert (wish.generation, wish.version, wish.outcome) == (1, 1, outcome)
    fleet = await store.read(lambda connection: fleet_of(connection, old.uid, 1))
    assert (fleet.version, fleet.revision.artifact_urls) == (1, ("s3://old/model.tar.gz",))


async def test_pins_belong_to_version_one(home: Path, store: SqliteStore) -> None:
    rows = await store.read(lambda connection: connection.execute(select(pins)).all())
    assert {(row.url, row.version, bool(row.digest)) for row in rows} == {
        ("s3://old/model.tar.gz", 1, True),
        ("s3://broken/model.tar.gz", 1, False),
    }
    assert {row.digest for row in rows if row.digest} == {path.name for path in (home / "artifacts").iterdir()}


async def test_every_document_is_read(store: SqliteStore) -> None:
    specs = await store.read(lambda connection: list(connection.execute(select(models.c.spec)).scalars()))
    assert {unpack(spec, ModelSpec).primary.runtime for spec in specs} == {"xgboost"}
    specs = await store.read(lambda connection: list(connection.execute(select(endpoint_configs.c.spec)).scalars()))
    assert [len(unpack(spec, EndpointConfigSpec).variants) for spec in specs] == [1, 1]


async def test_keys_open_tags_and_audit_stay(home: Path, store: SqliteStore) -> None:
    seal = load_seal(home / "secrets" / "kek")
    keys = await store.read(lambda connection: live_keys(connection, seal))
    assert {key.arn.rpartition(":")[2] for key in keys} == {"root", "user/ci"}
    found = await store.read(lambda connection: connection.execute(select(tags.c.key, tags.c.value)).all())
    assert [tuple(row) for row in found] == [("team", "growth")]
    deeds = await store.read(lambda connection: list(connection.execute(select(audit.c.action)).scalars()))
    assert deeds.count("CreateEndpoint") == 2
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="append-only"):
        await store.write(lambda connection: connection.execute(text("DELETE FROM audit")))


@pytest.mark.parametrize("step", range(1, len(migrate.STEPS)))
def test_a_step_that_fails_leaves_the_old_database(home: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way is one transaction: a failure after any step undoes those before it too."""
    whole = migrate.STEPS
    upgrade = migrate._upgrade

    def broken(connection: Connection) -> None:
        monkeypatch.setattr(migrate, "STEPS", whole[: step + 1])
        upgrade(connection)
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(migrate, "_upgrade", broken)
        with pytest.raises(ZeroDivisionError):
            SqliteStore(home / "clary.db")
    assert schema(home / "clary.db") == "0001"
    with contextlib.closing(sqlite3.connect(home / "clary.db")) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "pins" in tables
    assert not tables & {"training_jobs", "version_pins", "images"}
    monkeypatch.setattr(migrate, "STEPS", whole)
    SqliteStore(home / "clary.db").close()
    assert schema(home / "clary.db") == whole[-1]


def test_the_object_index_of_the_first_format_is_raised(home: Path) -> None:
    objects = ObjectStore(home / "buckets", SystemClock(), SystemIds())
    try:
        assert [bucket.name for bucket in objects.buckets()] == ["broken", "old"]
        with objects.open("old", "model.tar.gz") as model:
            assert model.read(2) == b"\x1f\x8b"
        objects.change_bucket("old", lambda bucket: bucket)
    finally:
        objects.close()


def test_a_backup_of_the_old_home_is_restored_and_raised(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "old.tar"
    assert write_backup(home, file, "0.0", secrets=True, force=False).secrets
    other = tmp_path / "other"
    restore(other, file, force=False)
    assert schema(other / "clary.db") == "0001"
    SqliteStore(other / "clary.db").close()
    assert schema(other / "clary.db") == migrate.STEPS[-1]
