"""Rows of alarms.

Readers of states (scaling, rollouts) are level-triggered: they read `alarm_states` and are called by nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, delete, func, insert, null, select, update

from clary.domain.alarms import (
    Alarm,
    AlarmSpec,
    AlarmState,
    AlarmValue,
    CompositeAlarm,
    EvaluationState,
    MetricAlarm,
    SetState,
    Suppression,
    initial_state,
)
from clary.domain.principal import Scope
from clary.store.documents import pack, unpack
from clary.store.tables import alarms, tags

METRIC, COMPOSITE = "metric", "composite"
_NAMES_AT_ONCE = 500
"""SQLite takes 32,766 values in a statement; a few hundred are quick everywhere."""


def alarm_states(connection: Connection, scope: Scope, names: Collection[str]) -> Mapping[str, AlarmState]:
    """The states of those alarms that there are, by name."""
    found: dict[str, AlarmState] = {}
    wanted = sorted(set(names))
    for start in range(0, len(wanted), _NAMES_AT_ONCE):
        query = select(alarms).where(
            alarms.c.account == scope.account,
            alarms.c.region == scope.region,
            alarms.c.name.in_(wanted[start : start + _NAMES_AT_ONCE]),
        )
        found |= {row.name: state_of(row) for row in connection.execute(query)}
    return found


def alarm_mark(connection: Connection) -> tuple[int, int]:
    """Differs where any alarm changed its state or went: when the last did, and how many there are."""
    last_us, count = connection.execute(select(func.max(alarms.c.transitioned_us), func.count(alarms.c.uid))).one()
    return last_us or 0, count


def find_alarm(connection: Connection, scope: Scope, name: str) -> Alarm | None:
    """The alarm of that very name, or None."""
    row = connection.execute(select(alarms).where(_is(scope, name))).first()
    return None if row is None else alarm(row)


def alarms_of(connection: Connection, scope: Scope | None = None) -> Sequence[Alarm]:
    """Every alarm, of one account and region or of all, the oldest first."""
    query = select(alarms).order_by(alarms.c.uid)
    if scope is not None:
        query = query.where(alarms.c.account == scope.account, alarms.c.region == scope.region)
    return [alarm(row) for row in connection.execute(query)]


def put(connection: Connection, scope: Scope, name: str, spec: AlarmSpec, uid: str, now_us: int) -> Alarm | None:
    """Make the alarm (with `uid`), or define it anew: it keeps its uid and its state. The alarm as it was, or None."""
    old = find_alarm(connection, scope, name)
    kind = METRIC if isinstance(spec, MetricAlarm) else COMPOSITE
    if old is None:
        connection.execute(
            insert(alarms).values(
                uid=uid,
                account=scope.account,
                region=scope.region,
                name=name,
                kind=kind,
                created_us=now_us,
                modified_us=now_us,
                spec=pack(spec),
                wish=1,
                seen=0,
            )
        )
    else:
        connection.execute(
            update(alarms)
            .where(alarms.c.uid == old.uid)
            .values(
                kind=kind,
                modified_us=now_us,
                spec=pack(spec),
                wish=alarms.c.wish + 1,
                # A state that was set and not yet looked at still counts.
                set_state=case((alarms.c.seen < alarms.c.wish, alarms.c.set_state), else_=null()),
            )
        )
    return old


def set_state(connection: Connection, uid: str, state: SetState) -> None:
    """Want a state until the next evaluation."""
    connection.execute(update(alarms).where(alarms.c.uid == uid).values(wish=alarms.c.wish + 1, set_state=pack(state)))


def change(connection: Connection, uid: str, spec: AlarmSpec, now_us: int) -> None:
    """Define an alarm anew without a look at its state: its actions were switched on or off."""
    connection.execute(update(alarms).where(alarms.c.uid == uid).values(spec=pack(spec), modified_us=now_us))


def delete_alarms(connection: Connection, uids: Collection[str]) -> None:
    """Alarms and their tags go; their history stays."""
    connection.execute(delete(tags).where(tags.c.resource_uid.in_(uids)))
    connection.execute(delete(alarms).where(alarms.c.uid.in_(uids)))


def wished(connection: Connection) -> bool:
    """Whether control wants something that nobody looked at."""
    return connection.execute(select(alarms.c.uid).where(alarms.c.seen < alarms.c.wish).limit(1)).first() is not None


def suppression_end_us(connection: Connection) -> int | None:
    """When the next suppression ends; None where none has an end."""
    found: int | None = connection.execute(select(func.min(alarms.c.suppressed_until_us))).scalar()
    return found


def note(connection: Connection, observed: Mapping[str, Mapping[str, Any]]) -> None:
    """What was observed of alarms: values of their columns by uid; written by reconcile alone."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for uid, values in observed.items():
        row = {"key_of_row": uid, **{f"new_{name}": value for name, value in values.items()}}
        groups.setdefault(tuple(sorted(values)), []).append(row)
    for names, rows in groups.items():
        values_of: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
        statement = update(alarms).where(alarms.c.uid == bindparam("key_of_row")).values(values_of)
        connection.execute(statement, rows)


def alarm(row: Row[Any]) -> Alarm:
    """A row as a value."""
    return Alarm(
        uid=row.uid,
        scope=Scope(row.account, row.region),
        name=row.name,
        created_us=row.created_us,
        modified_us=row.modified_us,
        spec=unpack(row.spec, MetricAlarm) if row.kind == METRIC else unpack(row.spec, CompositeAlarm),
        state=state_of(row),
        suppression=Suppression(row.suppressed_by, row.suppressed_until_us) if row.suppressed_by else None,
        acted=AlarmValue(row.acted) if row.acted else None,
        wish=row.wish,
        seen=row.seen,
        set=unpack(row.set_state, SetState) if row.set_state and row.seen < row.wish else None,
    )


def state_of(row: Row[Any]) -> AlarmState:
    """The state in a row, whose columns are NULL before the first evaluation."""
    first = initial_state(row.uid, row.name, row.created_us)
    return replace(
        first,
        value=AlarmValue(row.state) if row.state else first.value,
        reason=first.reason if row.state_reason is None else row.state_reason,
        reason_data=row.state_reason_data or "",
        updated_us=row.state_updated_us or first.updated_us,
        transitioned_us=row.transitioned_us or first.transitioned_us,
        evaluated_us=row.evaluated_us,
        evaluation=EvaluationState(row.evaluation_state) if row.evaluation_state else None,
    )


def _is(scope: Scope, name: str) -> Any:
    return (alarms.c.account == scope.account) & (alarms.c.region == scope.region) & (alarms.c.name == name)
