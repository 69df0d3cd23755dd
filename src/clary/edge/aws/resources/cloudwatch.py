"""CloudWatch's read operations on metrics: GetMetricStatistics, GetMetricData, ListMetrics.

Texts of errors: as public issues show them (tests/wire/test_cloudwatch.py says which are the service's and which ours).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from clary.control import metrics
from clary.control.metrics import MetricDesk
from clary.domain.errors import Invalid
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.kit.clock import MICROS
from clary.telemetry.points import decode_dimensions, encode_dimensions
from clary.telemetry.query import Metric, MetricFilter, Point
from clary.telemetry.statistics import Percentile, Question, Stat, is_period, parse_stat, value, window

STATISTICS_DATAPOINTS_MAX = 1440
DATA_DATAPOINTS_MAX = 100_800
DATA_QUERIES_MAX = 500
LIST_PAGE = 500

_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")


def operations(desk: MetricDesk) -> tuple[Operation, ...]:
    """What is served of CloudWatch."""

    async def get_metric_statistics(call: Call, members: Members) -> Members:
        return await _get_metric_statistics(desk, call, members)

    async def get_metric_data(call: Call, members: Members) -> Members:
        return await _get_metric_data(desk, call, members)

    async def list_metrics(call: Call, members: Members) -> Members:
        return await _list_metrics(desk, call, members)

    return (
        Operation("cloudwatch", "GetMetricStatistics", get_metric_statistics, STATISTICS_FIELDS),
        Operation("cloudwatch", "GetMetricData", get_metric_data, DATA_FIELDS, DATA_NOTES),
        Operation("cloudwatch", "ListMetrics", list_metrics, LIST_FIELDS),
    )


# -- GetMetricStatistics -----------------------------------------------------------------------------------------------

STATISTICS_FIELDS: Mapping[str, Field] = dict.fromkeys(
    (
        "Namespace",
        "MetricName",
        "Dimensions",
        "StartTime",
        "EndTime",
        "Period",
        "Statistics",
        "ExtendedStatistics",
        "Unit",
    ),
    Field.SERVED,
)


async def _get_metric_statistics(desk: MetricDesk, call: Call, members: Members) -> Members:
    start_s, end_s, period_s = members["StartTime"].timestamp(), members["EndTime"].timestamp(), members["Period"]
    simple, extended = members.get("Statistics") or [], members.get("ExtendedStatistics") or []
    if problem := _times_problem(start_s, end_s):
        raise AwsError("InvalidParameterValue", problem)
    if not is_period(period_s):
        raise AwsError("InvalidParameterValue", _PERIOD)
    if simple and extended:
        text = "The parameters Statistics and ExtendedStatistics are mutually exclusive and you have specified both."
        raise AwsError("InvalidParameterCombination", text)
    if not simple and not extended:
        text = "At least one of the parameters Statistics and ExtendedStatistics must be specified."
        raise AwsError("InvalidParameterCombination", text)
    asked = int((end_s - start_s) // period_s)
    if asked > STATISTICS_DATAPOINTS_MAX:
        text = f"You have requested up to {asked} datapoints, which exceeds the limit of {STATISTICS_DATAPOINTS_MAX}."
        more = "You may reduce the datapoints requested by increasing Period, or decreasing the time range."
        raise AwsError("InvalidParameterCombination", f"{text} {more}")
    stats = {name: _simple_stat(name, number) for number, name in enumerate(simple, 1)} | {
        name: _percentile(name, number) for number, name in enumerate(extended, 1)
    }
    question = Question(
        _metric(members["Namespace"], members["MetricName"], members.get("Dimensions")),
        window(start_s, end_s, period_s, desk.clock.now_us() / MICROS),
        members.get("Unit"),
        percentiles=bool(extended),
    )
    (points,) = await metrics.ask(desk, call.scope, [question])
    datapoints = [_datapoint(point, stats, extended=bool(extended)) for point in points]
    return {"Label": members["MetricName"], "Datapoints": [point for point in datapoints if point is not None]}


def _simple_stat(name: str, number: int) -> Stat:
    stat = parse_stat(name)
    if stat is None or isinstance(stat, Percentile):
        text = f"The parameter Statistics.member.{number} must be a value in the set [ {_SIMPLE} ]."
        raise AwsError("InvalidParameterValue", text)
    return stat


def _percentile(name: str, number: int) -> Stat:
    stat = parse_stat(name)
    if not isinstance(stat, Percentile):
        text = f"The value {name} for parameter ExtendedStatistics.member.{number} is not supported."
        raise AwsError("InvalidParameterValue", text)
    return stat


def _datapoint(point: Point, stats: Mapping[str, Stat], *, extended: bool) -> Members | None:
    values = {name: number for name, stat in stats.items() if (number := value(stat, point.cell)) is not None}
    if not values:
        return None
    shown: Members = {"ExtendedStatistics": values} if extended else values
    return {"Timestamp": _time(point.at_s), "Unit": point.unit, **shown}


# -- GetMetricData -----------------------------------------------------------------------------------------------------

DATA_FIELDS: Mapping[str, Field] = {
    **dict.fromkeys(
        (
            "MetricDataQueries",
            "MetricDataQueries[].Id",
            "MetricDataQueries[].MetricStat",
            "MetricDataQueries[].Label",
            "MetricDataQueries[].ReturnData",
            "StartTime",
            "EndTime",
            "NextToken",
            "ScanBy",
            "MaxDatapoints",
        ),
        Field.SERVED,
    ),
    "MetricDataQueries[].Expression": Field.REFUSED,
    "MetricDataQueries[].Period": Field.REFUSED,
    "MetricDataQueries[].AccountId": Field.REFUSED,
    "LabelOptions": Field.REFUSED,
}
DATA_NOTES = {
    "MetricDataQueries[].Expression": "Metric math and Metrics Insights come later; ask for the metrics themselves.",
    "MetricDataQueries[].Period": "It belongs to an Expression; a metric has its period in MetricStat.",
    "MetricDataQueries[].AccountId": "No other account's metrics can be seen from here.",
    "LabelOptions": "It belongs to dynamic labels, which come later.",
}


@dataclass(frozen=True)
class _Query:
    """One query that was found right."""

    id: str
    label: str
    stat: Stat
    question: Question
    returned: bool


@dataclass(frozen=True)
class _Place:
    """Where a page ended: `query` is the index of the first that has points left, `at_s` the last point given of it."""

    query: int = 0
    at_s: int | None = None


async def _get_metric_data(desk: MetricDesk, call: Call, members: Members) -> Members:
    newest_first = members.get("ScanBy", "TimestampDescending") == "TimestampDescending"
    points_max = members.get("MaxDatapoints") or DATA_DATAPOINTS_MAX
    queries = _read_queries(members, desk.clock.now_us() / MICROS, points_max)
    parameters = _parameters("GetMetricData", call, members)
    place = _read_place(members["NextToken"], parameters) if members.get("NextToken") else _Place()
    pending = {query.id: query.question for query in queries[place.query :] if query.returned}
    if place.at_s is not None:
        first = queries[place.query]
        pending[first.id] = _rest(first.question, place.at_s, newest_first=newest_first)
    answers = await metrics.ask(desk, call.scope, list(pending.values()), lambda count: count > points_max)
    values = {
        query.id: _values(query, points, newest_first=newest_first)
        for query, points in zip((q for q in queries if q.id in pending), answers, strict=False)
    }
    results, next_place = _page(queries, values, place, points_max)
    answer: dict[str, Any] = {"MetricDataResults": results, "Messages": []}
    if next_place is not None:
        position = (next_place.query, "" if next_place.at_s is None else next_place.at_s)
        answer["NextToken"] = page.encode(position, parameters)
    return answer


Values = list[tuple[int, float]]
"""(UTC seconds, value) in the order of the answer."""


def _page(
    queries: Sequence[_Query], values: Mapping[str, Values], place: _Place, points_max: int
) -> tuple[list[Members], _Place | None]:
    """Results of one page, and where the next one begins; None after the last.

    `values` lacks queries that were not read. Every page has every query, so that a client that takes the first
    page only finds what it asked for; one whose points come on a later page has none here and is PartialData.
    """
    results: list[Members] = []
    left = points_max
    next_place: _Place | None = None
    for number, query in enumerate(queries):
        if not query.returned:
            continue
        shown: Values = []
        if next_place is None and number >= place.query:
            if query.id not in values:
                next_place = _Place(number)
            else:
                shown = values[query.id][:left]
                left -= len(shown)
                if len(shown) < len(values[query.id]):
                    next_place = _Place(number, shown[-1][0] if shown else None)
        results.append(
            {
                "Id": query.id,
                "Label": query.label,
                "Timestamps": [_time(at_s) for at_s, _ in shown],
                "Values": [number for _, number in shown],
                "StatusCode": "Complete" if next_place is None else "PartialData",
            }
        )
    return results, next_place


def _read_queries(members: Members, now_s: float, points_max: int) -> list[_Query]:
    """The queries, or one ValidationError that lists all that is wrong, a line each, as the service's does."""
    start_s, end_s = members["StartTime"].timestamp(), members["EndTime"].timestamp()
    given = members["MetricDataQueries"]
    problems = [problem] if (problem := _times_problem(start_s, end_s)) else []
    if len(given) > DATA_QUERIES_MAX:
        problems.append(f"The collection MetricDataQueries must not have a size greater than {DATA_QUERIES_MAX}.")
    if not 1 <= points_max <= DATA_DATAPOINTS_MAX:
        problems.append(f"The parameter MaxDatapoints must be between 1 and {DATA_DATAPOINTS_MAX}.")
    queries: list[_Query] = []
    for number, query in enumerate(given[:DATA_QUERIES_MAX], 1):
        found = _query_problems(query, f"MetricDataQueries.member.{number}", {other.id for other in queries})
        problems.extend(found)
        if not found:
            queries.append(_read_query(query, start_s, end_s, now_s))
    if problems:
        raise AwsError("ValidationError", "".join(f"{problem}\n" for problem in problems))
    return queries


