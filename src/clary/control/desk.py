"""What every use case needs, and what they share: naming, tags, the audit line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Table, delete, insert, select

from clary.domain.errors import AlreadyExists, NotFound
from clary.domain.names import arn_of, name_key
from clary.domain.tags import merge_tags
from clary.kit.clock import Clock
from clary.kit.ids import Ids
from clary.store.base import Store
from clary.store.named import find
from clary.store.records import Caller, Deed, record
from clary.store.tables import tags as tags_table

__all__ = ["Caller", "Deed", "Desk"]


@dataclass(frozen=True)
class Desk:
    """Where use cases work."""

    store: Store
    clock: Clock
    ids: Ids


@dataclass(frozen=True)
class Kind:
    """A named resource: its table, its noun in ARNs, and its noun in operations."""

    table: Table
    noun: str
    """`endpoint-config`"""
    operation: str
    """`EndpointConfig`"""


def require_free(connection: Connection, kind: Kind, caller: Caller, name: str) -> str:
    """The ARN of a name that nobody has; AlreadyExists, whatever the case, else."""
    arn = arn_of(kind.noun, caller.scope, name)
    if find(connection, kind.table, caller.scope, name) is not None:
        raise AlreadyExists(kind.noun, name, arn)
    return arn


def not_found(kind: Kind, caller: Caller, name: str) -> NotFound:
    """The refusal that names the ARN that was looked for."""
    return NotFound(kind.noun, name, arn_of(kind.noun, caller.scope, name))


def head(caller: Caller, name: str, uid: str, now_us: int) -> dict[str, str | int]:
    """The columns that every named resource starts with."""
    return {
        "uid": uid,
        "account": caller.scope.account,
        "region": caller.scope.region,
        "name": name,
        "name_key": name_key(name),
        "created_us": now_us,
        "modified_us": now_us,
    }


def tags_of(connection: Connection, uid: str) -> dict[str, str]:
    """The tags of a resource, by key."""
    table = tags_table
    query = select(table.c.key, table.c.value).where(table.c.resource_uid == uid).order_by(table.c.key)
    return {row.key: row.value for row in connection.execute(query)}


def put_tags(connection: Connection, uid: str, old: dict[str, str], new: dict[str, str]) -> None:
    """Write `new` over `old`; LimitExceeded above 50 tags."""
    merge_tags(old, new)
    if new:
        connection.execute(delete(tags_table).where(tags_table.c.resource_uid == uid, tags_table.c.key.in_(list(new))))
        connection.execute(
            insert(tags_table), [{"resource_uid": uid, "key": key, "value": value} for key, value in new.items()]
        )


def drop_tags(connection: Connection, uid: str, keys: Collection[str] | None = None) -> None:
    """Forget the tags of these keys; None: all of them, since a deleted resource has none."""
    gone = tags_table.c.resource_uid == uid
    if keys is not None:
        gone &= tags_table.c.key.in_(list(keys))
    connection.execute(delete(tags_table).where(gone))


def audit(connection: Connection, caller: Caller, kind: Kind, deed: Deed) -> None:
    """The audit row of a deed whose `action` is a verb (`Create`) on a resource of `kind`."""
    record(connection, caller, replace(deed, action=f"{deed.action}{kind.operation}", kind=kind.noun))
