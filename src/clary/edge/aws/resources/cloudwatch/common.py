"""What CloudWatch's operations on metrics share: times, metrics and the words of refusals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from clary.edge.aws.operation import Call, Members
from clary.telemetry.query import Metric

SIMPLE = "SampleCount, Average, Sum, Minimum, Maximum"
PERIOD = "The parameter Period must be 1, 5, 10, 20, 30, or a multiple of 60."


def times_problem(start_s: float, end_s: float) -> str | None:
    """What is wrong with a span of time; None where nothing is."""
    if start_s == end_s:
        return "The parameter StartTime must not equal parameter EndTime."
    if start_s > end_s:
        return "The parameter StartTime must be less than the parameter EndTime."
    return None


def metric_of(namespace: str, name: str, dimensions: Sequence[Members] | None) -> Metric:
    """The metric of a shape's members."""
    return Metric(namespace, name, tuple(sorted((pair["Name"], pair["Value"]) for pair in dimensions or [])))


def time_of(at_s: int) -> datetime:
    """UTC seconds as a timestamp."""
    return datetime.fromtimestamp(at_s, UTC)


def parameters(operation: str, call: Call, members: Members) -> dict[str, object]:
    """What a page's token is good for: the same questions of the same caller."""
    asked = {name: value for name, value in members.items() if name not in ("NextToken", "MaxDatapoints")}
    return {**asked, "operation": operation, "account": call.scope.account, "region": call.scope.region}
