"""Tags of scalable targets."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from clary.control.desk import Caller, Deed, Desk, put_tags
from clary.control.scaling import TARGET
from clary.domain.errors import NotFound
from clary.domain.scaling import target_arn
from clary.store.records import record
from clary.store.scaling import target_by_uid
from clary.store.tables import tags as tags_table


async def tag(desk: Desk, caller: Caller, arn: str, new: dict[str, str]) -> None:
    """Add or overwrite tags of a target. Raises NotFound, Invalid, LimitExceeded."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        uid = _tagged(connection, caller, arn)
        put_tags(connection, uid, _tags(connection, uid), new)
        record(connection, caller, Deed("TagResource", uid, arn, now_us, TARGET))

    await desk.store.write(work)


async def untag(desk: Desk, caller: Caller, arn: str, keys: Sequence[str]) -> None:
    """Remove tags of a target; keys that are not there are no error. Raises NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        uid = _tagged(connection, caller, arn)
        table = tags_table
        connection.execute(delete(table).where(table.c.resource_uid == uid, table.c.key.in_(keys)))
        record(connection, caller, Deed("UntagResource", uid, arn, now_us, TARGET))

    await desk.store.write(work)


async def list_tags(desk: Desk, caller: Caller, arn: str) -> dict[str, str]:
    """All tags of a target. Raises NotFound."""
    return await desk.store.read(lambda connection: _tags(connection, _tagged(connection, caller, arn)))


def _tagged(connection: Connection, caller: Caller, arn: str) -> str:
    """The uid of the target of an ARN of this account and region."""
    target = target_by_uid(connection, arn.rpartition("/")[2].upper())
    if target is None or target.scope != caller.scope or target_arn(caller.scope, target.uid) != arn.lower():
        raise NotFound("tagged", arn, arn)
    return target.uid


def _tags(connection: Connection, uid: str) -> dict[str, str]:
    table = tags_table
    found = connection.execute(
        select(table.c.key, table.c.value).where(table.c.resource_uid == uid).order_by(table.c.key)
    )
    return {row.key: row.value for row in found}
