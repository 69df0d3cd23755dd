"""Rows of alarms' history: written in the transaction of what they tell of, kept for two weeks.

Kept beside the alarms, not with the metrics: an item is there exactly once, whatever is killed when.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select

from clary.domain.alarms import AlarmValue
from clary.domain.principal import Scope
from clary.kit.instants import MICROS
from clary.store.tables import alarm_history

KEPT_US = 14 * 86_400 * MICROS
"""The user guide: history is kept for two weeks. In microseconds."""
ROWS_MAX = 200_000
"""Items kept at most, of all alarms together: the oldest go first."""
DATA_CHARS_MAX = 4095
"""HistoryData (API reference)."""


@dataclass(frozen=True)
class Item:
    """One item."""

    scope: Scope
    name: str
    kind: str
    """`metric` or `composite`."""
    at_us: int
    item: str
    """`ConfigurationUpdate`, `StateUpdate` or `Action`."""
    summary: str
    data: str
    """JSON."""
    seq: int = 0
    """Order among all; 0 before it is stored."""


@dataclass(frozen=True)
class HistoryQuery:
    """Which items, a page of them."""

    name: str | None = None
    kinds: Sequence[str] = ("metric",)
    item: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    newest_first: bool = True
    after: tuple[int, int] | None = None
    """(at_us, seq) of the last item given."""
    limit: int = 100


def encode_data(data: Mapping[str, Any]) -> str:
    """HistoryData: without the `stateReasonData` of its states where it would be too long."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    if len(text) <= DATA_CHARS_MAX:
        return text
    shorter = {
        name: {key: inner for key, inner in value.items() if key != "stateReasonData"}
        if isinstance(value, Mapping)
        else value
        for name, value in data.items()
    }
    text = json.dumps(shorter, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= DATA_CHARS_MAX else json.dumps({"version": "1.0", "type": data.get("type", "")})


def append(connection: Connection, *items: Item) -> None:
    """Note items, in their order."""
    rows = [
        {
            "account": item.scope.account,
            "region": item.scope.region,
            "name": item.name,
            "kind": item.kind,
            "at_us": item.at_us,
            "item": item.item,
            "summary": item.summary,
            "data": item.data,
        }
        for item in items
    ]
    if rows:
        connection.execute(insert(alarm_history), rows)


def page(connection: Connection, scope: Scope, query: HistoryQuery) -> Sequence[Item]:
    """At most `limit` items in order of time."""
    table = alarm_history.c
    statement = select(alarm_history).where(
        table.account == scope.account, table.region == scope.region, table.kind.in_(list(query.kinds))
    )
    if query.name is not None:
        statement = statement.where(table.name == query.name)
    if query.item is not None:
        statement = statement.where(table.item == query.item)
    if query.from_us is not None:
        statement = statement.where(table.at_us >= query.from_us)
    if query.to_us is not None:
        statement = statement.where(table.at_us <= query.to_us)
    if query.after is not None:
        at_us, seq = query.after
        older = or_(table.at_us < at_us, and_(table.at_us == at_us, table.seq < seq))
        newer = or_(table.at_us > at_us, and_(table.at_us == at_us, table.seq > seq))
        statement = statement.where(older if query.newest_first else newer)
    order = (table.at_us.desc(), table.seq.desc()) if query.newest_first else (table.at_us, table.seq)
    rows = connection.execute(statement.order_by(*order).limit(query.limit))
    return [
        Item(Scope(row.account, row.region), row.name, row.kind, row.at_us, row.item, row.summary, row.data, row.seq)
        for row in rows
    ]


def tripped(connection: Connection, scope: Scope, names: Collection[str], since_us: int) -> set[str]:
    """Those of the alarms that went into ALARM since, whatever they are now or whether they still are."""
    table = alarm_history.c
    went = select(table.name).where(
        table.account == scope.account,
        table.region == scope.region,
        table.name.in_(sorted(names)),
        table.at_us >= since_us,
        table.item == "StateUpdate",
        table.summary.endswith(f" to {AlarmValue.ALARM.value}"),
    )
    return set(connection.execute(went).scalars())


def prune(connection: Connection, now_us: int) -> None:
    """Forget what is older than two weeks, or too much."""
    table = alarm_history.c
    newest = connection.execute(select(func.max(table.seq))).scalar() or 0
    connection.execute(delete(alarm_history).where(or_(table.at_us < now_us - KEPT_US, table.seq <= newest - ROWS_MAX)))
