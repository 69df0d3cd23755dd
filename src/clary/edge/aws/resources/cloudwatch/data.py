"""GetMetricData: queries in, pages of points out. What a query may say is in `queries`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timezone
from typing import Any

from clary.control import metrics
from clary.control.metrics import MetricDesk
from clary.domain.errors import Invalid
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members
from clary.edge.aws.resources.cloudwatch.common import parameters as asked_of
from clary.edge.aws.resources.cloudwatch.common import time_of
from clary.edge.aws.resources.cloudwatch.queries import DATA_DATAPOINTS_MAX, MetricQuery, Queries, Query, read_queries
from clary.kit.clock import MICROS
from clary.telemetry.expressions import BadExpression, Series
from clary.telemetry.labels import rendered, zone_of
from clary.telemetry.metric_data import Wanted
from clary.telemetry.query import Point
from clary.telemetry.statistics import Question, value, window

FIELDS: Mapping[str, Field] = dict.fromkeys(
    (
        "MetricDataQueries",
        "MetricDataQueries[].Id",
        "MetricDataQueries[].MetricStat",
        "MetricDataQueries[].Expression",
        "MetricDataQueries[].Period",
        "MetricDataQueries[].Label",
        "MetricDataQueries[].ReturnData",
        "MetricDataQueries[].AccountId",
        "LabelOptions",
        "StartTime",
        "EndTime",
        "NextToken",
        "ScanBy",
        "MaxDatapoints",
    ),
    Field.SERVED,
)

Values = list[tuple[int, float]]
"""(UTC seconds, value) in the order of the answer."""


@dataclass(frozen=True)
class _Line:
    """One result: a query's, or one of the series of a query that has several."""

    id: str
    label: str
    values: Values | None
    """None: not read, because the pages before it are full."""


@dataclass(frozen=True)
class _Place:
    """Where a page ended: `line` is the index of the first that has points left, `at_s` the last point given of it."""

    line: int = 0
    at_s: int | None = None


@dataclass(frozen=True)
class _Order:
    """How the answer is laid out."""

    newest_first: bool
    points_max: int
    zone: timezone
    """In which labels tell times."""


async def get_metric_data(desk: MetricDesk, call: Call, members: Members) -> Members:
    order = _Order(
        members.get("ScanBy", "TimestampDescending") == "TimestampDescending",
        members.get("MaxDatapoints", DATA_DATAPOINTS_MAX),
        _zone(members),
    )
    queries = read_queries(members, call.scope.account, desk.clock.now_us() / MICROS, order.points_max)
    parameters = asked_of("GetMetricData", call, members)
    place = _read_place(members["NextToken"], parameters) if members.get("NextToken") else _Place()
    if queries.need_whole:
        lines = await _whole_lines(desk, call, queries, order)
    else:
        lines = await _metric_lines(desk, call, queries, place, order)
    results, next_place = _page(lines, place, order)
    answer: dict[str, Any] = {"MetricDataResults": results, "Messages": []}
    if next_place is not None:
        position = (next_place.line, "" if next_place.at_s is None else next_place.at_s)
        answer["NextToken"] = page.encode(position, parameters)
    return answer


async def _metric_lines(desk: MetricDesk, call: Call, queries: Queries, place: _Place, order: _Order) -> list[_Line]:
    """Lines of metrics alone: what earlier pages gave, and what this one has no room for, is not read."""
    shown = [query for query in queries.all if query.returned and isinstance(query, MetricQuery)]
    questions = [query.wanted.question for query in shown[place.line :]]
    if place.at_s is not None and questions:
        questions[0] = _rest(questions[0], place.at_s, newest_first=order.newest_first)
    answers = await metrics.ask(desk, call.scope, questions, lambda count: count > order.points_max)
    values = [
        _values(query.wanted, points, newest_first=order.newest_first)
        for query, points in zip(shown[place.line :], answers, strict=False)
    ]
    read: list[Values | None] = [[] for _ in shown[: place.line]]
    read += values
    read += [None] * (len(shown) - len(read))
    return [
        _Line(query.id, query.label or query.wanted.question.metric.name, one)
        for query, one in zip(shown, read, strict=True)
    ]


