"""What every store is: SQLite's and PostgreSQL's, through one fixture (tests/conftest.py)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy.exc
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import BigInteger, Connection, Integer, String, func, insert, inspect, select, text

from clary.domain.principal import Principal, Scope
from clary.kit.clock import SystemClock, VirtualClock
from clary.store import migrate
from clary.store.base import StoreFormatError
from clary.store.named import ListQuery, columns_of, list_page
from clary.store.postgres import PostgresStore
from clary.store.records import CHANGES_MAX, Caller, Deed, announce, changes_after, last_change, record
from clary.store.sqlite import SqliteStore
from clary.store.tables import audit, changes, keys, metadata, models, replicas, tags
from tests.support.postgres import Cluster

Either = SqliteStore | PostgresStore
SCOPE = Scope("123456789012", "r")
CALLER = Caller(Principal(SCOPE.account, "arn:aws:iam::123456789012:root", "K"), SCOPE, "q")


def add(key: str, value: str = "v") -> Callable[[Connection], object]:
    return lambda connection: connection.execute(insert(tags).values(resource_uid="u", key=key, value=value))


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(tags.c.key).order_by(tags.c.key)).scalars())


async def test_the_schema_that_the_steps_make_is_the_one_in_the_tables(store: Either) -> None:
    def same(_: object, __: object, have: object, ___: object, want: object) -> bool | None:
        # PostgreSQL's columns hold what SQLite's hold (store/postgres_engine.py).
        kinds = (String, (Integer, BigInteger))
        return False if any(isinstance(have, kind) and isinstance(want, kind) for kind in kinds) else None  # type: ignore[arg-type]

    def differences(connection: Connection) -> list[object]:
        kind = same if connection.dialect.name == "postgresql" else True
        context = MigrationContext.configure(connection, opts={"compare_type": kind})
        # Comments live in the code: SQLite has none.
        return [found for found in compare_metadata(context, metadata) if "comment" not in str(found)]

    assert await store.read(differences) == []


async def test_an_error_rolls_everything_back(store: Either) -> None:
    def work(connection: Connection) -> None:
        add("a")(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(work)
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        await store.write(lambda connection: (add("a")(connection), add("a")(connection)))
    assert await store.read(names) == []


async def test_a_reader_cannot_write(store: Either) -> None:
    with pytest.raises(sqlalchemy.exc.DBAPIError, match=r"readonly|read-only"):
        await store.read(add("a"))
    assert await store.read(names) == []


async def test_a_reader_sees_one_state(store: Either) -> None:
    loop = asyncio.get_running_loop()

    def twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = names(connection)
        asyncio.run_coroutine_threadsafe(store.write(add("a")), loop).result()
        return before, names(connection)

    assert await store.read(twice) == ([], [])
    assert await store.read(names) == ["a"]


async def test_many_writers_one_after_the_other_and_none_fails(store: Either) -> None:
    def increment(connection: Connection) -> None:
        count = connection.execute(select(func.count()).select_from(tags)).scalar_one()
        add(f"{count:04}")(connection)

    await asyncio.gather(*(store.write(increment) for _ in range(200)), *(store.read(names) for _ in range(50)))
    assert await store.read(names) == [f"{index:04}" for index in range(200)]


async def test_audit_rows_cannot_be_changed_or_removed(store: Either) -> None:
    await store.write(lambda connection: record(connection, CALLER, Deed("CreateModel", "u", "arn", 1, "model")))
    for statement in ("UPDATE audit SET action = 'x'", "DELETE FROM audit"):
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="append-only"):
            await store.write(lambda connection, statement=statement: connection.execute(text(statement)))
    row = (await store.read(lambda connection: connection.execute(select(audit)).all()))[0]
    assert (row.action, row.principal_arn, row.key_id, row.request_id) == (
        "CreateModel", "arn:aws:iam::123456789012:root", "K", "q",
    )  # fmt: skip


async def test_changes_are_numbered_without_reuse_and_bounded(store: Either) -> None:
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


async def test_text_of_any_length_with_any_character_and_bytes_come_back(store: Either) -> None:
    values = ["x" * 1_000, "a\0b", "\uffff0\uffff1\0\uffff", "é😀", "'\"%s:x\\", ""]
    for number, value in enumerate(values):
        await store.write(add(f"k{number}", value))
    kept = await store.read(lambda c: c.execute(select(tags.c.value).order_by(tags.c.key)).scalars().all())
    assert list(kept) == values
    found = await store.read(lambda c: c.execute(select(tags.c.key).where(tags.c.value == "a\0b")).scalars().all())
    assert list(found) == ["k1"]
    row = {"key_id": "K", "account": "1", "arn": "a", "name": "n", "sealed": bytes(range(256)), "created_us": 2**62}
    await store.write(lambda connection: connection.execute(insert(keys).values(**row)))
    kept_row = (await store.read(lambda c: c.execute(select(keys)).mappings().all()))[0]
    assert dict(kept_row) == {**row, "revoked_us": None}


async def test_an_integer_has_64_bits(store: Either) -> None:
    row = {"uid": "u", "endpoint_uid": "e", "generation": 2**40, "variant": "v", "threads": 1, "address": "",
           "started_us": 1}  # fmt: skip
    await store.write(lambda connection: connection.execute(insert(replicas).values(**row)))
    assert await store.read(lambda c: c.execute(select(replicas.c.generation)).scalar()) == 2**40


async def test_lists_are_in_the_order_of_bytes(store: Either) -> None:
    given = ["a", "A-1".lower(), "a1", "b", "a-", "aa", "é"]
    rows = [
        {"uid": f"{n:026}", "account": SCOPE.account, "region": SCOPE.region, "name": name, "name_key": name,
         "created_us": 1, "modified_us": 1, "spec": ""}
        for n, name in enumerate(given)
    ]  # fmt: skip
    await store.write(lambda connection: connection.execute(insert(models), rows))
    query, seen = ListQuery(sort_by="Name", descending=False, limit=2), []
    while True:
        page, after = await store.read(lambda c, q=query: list_page(c, columns_of(models), SCOPE, q))
        seen += [row.name for row in page]
        if after is None:
            break
        query = ListQuery(sort_by="Name", descending=False, limit=2, after=after)
    assert seen == sorted(given)
    query = ListQuery(name_contains="-")
    page, _ = await store.read(lambda c: list_page(c, columns_of(models), SCOPE, query))
    assert {row.name for row in page} == {"a-1", "a-"}


async def test_the_signal_misses_no_commit(store: Either) -> None:
    seen = store.signal.version
    await store.write(lambda _: None)
    assert await store.signal.wait_past(seen) > seen
    waiting = asyncio.ensure_future(store.signal.wait_past(store.signal.version))
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.write(lambda _: None)
    await waiting


async def test_waiting_for_a_commit_ends_with_the_time(store: Either) -> None:
    clock = VirtualClock()
    seen = store.signal.version
    waiting = asyncio.ensure_future(store.signal.wait_past_or(seen, clock, 5.0))
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert await waiting == seen


# Opening again


class Place:
    """One database that is opened again and again."""

    def __init__(self, kind: str, folder: Path, cluster: Cluster | None) -> None:
        self.kind = kind
        self.path = folder / "clary.db"
        self.address = cluster.create() if cluster else None
        self.cluster = cluster

    async def open(self) -> Either:
        if self.address is None:
            return SqliteStore(self.path)
        store = PostgresStore(self.address, SystemClock())
        await store.open()
        return store

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Past the store."""
        if self.cluster is None or self.address is None:
            with sqlite3.connect(self.path) as raw:
                found = raw.execute(statement).fetchall()
            raw.close()
            return found
        return self.cluster.execute(statement, self.address.url.rpartition("/")[2])


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    cluster = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return Place(request.param, tmp_path, cluster)


