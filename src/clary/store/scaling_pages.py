"""Pages of targets, policies and scheduled actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, Table, and_, or_, select

from clary.domain.principal import Scope
from clary.store.named import After
from clary.store.scaling import Policy, ScheduledAction, Target, action_of, key_of, policy_of, target_of
from clary.store.tables import scalable_targets, scaling_policies, scheduled_actions

Listed = TypeVar("Listed")


@dataclass(frozen=True)
class Page:
    """What a Describe operation asks for."""

    limit: int
    after: After | None = None
    resource_ids: Sequence[str] = ()
    names: Sequence[str] = ()
    dimension: str | None = None


def list_targets(connection: Connection, scope: Scope, page: Page) -> tuple[list[Target], After | None]:
    """One page of targets, the oldest first."""
    query = within(select(scalable_targets), scalable_targets, scope, page)
    rows, more = page_of(connection, query, scalable_targets, page, scalable_targets.c.created_us)
    return [target_of(row) for row in rows], more


def list_policies(connection: Connection, scope: Scope, page: Page) -> tuple[list[tuple[Policy, Target]], After | None]:
    """One page of policies with their targets, the oldest first."""
    return _listed(connection, scaling_policies, scope, page, policy_of)


def list_actions(
    connection: Connection, scope: Scope, page: Page
) -> tuple[list[tuple[ScheduledAction, Target]], After | None]:
    """One page of scheduled actions with their targets, the oldest first."""
    return _listed(connection, scheduled_actions, scope, page, action_of)


def _listed(
    connection: Connection, table: Table, scope: Scope, page: Page, of: Callable[[Row[Any]], Listed]
) -> tuple[list[tuple[Listed, Target]], After | None]:
    inner = within(select(scalable_targets.c.uid), scalable_targets, scope, page)
    query = select(table).where(table.c.target_uid.in_(inner))
    if page.names:
        query = query.where(table.c.name.in_(page.names))
    rows, more = page_of(connection, query, table, page, table.c.created_us)
    uids = {row.target_uid for row in rows}
    targets = {
        row.uid: target_of(row)
        for row in connection.execute(select(scalable_targets).where(scalable_targets.c.uid.in_(uids)))
    }
    return [(of(row), targets[row.target_uid]) for row in rows], more


def within(query: Select[Any], table: Table, scope: Scope, page: Page) -> Select[Any]:
    query = query.where(table.c.account == scope.account, table.c.region == scope.region)
    if page.resource_ids:
        query = query.where(table.c.resource_key.in_([key_of(resource) for resource in page.resource_ids]))
    if page.dimension is not None:
        query = query.where(table.c.dimension == page.dimension)
    return query


def page_of(
    connection: Connection, query: Select[Any], table: Table, page: Page, key: Any, *, newest: bool = False
) -> tuple[Sequence[Row[Any]], After | None]:
    uid = table.c.uid
    if page.after is not None:
        value, last = page.after.value, page.after.uid
        past = and_(key == value, uid < last if newest else uid > last)
        query = query.where(or_(key < value if newest else key > value, past))
    order = (key.desc(), uid.desc()) if newest else (key.asc(), uid.asc())
    rows = connection.execute(query.order_by(*order).limit(page.limit + 1)).all()
    shown = rows[: page.limit]
    more = After(getattr(shown[-1], key.name), shown[-1].uid) if len(rows) > page.limit else None
    return shown, more
