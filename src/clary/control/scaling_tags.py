"""Tags of scalable targets."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from clary.control.desk import Caller, Deed, Desk, drop_tags, put_tags, tags_of
from clary.control.scaling import TARGET
from clary.domain.errors import NotFound
from clary.domain.scaling import target_arn
from clary.store.records import record
from clary.store.scaling import target_by_uid


async def tag(desk: Desk, caller: Caller, arn: str, new: dict[str, str]) -> None:
    """Add or overwrite tags of a target. Raises NotFound, Invalid, LimitExceeded."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        uid = _tagged(connection, caller, arn)
        put_tags(connection, uid, tags_of(connection, uid), new)
        record(connection, caller, Deed("TagResource", uid, arn, now_us, TARGET))

    await desk.store.write(work)


async def untag(desk: Desk, caller: Caller, arn: str, keys: Sequence[str]) -> None:
    """Remove tags of a target; keys that are not there are no error. Raises NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        uid = _tagged(connection, caller, arn)
        drop_tags(connection, uid, keys)
        record(connection, caller, Deed("UntagResource", uid, arn, now_us, TARGET))

    await desk.store.write(work)


async def list_tags(desk: Desk, caller: Caller, arn: str) -> dict[str, str]:
    """All tags of a target. Raises NotFound."""
    return await desk.store.read(lambda connection: tags_of(connection, _tagged(connection, caller, arn)))


def _tagged(connection: Connection, caller: Caller, arn: str) -> str:
    """The uid of the target of an ARN of this account and region."""
    target = target_by_uid(connection, arn.rpartition("/")[2].upper())
    if target is None or target.scope != caller.scope or target_arn(caller.scope, target.uid) != arn.lower():
        raise NotFound("tagged", arn, arn)
    return target.uid
