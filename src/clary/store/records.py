"""What every change writes besides its own row: the audit line and the wake for reconcile; and what control records."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, insert, select

from clary.domain.principal import Asked, Principal, Scope
from clary.store.audit import append
from clary.store.tables import changes

OWN = "clary"
"""The source of what is no service of AWS: keys, images, versions."""
CHANGES_MAX = 10_000
"""Rows kept; reconcile looks at all endpoints when it starts, so older ones tell it nothing."""
USER_AGENT_CHARS_MAX = 1024
RESOURCE_CHARS_MAX = 512
ERROR_CHARS_MAX = 1024
"""Of what the audit keeps, as CloudTrail does."""


@dataclass(frozen=True)
class Caller:
    """Who asks, where, and in which request."""

    principal: Principal
    scope: Scope
    request_id: str
    asked: Asked = field(default_factory=Asked)


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


def record(connection: Connection, caller: Caller, deed: Deed, error_code: str = "", error_message: str = "") -> None:
    """Append an audit row, in the transaction of the deed."""
    asked, principal = caller.asked, caller.principal
    append(
        connection,
        {
            "at_us": deed.at_us,
            "action": asked.operation or deed.action,
            "kind": deed.kind or asked.kind[:32],
            "resource_uid": deed.uid,
            "resource": deed.resource,
            "account": principal.account,
            "principal_arn": principal.arn,
            "key_id": principal.key_id,
            "session": principal.session,
            "request_id": caller.request_id,
            "region": caller.scope.region,
            "username": principal.session or _name_in(principal.arn)[:128],
            "resource_name": _name_in(deed.resource) or asked.name[:RESOURCE_CHARS_MAX],
            "source": asked.source or OWN,
            "user_agent": asked.user_agent[:USER_AGENT_CHARS_MAX],
            "source_ip": asked.source_ip[:45],
            "parameters": asked.parameters(),
            "error_code": error_code[:128],
            "error_message": error_message[:ERROR_CHARS_MAX],
        },
    )
    asked.recorded = True


def _name_in(arn: str) -> str:
    """The last part of an ARN; anything else as it is."""
    return re.split(r"[/:]", arn)[-1] if arn.startswith("arn:") else arn


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
