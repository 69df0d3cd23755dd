"""The chain of the audit, on either store: what breaks it is seen, pruning does not break it."""

from __future__ import annotations

import string

import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text

from clary.store import audit as chain
from clary.store.audit import GENESIS, STEP_ROWS, Walk, link
from clary.store.base import Store
from clary.store.records import Deed, record
from clary.store.tables import audit
from tests.support.hosting import CALLER


async def write(store: Store, count: int, start_us: int = 0) -> None:
    def work(connection: Connection) -> None:
        for number in range(count):
            arn = f"arn:aws:sagemaker:r:a:model/m{number}"
            record(connection, CALLER, Deed("CreateModel", "u", arn, start_us + number, "model"))

    await store.write(work)


async def walked(store: Store) -> Walk:
    at: Walk | None = None
    while at is None or not at.done:
        at = await store.read(lambda connection, here=at: chain.walk(connection, here))  # type: ignore[misc]
    return at


async def tamper(store: Store, *statements: str) -> None:
    """As somebody who may write the file would."""

    def work(connection: Connection) -> None:
        for verb in ("update", "delete"):
            on = " ON audit" if connection.dialect.name == "postgresql" else ""
            connection.execute(text(f"DROP TRIGGER audit_no_{verb}{on}"))
        for statement in statements:
            connection.execute(text(statement))

    await store.write(work)


async def test_a_chain_that_nobody_touched_is_whole(store: Store) -> None:
    assert await walked(store) == Walk(0, GENESIS, done=True)
    await write(store, STEP_ROWS + 1)
    whole = await walked(store)
    assert (whole.seq, whole.rows, whole.broken_seq) == (STEP_ROWS + 1, STEP_ROWS + 1, None)
    assert await store.read(lambda connection: chain.hash_of(connection, whole.seq)) == whole.hash


@pytest.mark.parametrize(
    ("statement", "broken_seq"),
    [
        ("UPDATE audit SET principal_arn = 'arn:aws:iam::123456789012:user/eve' WHERE seq = 3", 3),
        ("UPDATE audit SET at_us = 999 WHERE seq = 5", 5),
        ("UPDATE audit SET hash = '' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 2", 3),
        ("DELETE FROM audit WHERE seq = 1", 2),
    ],
)
async def test_the_first_row_that_is_wrong_is_named(store: Store, statement: str, broken_seq: int) -> None:
    await write(store, 6)
    await tamper(store, statement)
    assert (await walked(store)).broken_seq == broken_seq


async def test_a_row_put_in_breaks_the_chain(store: Store) -> None:
    await write(store, 3)
    columns = ", ".join(column.name for column in audit.columns if column.name != "seq")
    await tamper(store, f"INSERT INTO audit (seq, {columns}) SELECT 9, {columns} FROM audit WHERE seq = 2")
    assert (await walked(store)).broken_seq == 9


async def test_an_end_that_was_cut_off_is_seen_by_whoever_knows_the_head(store: Store) -> None:
    await write(store, 3)
    await tamper(store, "DELETE FROM audit WHERE seq = 3")
    assert (await walked(store)).broken_seq is None
    assert await store.read(lambda connection: chain.hash_of(connection, 3)) is None


async def test_pruning_leaves_a_checkpoint_and_a_whole_chain(store: Store) -> None:
    await write(store, 10)
    head = (await walked(store)).hash
    assert not await store.read(lambda connection: chain.is_prunable(connection, 0, 10))
    assert await store.write(lambda connection: chain.prune(connection, 4, 100, 50)) == 4
    assert await store.write(lambda connection: chain.prune(connection, 0, 5, 60)) == 1
    left = await store.read(lambda connection: list(connection.execute(select(audit.c.seq)).scalars()))
    assert left == [6, 7, 8, 9, 10]
    whole = await walked(store)
    assert (whole.hash, whole.rows, whole.broken_seq) == (head, 5, None)
    assert (await store.read(chain.checkpoint)).deleted_rows == 5
    # What a checkpoint covers may go, nothing else.
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="append-only"):
        await store.write(lambda connection: connection.execute(text("DELETE FROM audit WHERE seq = 6")))
    # The newest stays, however old: the chain goes on from it.
    await store.write(lambda connection: chain.prune(connection, 10**9, 0, 70))
    await write(store, 1, start_us=100)
    assert (await walked(store)).rows == 2


texts = st.text(string.printable, max_size=8)


@given(
    st.dictionaries(st.sampled_from(["action", "kind", "session"]), texts), st.sampled_from(["action", "kind"]), texts
)
def test_another_content_has_another_hash(row: dict[str, str], name: str, value: str) -> None:
    changed = {**row, name: value}
    assert (link(GENESIS, changed) == link(GENESIS, row)) == (row.get(name, "") == value)
    assert link(link(GENESIS, row), row) != link(GENESIS, row)


def test_columns_that_come_later_and_are_empty_change_no_hash() -> None:
    assert link(GENESIS, {"action": "A", "later": ""}) == link(GENESIS, {"action": "A", "seq": 7})
