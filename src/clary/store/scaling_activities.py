"""Rows of scaling activities: what was done and why, for six weeks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from clary.domain.principal import Scope
from clary.domain.scaling import ActivityText
from clary.kit.clock import MICROS
from clary.store.documents import pack, unpack
from clary.store.named import After
from clary.store.scaling import key_of
from clary.store.scaling_pages import Page, page_of, within
from clary.store.tables import scaling_activities

ACTIVITIES_KEPT_US = 42 * 86400 * MICROS
"""Six weeks (API reference, DescribeScalingActivities)."""
ACTIVITIES_MAX = 10_000
"""Of one target; older ones go."""
NOT_SCALED = "NotScaled"
"""Status of an activity that is listed only where it is asked for; clients see Failed."""


@dataclass(frozen=True)
class Activity:
    """A scaling activity as stored."""

    uid: str
    scope: Scope
    resource_id: str
    dimension: str
    target_uid: str
    generation: int
    count: int | None
    """That was set; None where none was."""
    status: str
    started_us: int
    ended_us: int | None
    text: ActivityText


def add_activity(connection: Connection, activity: Activity) -> None:
    """Note an activity, and forget those that are too old."""
    table = scaling_activities
    connection.execute(
        insert(table).values(
            uid=activity.uid,
            account=activity.scope.account,
            region=activity.scope.region,
            resource_id=activity.resource_id,
            resource_key=key_of(activity.resource_id),
            dimension=activity.dimension,
            target_uid=activity.target_uid,
            generation=activity.generation,
            instances=activity.count,
            status=activity.status,
            started_us=activity.started_us,
            ended_us=activity.ended_us,
            text=pack(activity.text),
        )
    )
    mine = table.c.target_uid == activity.target_uid
    surplus = select(table.c.started_us).where(mine).order_by(table.c.started_us.desc()).offset(ACTIVITIES_MAX).limit(1)
    last_us = connection.execute(surplus).scalar()
    if last_us is not None:
        connection.execute(delete(table).where(mine, table.c.started_us <= last_us))
    connection.execute(delete(table).where(table.c.started_us < activity.started_us - ACTIVITIES_KEPT_US))


def open_activity(connection: Connection, target_uid: str) -> Activity | None:
    """The activity of a target that has not ended, or None."""
    table = scaling_activities
    row = connection.execute(
        select(table)
        .where(table.c.target_uid == target_uid, table.c.ended_us.is_(None))
        .order_by(table.c.started_us.desc())
        .limit(1)
    ).first()
    return None if row is None else activity_of(row)


def end_activity(connection: Connection, uid: str, status: str, text: ActivityText, ended_us: int) -> None:
    """Note how an activity ended."""
    table = scaling_activities
    connection.execute(
        update(table).where(table.c.uid == uid).values(status=status, text=pack(text), ended_us=ended_us)
    )


def list_activities(
    connection: Connection, scope: Scope, page: Page, since_us: int, *, not_scaled: bool
) -> tuple[list[Activity], After | None]:
    """One page of activities from `since_us` on, the newest first."""
    table = scaling_activities
    query = within(select(table), table, scope, page).where(table.c.started_us >= since_us)
    if not not_scaled:
        query = query.where(table.c.status != NOT_SCALED)
    rows, more = page_of(connection, query, table, page, table.c.started_us, newest=True)
    return [activity_of(row) for row in rows], more


def activity_of(row: Row[Any]) -> Activity:
    """A row of `scaling_activities` as a value."""
    return Activity(
        uid=row.uid,
        scope=Scope(row.account, row.region),
        resource_id=row.resource_id,
        dimension=row.dimension,
        target_uid=row.target_uid,
        generation=row.generation,
        count=row.instances,
        status=row.status,
        started_us=row.started_us,
        ended_us=row.ended_us,
        text=unpack(row.text, ActivityText),
    )