async def test_what_was_written_is_there_when_it_is_opened_again(place: Place) -> None:
    store = await place.open()
    await store.write(add("a"))
    store.close()
    again = await place.open()
    assert await again.read(names) == ["a"]
    again.close()


async def test_a_newer_schema_is_refused_with_the_remedy(place: Place) -> None:
    (await place.open()).close()
    place.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreFormatError, match=rf"schema 9999; .* knows up to {migrate.STEPS[-1]}\. Use the Clary"):
        await place.open()


async def test_another_programs_database_is_refused(place: Place) -> None:
    place.execute("CREATE TABLE t (x integer)")
    with pytest.raises(StoreFormatError, match="not Clary's"):
        await place.open()


async def test_an_upgrade_is_one_transaction_after_a_copy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await place.open()
    await store.write(add("a"))
    store.close()
    whole = migrate.STEPS
    monkeypatch.setattr(migrate, "STEPS", (*whole, "9000"))

    def broken(connection: Connection) -> None:
        connection.execute(text("DROP TABLE tags"))
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(migrate, "_upgrade", broken)
        with pytest.raises(ZeroDivisionError):
            await place.open()
    assert place.execute("SELECT key FROM tags") == [("a",)]
    with monkeypatch.context() as patched:
        step = "UPDATE alembic_version SET version_num = '9000'"
        patched.setattr(migrate, "_upgrade", lambda connection: connection.execute(text(step)))
        (await place.open()).close()
    if place.kind == "sqlite":
        copy = sqlite3.connect(place.path.with_name("clary.db.before-9000"))
        assert copy.execute("SELECT key FROM tags").fetchall() == [("a",)]
        copy.close()
    else:
        assert place.execute("SELECT key FROM public_before_9000.tags") == [("a",)]
        assert place.execute("SELECT version_num FROM public_before_9000.alembic_version") == [(whole[-1],)]


