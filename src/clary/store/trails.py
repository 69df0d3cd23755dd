"""Rows of trails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from clary.domain.principal import Scope
from clary.domain.trails import TrailSpec
from clary.store.documents import unpack
from clary.store.tables import audit, trails


@dataclass(frozen=True)
class TrailRecord:
    """One trail."""

    uid: str
    scope: Scope
    name: str
    spec: TrailSpec
    started_us: int | None
    stopped_us: int | None
    start_seq: int
    delivered_seq: int
    delivered_us: int | None
    delivery_error: str

    @property
    def is_logging(self) -> bool:
        """Whether events are delivered."""
        return self.started_us is not None and self.stopped_us is None

    @property
    def arn(self) -> str:
        """`arn:aws:cloudtrail:REGION:ACCOUNT:trail/NAME`."""
        return f"arn:aws:cloudtrail:{self.scope.region}:{self.scope.account}:trail/{self.name}"


def every(connection: Connection) -> list[TrailRecord]:
    """All trails, by account, region and name."""
    query = select(trails).order_by(trails.c.account, trails.c.region, trails.c.name)
    return [_record(row) for row in connection.execute(query)]


def of_scope(connection: Connection, scope: Scope) -> list[TrailRecord]:
    """Those of an account and region, by name."""
    return [one for one in every(connection) if one.scope == scope]


def last_seq(connection: Connection) -> int:
    """The audit's newest row."""
    return connection.execute(select(func.max(audit.c.seq))).scalar() or 0


def note_delivery(connection: Connection, uid: str, seq: int | None, at_us: int | None, error: str) -> None:
    """Write down how far a trail is, where that moved (`seq`), when it was given something, and what went wrong."""
    values: dict[str, Any] = {"delivery_error": error}
    if seq is not None:
        values["delivered_seq"] = seq
    if at_us is not None:
        values["delivered_us"] = at_us
    connection.execute(update(trails).where(trails.c.uid == uid).values(**values))


def _record(row: Row[Any]) -> TrailRecord:
    return TrailRecord(
        row.uid,
        Scope(row.account, row.region),
        row.name,
        unpack(row.spec, TrailSpec),
        row.started_us,
        row.stopped_us,
        row.start_seq,
        row.delivered_seq,
        row.delivered_us,
        row.delivery_error,
    )
