"""CloudWatch Logs: metric filters. Each makes one metric of the lines of a group, from when it was put.

What is counted, and from which lines, is control/log_metrics.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from clary.control.log_groups import LogKeeper
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Handler, Members, Operation
from clary.edge.aws.resources.logs_groups import change, group_of, invalid
from clary.kit.clock import MICROS
from clary.telemetry.custom import VALUE_MAX, is_reserved
from clary.telemetry.log_groups_own import LogFilter, OwnGroup
from clary.telemetry.log_pattern import BadPattern, Pattern, compile_pattern

FILTERS_MAX = 100
"""Of one group (quotas of CloudWatch Logs)."""
DIMENSIONS_MAX = 3
_PAGE = 50
_NOTES = {
    "applyOnTransformedLogs": "Nothing transforms logs here.",
    "fieldSelectionCriteria": "There are no system fields here.",
    "emitSystemFieldDimensions": "There are no system fields here.",
}


def operations(keeper: LogKeeper) -> tuple[Operation, ...]:
    """Metric filters."""

    def made(name: str, handler: Callable[[LogKeeper, Call, Members], Any], *fields: str) -> Operation:
        refused = _NOTES if name == "PutMetricFilter" else {}
        how = {**dict.fromkeys(fields, Field.SERVED), **dict.fromkeys(refused, Field.REFUSED)}
        return Operation("logs", name, _bound(handler, keeper), how, refused)

    group, pattern = "logGroupName", "filterPattern"
    asked = ("filterNamePrefix", "nextToken", "limit", "metricName", "metricNamespace")
    return (
        made("PutMetricFilter", _put, group, "filterName", pattern, "metricTransformations"),
        made("DescribeMetricFilters", _describe, group, *asked),
        made("DeleteMetricFilter", _delete, group, "filterName"),
        made("TestMetricFilter", _test, pattern, "logEventMessages"),
    )


def _bound(handler: Callable[[LogKeeper, Call, Members], Any], keeper: LogKeeper) -> Handler:
    async def bound(call: Call, members: Members) -> Members:
        found: Members = await handler(keeper, call, members)
        return found

    return bound


def pattern_of(text: str) -> Pattern:
    """The pattern; InvalidParameterException."""
    try:
        return compile_pattern(text)
    except BadPattern as error:
        raise invalid(f"Invalid filter pattern: {error}") from None


async def _put(keeper: LogKeeper, call: Call, members: Members) -> Members:
    group = await group_of(keeper, call, members["logGroupName"])
    pattern = pattern_of(members["filterPattern"])
    told = members["metricTransformations"][0]
    dimensions = dict(told.get("dimensions", {}))
    _check(pattern, told, dimensions)
    made = LogFilter(
        pattern=members["filterPattern"],
        created_us=keeper.now_us(),
        namespace=told["metricNamespace"],
        metric=told["metricName"],
        value=told["metricValue"],
        default=told.get("defaultValue"),
        unit=told.get("unit", "None"),
        dimensions=dimensions,
    )

    def add(own: OwnGroup) -> None:
        own.filters[members["filterName"]] = made
        if len(own.filters) > FILTERS_MAX:
            raise AwsError("LimitExceededException", f"A log group has at most {FILTERS_MAX} metric filters.")

    await change(keeper, call, group, add)
    return {}


def _check(pattern: Pattern, told: Members, dimensions: dict[str, str]) -> None:
    """The rules of MetricTransformation; InvalidParameterException."""
    if is_reserved(told["metricNamespace"]):
        raise invalid("metricNamespace: names that begin with 'AWS/' are the server's, and so are its own.")
    if not re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+(e[-+]?[0-9]+)?|\$.+", told["metricValue"], re.IGNORECASE):
        raise invalid("metricValue is a number, or the selector of one, such as $.latency or $bytes.")
    published = {"defaultValue": told.get("defaultValue", 0.0)}
    if not told["metricValue"].startswith("$"):
        published["metricValue"] = float(told["metricValue"])
    for name, number in published.items():
        if not -VALUE_MAX <= number <= VALUE_MAX:
            raise invalid(f"{name} is a number from -2^360 to 2^360; it is {number}.")
    if len(dimensions) > DIMENSIONS_MAX:
        raise invalid(f"A metric filter has at most {DIMENSIONS_MAX} dimensions.")
    if dimensions and told.get("defaultValue") is not None:
        raise invalid("A metric filter with dimensions has no defaultValue.")
    selectors = [told["metricValue"], *dimensions.values()] if told["metricValue"].startswith("$") else dimensions
    if selectors and not pattern.has_selectors:
        raise invalid("Selectors are of JSON and space-delimited patterns only.")


async def _describe(keeper: LogKeeper, call: Call, members: Members) -> Members:
    if ("metricName" in members) != ("metricNamespace" in members):
        raise invalid("Give metricName and metricNamespace together.")
    if members.get("filterNamePrefix") and not members.get("logGroupName"):
        raise invalid("filterNamePrefix needs logGroupName.")
    if members.get("logGroupName"):
        groups = [await group_of(keeper, call, members["logGroupName"])]
    else:
        groups = await keeper.groups(call.scope)
    wanted = (members.get("metricNamespace"), members.get("metricName"))
    found = []
    for group in groups:
        said = await keeper.said(call.scope, group)
        found += [
            _filter_members(group.name, name, one)
            for name, one in sorted(said.filters.items())
            if name.startswith(members.get("filterNamePrefix", ""))
            and wanted in ((None, None), (one.namespace, one.metric))
        ]
    parameters = {name: value for name, value in members.items() if name not in ("nextToken", "limit")}
    bound = {**parameters, "": ["DescribeMetricFilters", call.scope.account, call.scope.region]}
    after: tuple[Any, ...] = ("", "")
    if members.get("nextToken"):
        after = page.decode(members["nextToken"], bound, field="nextToken")
    rest = [one for one in found if (one["logGroupName"], one["filterName"]) > tuple(after)]
    limit = members.get("limit", _PAGE)
    answer: dict[str, Any] = {"metricFilters": rest[:limit]}
    if len(rest) > limit:
        last = rest[limit - 1]
        answer["nextToken"] = page.encode((last["logGroupName"], last["filterName"]), bound)
    return answer


def _filter_members(group: str, name: str, one: LogFilter) -> dict[str, Any]:
    transformation = {"metricName": one.metric, "metricNamespace": one.namespace, "metricValue": one.value}
    default = {} if one.default is None else {"defaultValue": one.default}
    dimensions = {"dimensions": one.dimensions} if one.dimensions else {}
    return {
        "filterName": name,
        "filterPattern": one.pattern,
        "metricTransformations": [{**transformation, **default, **dimensions, "unit": one.unit}],
        "creationTime": one.created_us * 1000 // MICROS,
        "logGroupName": group,
    }


async def _delete(keeper: LogKeeper, call: Call, members: Members) -> Members:
    group = await group_of(keeper, call, members["logGroupName"])
    if await change(keeper, call, group, lambda own: own.filters.pop(members["filterName"], None)) is None:
        raise AwsError("ResourceNotFoundException", "The specified metric filter does not exist.")
    return {}


async def _test(keeper: LogKeeper, call: Call, members: Members) -> Members:  # noqa: ARG001 - a handler's form
    pattern = pattern_of(members["filterPattern"])
    return {
        "matches": [
            {"eventNumber": number, "eventMessage": message, "extractedValues": pattern.fields(message)}
            for number, message in enumerate(members["logEventMessages"], 1)
            if pattern(message)
        ]
    }