def _query_problems(query: Members, path: str, taken: set[str]) -> list[str]:
    problems = []
    if not _ID.fullmatch(query["Id"]):
        problems.append(
            f"The value {query['Id']} for parameter {path}.Id is not matching the expected pattern ^{_ID.pattern}$."
        )
    if query["Id"] in taken:
        problems.append(f"The value {query['Id']} for parameter {path}.Id is not unique.")
    if "${" in query.get("Label", ""):
        problems.append(f"The value for parameter {path}.Label is a dynamic label, which is not served by Clary.")
    wanted = query.get("MetricStat")
    if wanted is None:
        problems.append(f"The parameter {path}.MetricStat is required.")
        return problems
    metric = wanted["Metric"]
    problems.extend(
        f"The parameter {path}.MetricStat.Metric.{name} is required."
        for name in ("Namespace", "MetricName")
        if not metric.get(name)
    )
    if parse_stat(wanted["Stat"]) is None:
        problems.append(f"The value {wanted['Stat']} for parameter {path}.MetricStat.Stat is not a valid statistic.")
    if not is_period(wanted["Period"]):
        problems.append(f"{_PERIOD[:-1]}; {path}.MetricStat.Period is {wanted['Period']}.")
    return problems


def _read_query(query: Members, start_s: float, end_s: float, now_s: float) -> _Query:
    wanted = query["MetricStat"]
    metric = _metric(wanted["Metric"]["Namespace"], wanted["Metric"]["MetricName"], wanted["Metric"].get("Dimensions"))
    stat = parse_stat(wanted["Stat"])
    assert stat is not None, "found right before"
    seen = window(start_s, end_s, wanted["Period"], now_s)
    question = Question(metric, seen, wanted.get("Unit"), percentiles=isinstance(stat, Percentile))
    return _Query(query["Id"], query.get("Label") or metric.name, stat, question, query.get("ReturnData", True))