async def _whole_lines(desk: MetricDesk, call: Call, queries: Queries, order: _Order) -> list[_Line]:
    """Lines of a request with expressions or dynamic labels, which need all of their series on every page."""
    try:
        values = await metrics.calculate(
            desk,
            call.scope,
            {query.id: query.wanted for query in queries.all if isinstance(query, MetricQuery)},
            {query.id: query.math for query in queries.all if not isinstance(query, MetricQuery)},
            lambda period_s: window(queries.start_s, queries.end_s, period_s, desk.clock.now_us() / MICROS),
        )
    except BadExpression as error:
        raise AwsError("ValidationError", f"{error.message}.") from None
    lines = []
    for query in queries.all:
        if not query.returned:
            continue
        value = values[query.id]
        members = (value,) if isinstance(value, Series) else value
        for one in members:
            points = list(one.points.items())
            label = _label(query, one, order.zone, single=isinstance(value, Series))
            lines.append(_Line(query.id, label, points[::-1] if order.newest_first else points))
    return lines


def _label(query: Query, one: Series, zone: timezone, *, single: bool) -> str:
    """A label of its own is rendered; one of several series has its metric's after it, as legends of dashboards do."""
    if query.label is None:
        return (one.label if isinstance(query, MetricQuery) else query.id) if single else one.label
    own = rendered(query.label, one, zone)
    return own if single or "${LABEL}" in query.label else f"{own} {one.label}".strip()


def _page(lines: Sequence[_Line], place: _Place, order: _Order) -> tuple[list[Members], _Place | None]:
    """Results of one page, and where the next one begins; None after the last.

    Every page has every line, so that a client that takes the first page only finds what it asked for; one whose points
    come on a later page has none here and is PartialData.
    """
    results: list[Members] = []
    left = order.points_max
    next_place: _Place | None = None
    for number, line in enumerate(lines):
        shown: Values = []
        if next_place is None and number >= place.line:
            if line.values is None:
                next_place = _Place(number)
            else:
                rest = _after(line.values, place.at_s, order) if number == place.line else line.values
                shown = rest[:left]
                left -= len(shown)
                if len(shown) < len(rest):
                    next_place = _Place(number, shown[-1][0] if shown else None)
        results.append(
            {
                "Id": line.id,
                "Label": line.label,
                "Timestamps": [time_of(at_s) for at_s, _ in shown],
                "Values": [number for _, number in shown],
                "StatusCode": "Complete" if next_place is None else "PartialData",
            }
        )
    return results, next_place


def _after(values: Values, at_s: int | None, order: _Order) -> Values:
    """What of a line earlier pages did not give."""
    if at_s is None:
        return values
    return [one for one in values if (one[0] < at_s if order.newest_first else one[0] > at_s)]


def _rest(question: Question, at_s: int, *, newest_first: bool) -> Question:
    """What is left of a question after the point at `at_s` was given."""
    seen = question.window
    rest = replace(seen, end_s=min(seen.end_s, at_s)) if newest_first else replace(seen, start_s=at_s + seen.period_s)
    return replace(question, window=rest)


def _values(wanted: Wanted, points: Sequence[Point], *, newest_first: bool) -> Values:
    # Points of several units at one time are several points, as the service gives them.
    known = [(p.at_s, v) for p in points if (v := value(wanted.stat, p.cell)) is not None]
    return known[::-1] if newest_first else known


def _zone(members: Members) -> timezone:
    text = (members.get("LabelOptions") or {}).get("Timezone")
    if not text:
        return UTC
    try:
        return zone_of(text)
    except Invalid as error:
        raise AwsError("ValidationError", f"The parameter LabelOptions.Timezone: {error.message}") from None


def _read_place(token: str, parameters: Mapping[str, object]) -> _Place:
    try:
        line, at_s = page.decode(token, parameters)
    except Invalid as error:
        raise AwsError("InvalidNextToken", error.message) from None
    return _Place(int(line), None if at_s == "" else int(at_s))
