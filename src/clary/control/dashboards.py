"""Dashboards: stored as they came, once their body was found right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from clary.control.desk import Caller, Deed, Desk
from clary.domain.errors import LimitExceeded, NotFound
from clary.store.records import record
from clary.store.tables import dashboards

DASHBOARDS_MAX = 5000
"""Of one account. The service has no such limit."""
PAGE = 1000


@dataclass(frozen=True)
class Dashboard:
    """One dashboard."""

    name: str
    arn: str
    body: str
    modified_us: int


@dataclass(frozen=True)
class Entry:
    """One line of the list."""

    name: str
    arn: str
    modified_us: int
    size_bytes: int


def arn_of(account: str, name: str) -> str:
    """Dashboards are global: no region is in it."""
    return f"arn:aws:cloudwatch::{account}:dashboard/{name}"


async def put(desk: Desk, caller: Caller, name: str, body: str) -> None:
    """Make or replace a dashboard whose body is right. LimitExceeded."""
    now_us = desk.clock.now_us()
    account = caller.scope.account

    def work(connection: Connection) -> None:
        mine = dashboards.c.account == account
        values = {"modified_us": now_us, "body": body}
        if not connection.execute(update(dashboards).where(mine, dashboards.c.name == name).values(values)).rowcount:
            if (
                connection.execute(select(func.count()).select_from(dashboards).where(mine)).scalar_one()
                >= DASHBOARDS_MAX
            ):
                raise LimitExceeded("an account", DASHBOARDS_MAX, "dashboards")
            connection.execute(insert(dashboards).values(account=account, name=name, **values))
        record(connection, caller, Deed("PutDashboard", "", arn_of(account, name), now_us, "dashboard"))

    await desk.store.write(work)


async def get(desk: Desk, caller: Caller, name: str) -> Dashboard:
    """A dashboard; NotFound."""
    account = caller.scope.account
    query = select(dashboards).where(dashboards.c.account == account, dashboards.c.name == name)
    row = await desk.store.read(lambda connection: connection.execute(query).first())
    if row is None:
        raise NotFound("dashboard", name, arn_of(account, name))
    return Dashboard(row.name, arn_of(account, row.name), row.body, row.modified_us)


async def list_entries(desk: Desk, caller: Caller, prefix: str, after: str) -> list[Entry]:
    """At most PAGE + 1 dashboards whose names begin with `prefix` and come after `after`, by name."""
    account = caller.scope.account
    query = (
        select(dashboards)
        .where(
            dashboards.c.account == account,
            # Not LIKE, which knows no case on SQLite.
            func.substr(dashboards.c.name, 1, len(prefix)) == prefix,
            dashboards.c.name > after,
        )
        .order_by(dashboards.c.name)
        .limit(PAGE + 1)
    )
    rows = await desk.store.read(lambda connection: connection.execute(query).all())
    return [Entry(row.name, arn_of(account, row.name), row.modified_us, len(row.body.encode())) for row in rows]


async def remove(desk: Desk, caller: Caller, names: Sequence[str]) -> None:
    """Delete dashboards: all of them, or none and NotFound for the first that is not there."""
    now_us = desk.clock.now_us()
    account = caller.scope.account

    def work(connection: Connection) -> None:
        for name in dict.fromkeys(names):
            gone = delete(dashboards).where(dashboards.c.account == account, dashboards.c.name == name)
            if not connection.execute(gone).rowcount:
                raise NotFound("dashboard", name, arn_of(account, name))
            record(connection, caller, Deed("DeleteDashboards", "", arn_of(account, name), now_us, "dashboard"))

    await desk.store.write(work)