def _rest(question: Question, at_s: int, *, newest_first: bool) -> Question:
    """What is left of a question after the point at `at_s` was given."""
    seen = question.window
    rest = replace(seen, end_s=min(seen.end_s, at_s)) if newest_first else replace(seen, start_s=at_s + seen.period_s)
    return replace(question, window=rest)


def _values(query: _Query, points: Sequence[Point], *, newest_first: bool) -> Values:
    # Points of several units at one time are several points, as the service gives them.
    known = [(p.at_s, v) for p in points if (v := value(query.stat, p.cell)) is not None]
    return known[::-1] if newest_first else known


def _parameters(operation: str, call: Call, members: Members) -> dict[str, object]:
    """What a page's token is good for: the same questions of the same caller."""
    asked = {name: value for name, value in members.items() if name not in ("NextToken", "MaxDatapoints")}
    return {**asked, "operation": operation, "account": call.scope.account, "region": call.scope.region}


def _read_place(token: str, parameters: Mapping[str, object]) -> _Place:
    try:
        query, at_s = page.decode(token, parameters)
    except Invalid as error:
        raise AwsError("InvalidNextToken", error.message) from None
    return _Place(int(query), None if at_s == "" else int(at_s))


# -- ListMetrics -------------------------------------------------------------------------------------------------------

