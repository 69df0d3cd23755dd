"""GetMetricStatistics. Where its errors' texts come from: tests/wire/test_cloudwatch.py."""

from __future__ import annotations

from collections.abc import Mapping

from clary.control import metrics
from clary.control.metrics import MetricDesk
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members
from clary.edge.aws.resources.cloudwatch.common import PERIOD, SIMPLE, metric_of, time_of, times_problem
from clary.kit.clock import MICROS
from clary.telemetry.query import Point
from clary.telemetry.statistics import Percentile, Question, Stat, is_period, parse_stat, value, window

STATISTICS_DATAPOINTS_MAX = 1440

FIELDS: Mapping[str, Field] = dict.fromkeys(
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


async def get_metric_statistics(desk: MetricDesk, call: Call, members: Members) -> Members:
    start_s, end_s, period_s = members["StartTime"].timestamp(), members["EndTime"].timestamp(), members["Period"]
    simple, extended = members.get("Statistics") or [], members.get("ExtendedStatistics") or []
    if problem := times_problem(start_s, end_s):
        raise AwsError("InvalidParameterValue", problem)
    if not is_period(period_s):
        raise AwsError("InvalidParameterValue", PERIOD)
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
        metric_of(members["Namespace"], members["MetricName"], members.get("Dimensions")),
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
        text = f"The parameter Statistics.member.{number} must be a value in the set [ {SIMPLE} ]."
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
    return {"Timestamp": time_of(point.at_s), "Unit": point.unit, **shown}
