"""Named resources of an account and region: find by name, list by key set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, case, func, or_, select

from clary.domain.names import name_key
from clary.domain.principal import Scope

PAGE_DEFAULT = 10
"""MaxResults where it is not given (ListEndpoints, API reference)."""


@dataclass(frozen=True)
class After:
    """Where a page ends: the sort value and uid of its last row. New rows before it change nothing for what follows."""

    value: str | int
    uid: str


@dataclass(frozen=True)
class ListQuery:
    """What a List operation asks for. Instants in UTC microseconds; None: no bound."""

    sort_by: str = "CreationTime"
    """`Name`, `CreationTime` or, for endpoints, `Status`."""
    descending: bool = True
    """The default of the API reference."""
    limit: int = PAGE_DEFAULT
    after: After | None = None
    name_contains: str = ""
    created_from_us: int | None = None
    """At or after (CreationTimeAfter is documented as greater than or equal)."""
    created_before_us: int | None = None
    modified_after_us: int | None = None
    modified_before_us: int | None = None
    status: str = ""


@dataclass(frozen=True)
class Columns:
    """The expressions that a table sorts and filters by."""

    table: Table
    sorts: dict[str, ColumnElement[Any]]
    modified: ColumnElement[Any]
    status: ColumnElement[Any] | None = None


def observed(table: Table, status: ColumnElement[Any]) -> Columns:
    """Those of what reconcile observes: it was modified at the later of the last wish and the last observation."""
    seen_us = func.coalesce(table.c.observed_us, 0)
    return Columns(
        table,
        {"Name": table.c.name_key, "CreationTime": table.c.created_us, "Status": status},
        modified=case((seen_us > table.c.modified_us, seen_us), else_=table.c.modified_us),
        status=status,
    )


def find(connection: Connection, table: Table, scope: Scope, name: str) -> Row[Any] | None:
    """The row of that name, whatever the case, or None."""
    return connection.execute(
        select(table).where(
            table.c.account == scope.account, table.c.region == scope.region, table.c.name_key == name_key(name)
        )
    ).first()


def columns_of(table: Table) -> Columns:
    """Sorts and filters that every named resource has."""
    return Columns(table, {"Name": table.c.name_key, "CreationTime": table.c.created_us}, modified=table.c.modified_us)


def list_page(
    connection: Connection, columns: Columns, scope: Scope, query: ListQuery
) -> tuple[Sequence[Row[Any]], After | None]:
    """One page, and where it ends if there is more. KeyError for a sort that the table does not have."""
    key, uid = columns.sorts[query.sort_by], columns.table.c.uid
    order = (key.desc(), uid.desc()) if query.descending else (key.asc(), uid.asc())
    statement = _filtered(select(columns.table, key.label("sort_value")), columns, scope, query)
    if query.after is not None:
        value, last = query.after.value, query.after.uid
        past = key < value if query.descending else key > value
        statement = statement.where(or_(past, and_(key == value, uid < last if query.descending else uid > last)))
    rows = connection.execute(statement.order_by(*order).limit(query.limit + 1)).all()
    page = rows[: query.limit]
    more = After(page[-1].sort_value, page[-1].uid) if len(rows) > query.limit else None
    return page, more


def _filtered(statement: Select[Any], columns: Columns, scope: Scope, query: ListQuery) -> Select[Any]:
    table = columns.table
    statement = statement.where(table.c.account == scope.account, table.c.region == scope.region)
    if query.name_contains:
        statement = statement.where(table.c.name_key.contains(name_key(query.name_contains), autoescape=True))
    if query.created_from_us is not None:
        statement = statement.where(table.c.created_us >= query.created_from_us)
    if query.created_before_us is not None:
        statement = statement.where(table.c.created_us < query.created_before_us)
    if query.modified_after_us is not None:
        statement = statement.where(columns.modified > query.modified_after_us)
    if query.modified_before_us is not None:
        statement = statement.where(columns.modified < query.modified_before_us)
    if query.status and columns.status is not None:
        statement = statement.where(columns.status == query.status)
    return statement
