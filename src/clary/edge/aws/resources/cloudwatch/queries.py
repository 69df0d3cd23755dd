"""The queries of GetMetricData: found right, or refused with all that is wrong, a line each, as the service does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from clary.domain.errors import Invalid
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Members
from clary.edge.aws.resources.cloudwatch.common import PERIOD, metric_of, times_problem
from clary.telemetry import expressions
from clary.telemetry.expressions import BadExpression
from clary.telemetry.labels import check_label
from clary.telemetry.metric_data import Math, Wanted
from clary.telemetry.statistics import Percentile, Question, is_period, parse_stat, window

DATA_DATAPOINTS_MAX = 100_800
DATA_QUERIES_MAX = 500

_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")


@dataclass(frozen=True)
class MetricQuery:
    """A metric that was found right."""

    id: str
    label: str | None
    returned: bool
    wanted: Wanted


@dataclass(frozen=True)
class MathQuery:
    """An expression that was found right."""

    id: str
    label: str | None
    returned: bool
    math: Math


Query = MetricQuery | MathQuery


@dataclass(frozen=True)
class Queries:
    """All queries of a request and the span that they are about, in UTC seconds."""

    all: Sequence[Query]
    start_s: float
    end_s: float

    @property
    def need_whole(self) -> bool:
        """Whether a page needs all points: expressions do, and labels that tell of them."""
        return any(isinstance(query, MathQuery) or "${" in (query.label or "") for query in self.all)


def read_queries(members: Members, account: str, now_s: float, points_max: int) -> Queries:
    """The queries; AwsError. NotServed for what Clary has not."""
    start_s, end_s = members["StartTime"].timestamp(), members["EndTime"].timestamp()
    given = members["MetricDataQueries"]
    problems = [problem] if (problem := times_problem(start_s, end_s)) else []
    if len(given) > DATA_QUERIES_MAX:
        problems.append(f"The collection MetricDataQueries must not have a size greater than {DATA_QUERIES_MAX}.")
    if not 1 <= points_max <= DATA_DATAPOINTS_MAX:
        problems.append(f"The parameter MaxDatapoints must be between 1 and {DATA_DATAPOINTS_MAX}.")
    queries: list[Query] = []
    for number, query in enumerate(given[:DATA_QUERIES_MAX], 1):
        path = f"MetricDataQueries.member.{number}"
        found = _problems(query, path, {other.id for other in queries}, account)
        if not found:
            try:
                queries.append(_read(query, start_s, end_s, now_s))
            except BadExpression as error:
                found = [f"Error in expression {query['Id']!r}: {error.message}."]
        problems.extend(found)
    if not problems:
        try:
            check_references(queries)
        except BadExpression as error:
            problems.append(f"{error.message}.")
    if problems:
        raise AwsError("ValidationError", "".join(f"{problem}\n" for problem in problems))
    return Queries(queries, start_s, end_s)


def check_references(queries: Sequence[Query]) -> None:
    """BadExpression where an expression refers to what there is not, or to itself."""
    expressions.check(
        {query.id for query in queries if isinstance(query, MetricQuery)},
        {query.id: query.math.expression for query in queries if isinstance(query, MathQuery)},
    )


def _problems(query: Members, path: str, taken: set[str], account: str) -> list[str]:
    problems = []
    if not _ID.fullmatch(query["Id"]):
        problems.append(
            f"The value {query['Id']} for parameter {path}.Id is not matching the expected pattern ^{_ID.pattern}$."
        )
    if query["Id"] in taken:
        problems.append(f"The value {query['Id']} for parameter {path}.Id is not unique.")
    if query.get("AccountId", account) != account:
        problems.append(f"The parameter {path}.AccountId must be {account}: Clary sees no other account's metrics.")
    try:
        check_label(query.get("Label") or "")
    except Invalid as error:
        problems.append(f"The value for parameter {path}.Label is not valid: {error.message}.")
    expression, wanted = query.get("Expression"), query.get("MetricStat")
    if expression is not None and wanted is not None:
        names = f"{path}.Expression and {path}.MetricStat"
        problems.append(f"The parameters {names} are mutually exclusive and you have specified both.")
    elif expression is not None:
        if "Period" in query and not is_period(query["Period"]):
            problems.append(f"{PERIOD[:-1]}; {path}.Period is {query['Period']}.")
    elif wanted is None:
        problems.append(f"The parameter {path}.MetricStat is required.")
    else:
        problems.extend(_metric_problems(wanted, path))
        if query.get("Period", wanted["Period"]) != wanted["Period"]:
            problems.append(f"The parameter {path}.Period belongs to an Expression; MetricStat has its own.")
    return problems


def _metric_problems(wanted: Members, path: str) -> list[str]:
    metric = wanted["Metric"]
    problems = [
        f"The parameter {path}.MetricStat.Metric.{name} is required."
        for name in ("Namespace", "MetricName")
        if not metric.get(name)
    ]
    if parse_stat(wanted["Stat"]) is None:
        problems.append(f"The value {wanted['Stat']} for parameter {path}.MetricStat.Stat is not a valid statistic.")
    if not is_period(wanted["Period"]):
        problems.append(f"{PERIOD[:-1]}; {path}.MetricStat.Period is {wanted['Period']}.")
    return problems


def _read(query: Members, start_s: float, end_s: float, now_s: float) -> Query:
    label, returned = query.get("Label"), query.get("ReturnData", True)
    if query.get("Expression") is not None:
        compiled = expressions.compile(query["Expression"])
        return MathQuery(query["Id"], label, returned, Math(compiled, query.get("Period")))
    return MetricQuery(query["Id"], label, returned, read_metric(query["MetricStat"], start_s, end_s, now_s))


def read_metric(wanted: Members, start_s: float, end_s: float, now_s: float) -> Wanted:
    """A MetricStat that was found right."""
    metric = metric_of(
        wanted["Metric"]["Namespace"], wanted["Metric"]["MetricName"], wanted["Metric"].get("Dimensions")
    )
    stat = parse_stat(wanted["Stat"])
    assert stat is not None, "found right before"
    seen = window(start_s, end_s, wanted["Period"], now_s)
    return Wanted(Question(metric, seen, wanted.get("Unit"), percentiles=isinstance(stat, Percentile)), stat)
