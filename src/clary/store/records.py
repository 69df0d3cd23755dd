"""What every change writes besides its own row: the audit line and the wake for reconcile; and what control records."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from clary.domain.principal import Principal, Scope
from clary.store.tables import audit, changes

CHANGES_MAX = 10_000
"""Rows kept; reconcile looks at all endpoints when it starts, so older ones tell it nothing."""


@dataclass(frozen=True)
class Caller:
    """Who asks, where, and in which request."""

    principal: Principal
    scope: Scope
    request_id: str


@dataclass(frozen=True)
class Deed:
    """One line of the audit."""

    action: str
    """The operation's name: `CreateEndpoint`."""
    uid: str
    resource: str
    """ARN, or key id."""
    at_us: int
    kind: str = ""
    """The noun of the resource: `endpoint`."""


def record(connection: Connection, caller: Caller, deed: Deed) -> None:
    """Append an audit row, in the transaction of the deed."""
    connection.execute(
        insert(audit).values(
            at_us=deed.at_us,
            action=deed.action,
            kind=deed.kind,
            resource_uid=deed.uid,
            resource=deed.resource,
            account=caller.principal.account,
            principal_arn=caller.principal.arn,
            key_id=caller.principal.key_id,
            session=caller.principal.session,
            request_id=caller.request_id,
        )
    )


def announce(connection: Connection, kind: str, uid: str, at_us: int) -> None:
    """Append a change, in the transaction that made it."""
    seq = connection.execute(insert(changes).values(kind=kind, uid=uid, at_us=at_us)).inserted_primary_key
    assert seq is not None, "an insert of one row always has its key"
    connection.execute(delete(changes).where(changes.c.seq <= seq[0] - CHANGES_MAX))


def last_change(connection: Connection, kind: str = "") -> int:
    """The sequence number of the newest change, of one kind where it is given; 0 where there is none."""
    newest = select(func.max(changes.c.seq))
    return connection.execute(newest.where(changes.c.kind == kind) if kind else newest).scalar() or 0


def changes_after(connection: Connection, seq: int) -> list[tuple[int, str, str]]:
    """(sequence number, kind, uid) of every change after `seq`, oldest first."""
    rows = connection.execute(
        select(changes.c.seq, changes.c.kind, changes.c.uid).where(changes.c.seq > seq).order_by(changes.c.seq)
    )
    return [(row.seq, row.kind, row.uid) for row in rows]
