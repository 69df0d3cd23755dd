"""The outbox (store/outbox.py) as who delivers reads and writes it: to each target in the order of `seq`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from clary.domain.principal import Scope
from clary.store.tables import events_out

DONE_KEPT = 100_000
"""Events kept after they were delivered, the newest, for whoever wants to look."""
WAITING_MAX = 10_000
"""Events that may wait for one target; clients are refused more (SNS and EventBridge throttle). Of what follows of
other events for one action or subscriber, the oldest are given up."""


@dataclass(frozen=True)
class Waiting:
    """One event that was not delivered yet."""

    seq: int
    uid: str
    at_us: int
    scope: Scope
    source: str
    target_arn: str
    text: str
    """The body, JSON."""
    attempts: int
    """Those that began."""
    next_us: int
    """Not to be tried before."""

    @property
    def body(self) -> Any:
        """The body, a value of JSON."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Head:
    """The oldest event of a target, without its body: there may be many, and long ones."""

    seq: int
    target_arn: str
    next_us: int
    waiting: int
    """Events of the target that wait, this one among them."""


def heads(connection: Connection) -> list[Head]:
    """The oldest event of each target that waits, in order."""
    table = events_out.c
    mine = select(func.min(table.seq).label("first"), func.count().label("waiting")).where(table.done_us.is_(None))
    oldest = mine.group_by(table.target_arn).subquery()
    query = select(table.seq, table.target_arn, table.next_us, oldest.c.waiting).order_by(table.seq)
    rows = connection.execute(query.join(oldest, table.seq == oldest.c.first))
    return [Head(row.seq, row.target_arn, row.next_us, row.waiting) for row in rows]


def waiting(connection: Connection, seq: int) -> Waiting:
    """One event, whole."""
    return _waiting(connection.execute(select(events_out).where(events_out.c.seq == seq)).one())


def waiting_for(connection: Connection, targets: Sequence[str], limit: int) -> list[Waiting]:
    """The oldest events of these targets, in order."""
    mine = (events_out.c.done_us.is_(None), events_out.c.target_arn.in_(list(targets)))
    rows = connection.execute(select(events_out).where(*mine).order_by(events_out.c.seq).limit(limit))
    return [_waiting(row) for row in rows]


def behind(connection: Connection, head: Head, limit: int) -> list[Waiting]:
    """The oldest events of a target but its head, which may be tried just now; in order."""
    mine = (events_out.c.done_us.is_(None), events_out.c.target_arn == head.target_arn, events_out.c.seq > head.seq)
    rows = connection.execute(select(events_out).where(*mine).order_by(events_out.c.seq).limit(limit))
    return [_waiting(row) for row in rows]


def count_for(connection: Connection, target: str) -> int:
    """How many events wait for a target."""
    mine = (events_out.c.done_us.is_(None), events_out.c.target_arn == target)
    return connection.execute(select(func.count()).select_from(events_out).where(*mine)).scalar_one()


def begin(connection: Connection, seq: int, attempt: int) -> None:
    """Note that an attempt begins, so that one that is lost counts."""
    connection.execute(update(events_out).where(events_out.c.seq == seq).values(attempts=attempt))


def again(connection: Connection, seq: int, next_us: int, outcome: str) -> None:
    """Try again later; nothing else goes to its target before."""
    connection.execute(update(events_out).where(events_out.c.seq == seq).values(next_us=next_us, outcome=outcome))


def finish(connection: Connection, seq: int, now_us: int, outcome: str) -> None:
    """Delivered, or given up: `outcome` says which."""
    connection.execute(update(events_out).where(events_out.c.seq == seq).values(done_us=now_us, outcome=outcome))


def prune(connection: Connection) -> None:
    """Forget what was delivered long ago."""
    newest = connection.execute(select(func.max(events_out.c.seq))).scalar() or 0
    old = (events_out.c.seq <= newest - DONE_KEPT, events_out.c.done_us.is_not(None))
    connection.execute(delete(events_out).where(*old))


def _waiting(row: Row[Any]) -> Waiting:
    return Waiting(
        row.seq,
        row.uid,
        row.at_us,
        Scope(row.account, row.region),
        row.source,
        row.target_arn,
        row.body,
        row.attempts,
        row.next_us,
    )