LIST_FIELDS: Mapping[str, Field] = dict.fromkeys(
    (
        "Namespace",
        "MetricName",
        "Dimensions",
        "NextToken",
        "RecentlyActive",
        "IncludeLinkedAccounts",
        "OwningAccount",
    ),
    Field.SERVED,
)


async def _list_metrics(desk: MetricDesk, call: Call, members: Members) -> Members:
    after: Metric | None = None
    parameters = _parameters("ListMetrics", call, members)
    if token := members.get("NextToken"):
        try:
            namespace, name, dimensions = map(str, page.decode(token, parameters))
        except Invalid as error:
            raise AwsError("InvalidParameterValue", error.message) from None
        after = Metric(namespace, name, decode_dimensions(dimensions))
    linked = members.get("IncludeLinkedAccounts", False)
    owner = members.get("OwningAccount", call.scope.account)
    if owner != call.scope.account:
        if not linked:
            text = "The parameter OwningAccount needs the parameter IncludeLinkedAccounts to be true."
            raise AwsError("InvalidParameterValue", text)
        # No account is linked to another here, so another's metrics are none.
        return {"Metrics": [], "OwningAccounts": []}
    wanted = MetricFilter(
        members.get("Namespace"),
        members.get("MetricName"),
        [(pair["Name"], pair.get("Value")) for pair in members.get("Dimensions") or []],
    )
    recent = "RecentlyActive" in members
    found = await metrics.metrics(desk, call.scope, wanted, after, LIST_PAGE + 1, recent=recent)
    shown = found[:LIST_PAGE]
    answer: dict[str, Any] = {
        "Metrics": [
            {
                "Namespace": metric.namespace,
                "MetricName": metric.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
            }
            for metric in shown
        ]
    }
    if linked:
        answer["OwningAccounts"] = [call.scope.account] * len(shown)
    if len(found) > LIST_PAGE:
        last = shown[-1]
        position = (last.namespace, last.name, encode_dimensions(last.dimensions))
        answer["NextToken"] = page.encode(position, parameters)
    return answer


# -- shared ------------------------------------------------------------------------------------------------------------

_SIMPLE = "SampleCount, Average, Sum, Minimum, Maximum"
_PERIOD = "The parameter Period must be 1, 5, 10, 20, 30, or a multiple of 60."


def _times_problem(start_s: float, end_s: float) -> str | None:
    if start_s == end_s:
        return "The parameter StartTime must not equal parameter EndTime."
    if start_s > end_s:
        return "The parameter StartTime must be less than the parameter EndTime."
    return None


def _metric(namespace: str, name: str, dimensions: Sequence[Members] | None) -> Metric:
    return Metric(namespace, name, tuple(sorted((pair["Name"], pair["Value"]) for pair in dimensions or [])))


def _time(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