async def test_every_old_schema_is_raised(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = migrate.STEPS
    for step in range(1, len(whole) + 1):
        monkeypatch.setattr(migrate, "STEPS", whole[:step])
        store = await place.open()
        await store.write(add(f"{step:04}"))
        if step == len(whole):
            await test_the_schema_that_the_steps_make_is_the_one_in_the_tables(store)
        assert await store.read(names) == [f"{number:04}" for number in range(1, step + 1)]
        store.close()


# What PostgreSQL has and SQLite does not


async def test_every_column_of_text_is_compared_by_its_bytes(postgres: Cluster) -> None:
    database = postgres.store_address().url.rpartition("/")[2]
    odd = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND table_name <> 'alembic_version' AND data_type IN ('text', 'character varying') "
        "AND (collation_name IS DISTINCT FROM 'C' OR character_maximum_length IS NOT NULL)"
    )
    assert postgres.execute(odd, database) == []
    # One that a migration made an int4 would refuse what SQLite takes.
    narrow = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type IN ('integer', 'smallint') AND column_default IS NULL"
    )
    assert postgres.execute(narrow, database) == []


async def test_tables_in_a_schema_of_their_own(postgres: Cluster) -> None:
    address = postgres.create()
    database = address.url.rpartition("/")[2]
    postgres.execute("CREATE TABLE public.somebody_elses (x integer)", database)
    there = type(address)(f"{address.url}?options=-csearch_path%3Dclary")
    with pytest.raises(StoreFormatError, match="no schema of its search_path"):
        await PostgresStore(there, SystemClock()).open()
    postgres.execute("CREATE SCHEMA clary", database)
    store = PostgresStore(there, SystemClock())
    await store.open()
    await store.write(add("a"))
    assert await store.read(lambda connection: inspect(connection).has_table("tags"))
    assert postgres.execute("SELECT key FROM clary.tags", database) == [("a",)]
    store.close()


async def test_what_cannot_hold_the_store_is_refused(postgres: Cluster) -> None:
    latin = postgres.create(options="ENCODING 'LATIN1'")
    with pytest.raises(StoreFormatError, match="has the encoding LATIN1; create the database with ENCODING 'UTF8'"):
        await PostgresStore(latin, SystemClock()).open()


async def test_a_server_that_does_not_wait_for_its_disk_is_made_to(postgres: Cluster) -> None:
    address = postgres.store_address()
    postgres.execute(f"ALTER DATABASE {address.url.rpartition('/')[2]} SET synchronous_commit = off")
    store = PostgresStore(address, SystemClock())
    await store.open()
    assert await store.write(lambda c: c.execute(text("SHOW synchronous_commit")).scalar()) == "on"
    store.close()
