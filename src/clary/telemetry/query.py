"""Reading the metric store: points of one metric, and which metrics there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clary.domain.principal import Scope
from clary.telemetry.points import Cell, Dimensions, decode_dimensions, encode_dimensions
from clary.telemetry.sketch import Sketch
from clary.telemetry.store import RETENTION_S

_HAS_NAME = "EXISTS (SELECT 1 FROM json_each(dimensions) AS d WHERE d.value ->> 0 = ?)"
_HAS_PAIR = "EXISTS (SELECT 1 FROM json_each(dimensions) AS d WHERE d.value ->> 0 = ? AND d.value ->> 1 = ?)"


@dataclass(frozen=True, order=True)
class Metric:
    """A metric as CloudWatch knows it. Each unique set of dimensions is a metric of its own."""

    namespace: str
    name: str
    dimensions: Dimensions
    """Sorted by name."""


@dataclass(frozen=True)
class Point:
    """What is known of one metric over `resolution_s` seconds from `at_s` on, in one unit."""

    at_s: int
    unit: str
    cell: Cell


@dataclass(frozen=True)
class MetricFilter:
    """Which metrics to list."""

    namespace: str | None = None
    name: str | None = None
    dimensions: Sequence[tuple[str, str | None]] = ()
    """Each must be there; None takes any value. Further dimensions do not matter."""
    active_since_s: int = 0
    """UTC seconds: only metrics with a point from then on."""


def resolution_for(period_s: int, start_s: int) -> int:
    """The coarsest roll-up whose points fit whole into periods that begin at `start_s`: the one kept longest."""
    return max(r for r in RETENTION_S if period_s % r == 0 and start_s % r == 0)


def read_points(
    db: sqlite3.Connection, scope: Scope, metric: Metric, span: tuple[int, int, int], *, sketches: bool = True
) -> list[Point]:
    """Points in order of time and unit. `span`: resolution, start (inclusive) and end (exclusive), in seconds.

    Several resources that bore the name one after the other are one metric; routers' shares of a gauge are added up.
    """
    rows = db.execute(
        """SELECT point.at, unit, resource, part, count, sum, min, max, CASE WHEN ? THEN sketch END
        FROM series JOIN point ON point.series = series.id AND point.resolution = ? AND point.at >= ? AND point.at < ?
        WHERE account = ? AND region = ? AND namespace = ? AND metric = ? AND dimensions = ?
        ORDER BY point.at, unit, resource, part""",
        (
            *(sketches, *span, scope.account, scope.region),
            *(metric.namespace, metric.name, encode_dimensions(metric.dimensions)),
        ),
    )
    by_resource: dict[tuple[int, str, str], Cell] = {}
    for at_s, unit, resource, part, count, total, least, most, sketch in rows:
        cell = Cell(count, total, least, most, None if sketch is None else Sketch.decode(sketch))
        whole = by_resource.get((at_s, unit, resource))
        if whole is None:
            by_resource[at_s, unit, resource] = cell
        elif part:
            whole.add_share(cell)
        else:
            whole.merge(cell)
    points: dict[tuple[int, str], Cell] = {}
    for (at_s, unit, _), cell in by_resource.items():
        points.setdefault((at_s, unit), Cell()).merge(cell)
    return [Point(at_s, unit, cell) for (at_s, unit), cell in sorted(points.items(), key=lambda item: item[0])]


def list_metrics(
    db: sqlite3.Connection, scope: Scope, wanted: MetricFilter, after: Metric | None, count_max: int
) -> list[Metric]:
    """At most `count_max` metrics after `after`, in the order of namespace, name and stored dimensions."""
    return list(each_metric(db, scope, wanted, after, count_max))


def each_metric(
    db: sqlite3.Connection, scope: Scope, wanted: MetricFilter, after: Metric | None, count_max: int
) -> Iterator[Metric]:
    """`list_metrics`, one by one."""
    where = ["account = ?", "region = ?", "last_s >= ?"]
    values: list[str | int] = [scope.account, scope.region, wanted.active_since_s]
    if wanted.namespace is not None:
        where.append("namespace = ?")
        values.append(wanted.namespace)
    if wanted.name is not None:
        where.append("metric = ?")
        values.append(wanted.name)
    for name, value in wanted.dimensions:
        where.append(_HAS_NAME if value is None else _HAS_PAIR)
        values.extend((name,) if value is None else (name, value))
    if after is not None:
        where.append("(namespace, metric, dimensions) > (?, ?, ?)")
        values.extend((after.namespace, after.name, encode_dimensions(after.dimensions)))
    rows = db.execute(
        f"SELECT DISTINCT namespace, metric, dimensions FROM series WHERE {' AND '.join(where)}"  # noqa: S608 - constants
        " ORDER BY namespace, metric, dimensions LIMIT ?",
        (*values, count_max),
    )
    return (Metric(namespace, name, decode_dimensions(dimensions)) for namespace, name, dimensions in rows)
