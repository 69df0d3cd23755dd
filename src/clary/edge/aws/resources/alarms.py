"""CloudWatch's operations on alarms.

Texts of errors: `Could not save the composite alarm as alarms [...] in the alarm rule do not exist`, `Cannot delete ...
as there are composite alarm(s) depending on it.` and `Invalid arn syntax` are the service's as public reports show
them; the others are ours.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from clary.control import alarms
from clary.control.alarms import AlarmFilter
from clary.control.desk import Desk
from clary.domain.alarms import Alarm, AlarmValue, MetricStat, SetState
from clary.domain.errors import Invalid, NotFound
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Handler, Members, Operation
from clary.edge.aws.resources.alarm_shapes import (
    composite_alarm,
    composite_alarm_members,
    dimensions_of,
    metric_alarm,
    metric_alarm_members,
)
from clary.edge.aws.resources.members import caller_of, instant, instant_us, tag_list, tags_of
from clary.store.alarm_history import HistoryQuery, Item
from clary.store.alarms import COMPOSITE, METRIC

PAGE_MAX = 100
"""MaxRecords at most, and where it is not given."""
_KINDS = {"MetricAlarm": METRIC, "CompositeAlarm": COMPOSITE, "LogAlarm": "log"}
_TYPES = {kind: name for name, kind in _KINDS.items()}

_CONTENT = "Notifications have the content that CloudWatch gives them without it."
_ANOMALY = "Anomaly detection is not served; compare with a static Threshold."
_PROMQL = "PromQL is not served; use a metric or metric math."
PUT_REFUSED = {
    "ThresholdMetricId": _ANOMALY,
    "Metrics[].AccountId": "No other account's metrics can be seen from here.",
    "EvaluationCriteria": _PROMQL,
    "EvaluationInterval": _PROMQL,
    "EvaluationWindow.WallClockWindow": "Alarms are evaluated over a sliding window.",
    "WarmUpConfiguration": "Use TreatMissingData for metrics that begin later.",
    "ActionConfiguration": _CONTENT,
}
_PUT_SERVED = (
    "AlarmName", "AlarmDescription", "ActionsEnabled", "OKActions", "AlarmActions", "InsufficientDataActions",
    "MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit", "EvaluationPeriods",
    "DatapointsToAlarm", "Threshold", "ComparisonOperator", "TreatMissingData", "EvaluateLowSampleCountPercentile",
    "Metrics", "Tags", "EvaluationWindow",
)  # fmt: skip
_COMPOSITE_SERVED = (
    "AlarmName", "AlarmDescription", "ActionsEnabled", "OKActions", "AlarmActions", "InsufficientDataActions",
    "AlarmRule", "Tags", "ActionsSuppressor", "ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod",
)  # fmt: skip
_DESCRIBE_SERVED = (
    "AlarmNames", "AlarmNamePrefix", "AlarmTypes", "ChildrenOfAlarmName", "ParentsOfAlarmName", "StateValue",
    "ActionPrefix", "MaxRecords", "NextToken",
)  # fmt: skip
_HISTORY_SERVED = (
    "AlarmName", "AlarmTypes", "HistoryItemType", "StartDate", "EndDate", "MaxRecords", "NextToken", "ScanBy",
)  # fmt: skip
_FOR_METRIC_SERVED = ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit")


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of alarms."""
    return (*_writes(desk), *_reads(desk), *_tags(desk))


def _operation(
    name: str, handler: Handler, served: Sequence[str], refused: Mapping[str, str] | None = None
) -> Operation:
    """With CloudWatch's own codes for what is not there."""
    code = "ResourceNotFoundException" if name.endswith("Resource") else "ResourceNotFound"

    @functools.wraps(handler)
    async def coded(call: Call, members: Members) -> Any:
        try:
            return await handler(call, members)
        except NotFound as error:
            raise AwsError(code, f"Alarm {error.arn} does not exist.", 404) from error

    refusals = refused or {}
    fields = {**dict.fromkeys(served, Field.SERVED), **dict.fromkeys(refusals, Field.REFUSED)}
    return Operation("cloudwatch", name, coded, fields, refusals)


def _writes(desk: Desk) -> tuple[Operation, ...]:
    async def put_metric_alarm(call: Call, members: Members) -> Members:
        spec = metric_alarm(members)
        await alarms.put_alarm(desk, caller_of(call), members["AlarmName"], spec, tags_of(members))
        return {}

    async def put_composite_alarm(call: Call, members: Members) -> Members:
        spec = composite_alarm(members)
        await alarms.put_alarm(desk, caller_of(call), members["AlarmName"], spec, tags_of(members))
        return {}

    async def set_alarm_state(call: Call, members: Members) -> Members:
        value, data = AlarmValue(members["StateValue"]), members.get("StateReasonData", "")
        if data and not _is_json(data):
            raise AwsError("InvalidFormat", "StateReasonData is not syntactically valid JSON.")
        state = SetState(value, members["StateReason"], data)
        await alarms.set_alarm(desk, caller_of(call), members["AlarmName"], state)
        return {}

    async def enable_alarm_actions(call: Call, members: Members) -> Members:
        await alarms.enable_actions(desk, caller_of(call), members["AlarmNames"], enabled=True)
        return {}

    async def disable_alarm_actions(call: Call, members: Members) -> Members:
        await alarms.enable_actions(desk, caller_of(call), members["AlarmNames"], enabled=False)
        return {}

    async def delete_alarms(call: Call, members: Members) -> Members:
        await alarms.remove(desk, caller_of(call), members["AlarmNames"])
        return {}

    return (
        _operation("PutMetricAlarm", put_metric_alarm, _PUT_SERVED, PUT_REFUSED),
        _operation("PutCompositeAlarm", put_composite_alarm, _COMPOSITE_SERVED, {"ActionConfiguration": _CONTENT}),
        _operation("SetAlarmState", set_alarm_state, ("AlarmName", "StateValue", "StateReason", "StateReasonData")),
        _operation("EnableAlarmActions", enable_alarm_actions, ("AlarmNames",)),
        _operation("DisableAlarmActions", disable_alarm_actions, ("AlarmNames",)),
        _operation("DeleteAlarms", delete_alarms, ("AlarmNames",)),
    )


def _tags(desk: Desk) -> tuple[Operation, ...]:
    async def tag_resource(call: Call, members: Members) -> Members:
        await alarms.add_tags(desk, caller_of(call), members["ResourceARN"], tags_of(members))
        return {}

    async def untag_resource(call: Call, members: Members) -> Members:
        await alarms.remove_tags(desk, caller_of(call), members["ResourceARN"], members["TagKeys"])
        return {}

    async def list_tags_for_resource(call: Call, members: Members) -> Members:
        return {"Tags": tag_list(await alarms.list_tags(desk, caller_of(call), members["ResourceARN"]))}

    return (
        _operation("TagResource", tag_resource, ("ResourceARN", "Tags")),
        _operation("UntagResource", untag_resource, ("ResourceARN", "TagKeys")),
        _operation("ListTagsForResource", list_tags_for_resource, ("ResourceARN",)),
    )


def _reads(desk: Desk) -> tuple[Operation, ...]:
    async def describe_alarms(call: Call, members: Members) -> Members:
        return await _describe_alarms(desk, call, members)

    async def describe_alarms_for_metric(call: Call, members: Members) -> Members:
        dimensions = dimensions_of(members.get("Dimensions"))
        stat = members.get("Statistic") or members.get("ExtendedStatistic")

        def asked(metric: MetricStat) -> bool:
            named = (metric.namespace, metric.metric, metric.dimensions)
            return (
                named == (members["Namespace"], members["MetricName"], dimensions)
                and stat in (None, metric.stat)
                and members.get("Period") in (None, metric.period_s)
                and members.get("Unit") in (None, metric.unit)
            )

        found = await alarms.of_metric(desk, caller_of(call), asked)
        return {"MetricAlarms": [metric_alarm_members(alarm) for alarm in found]}

    async def describe_alarm_history(call: Call, members: Members) -> Members:
        return await _describe_alarm_history(desk, call, members)

    contributors = {"AlarmContributorId": "Contributors belong to PromQL alarms, which are not served."}
    return (
        _operation("DescribeAlarms", describe_alarms, _DESCRIBE_SERVED),
        _operation("DescribeAlarmsForMetric", describe_alarms_for_metric, _FOR_METRIC_SERVED),
        _operation("DescribeAlarmHistory", describe_alarm_history, _HISTORY_SERVED, contributors),
    )


async def _describe_alarms(desk: Desk, call: Call, members: Members) -> Members:
    caller = caller_of(call)
    related = [name for name in ("ChildrenOfAlarmName", "ParentsOfAlarmName") if name in members]
    if related:
        others = sorted(set(members) - {related[0], "MaxRecords", "NextToken"})
        if others:
            raise Invalid(f"{related[0]} cannot be combined with {', '.join(others)}.")
        ask = alarms.children if related == ["ChildrenOfAlarmName"] else alarms.parents
        found, token = _page(call, members, await ask(desk, caller, members[related[0]]))
        shape = _child if related == ["ChildrenOfAlarmName"] else _parent
        return _answer([(alarm, shape(alarm)) for alarm in found], token)
    if members.get("AlarmNames") and "AlarmNamePrefix" in members:
        raise Invalid("AlarmNames and AlarmNamePrefix are mutually exclusive and you have specified both.")
    wanted = AlarmFilter(
        names=frozenset(members.get("AlarmNames") or ()),
        prefix=members.get("AlarmNamePrefix", ""),
        kinds=_kinds(members),
        value=AlarmValue(members["StateValue"]) if "StateValue" in members else None,
        action_prefix=members.get("ActionPrefix", ""),
    )
    found, token = _page(call, members, await alarms.describe(desk, caller, wanted))
    return _answer([(alarm, _whole(alarm)) for alarm in found], token)


def _answer(shown: Sequence[tuple[Alarm, dict[str, Any]]], token: str | None) -> Members:
    answer: dict[str, Any] = {
        "MetricAlarms": [members for alarm, members in shown if alarms.kind_of(alarm) == METRIC],
        "CompositeAlarms": [members for alarm, members in shown if alarms.kind_of(alarm) == COMPOSITE],
    }
    return answer if token is None else {**answer, "NextToken": token}


def _whole(alarm: Alarm) -> dict[str, Any]:
    return metric_alarm_members(alarm) if alarms.kind_of(alarm) == METRIC else composite_alarm_members(alarm)


def _parent(alarm: Alarm) -> dict[str, Any]:
    return {"AlarmName": alarm.name, "AlarmArn": alarm.arn}


def _child(alarm: Alarm) -> dict[str, Any]:
    state = alarm.state
    updated = {"StateValue": state.value.value, "StateUpdatedTimestamp": instant(state.updated_us)}
    return {**_parent(alarm), **updated}


def _page(call: Call, members: Members, found: Sequence[Alarm]) -> tuple[Sequence[Alarm], str | None]:
    """One page in the order of names, and the token of the next."""
    parameters = _parameters(call, "DescribeAlarms", members)
    if token := members.get("NextToken"):
        after = str(_position(token, parameters)[0])
        found = [alarm for alarm in found if alarm.name > after]
    limit = members.get("MaxRecords", PAGE_MAX)
    more = page.encode((found[limit - 1].name,), parameters) if len(found) > limit else None
    return found[:limit], more


async def _describe_alarm_history(desk: Desk, call: Call, members: Members) -> Members:
    parameters = _parameters(call, "DescribeAlarmHistory", members)
    after = None
    if token := members.get("NextToken"):
        at_us, seq = _position(token, parameters)
        after = (int(at_us), int(seq))
    limit = members.get("MaxRecords", PAGE_MAX)
    query = HistoryQuery(
        name=members.get("AlarmName"),
        kinds=_kinds(members),
        item=members.get("HistoryItemType"),
        from_us=instant_us(members.get("StartDate")),
        to_us=instant_us(members.get("EndDate")),
        newest_first=members.get("ScanBy", "TimestampDescending") == "TimestampDescending",
        after=after,
        limit=limit + 1,
    )
    found = await alarms.history(desk, caller_of(call), query)
    answer: dict[str, Any] = {"AlarmHistoryItems": [_item(item) for item in found[:limit]]}
    if len(found) > limit:
        last = found[limit - 1]
        answer["NextToken"] = page.encode((last.at_us, last.seq), parameters)
    return answer


def _item(item: Item) -> dict[str, Any]:
    return {
        "AlarmName": item.name,
        "AlarmType": _TYPES[item.kind],
        "Timestamp": instant(item.at_us),
        "HistoryItemType": item.item,
        "HistorySummary": item.summary,
        "HistoryData": item.data,
    }


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)  # refuses NaN, and what is nested without end
    except ValueError:
        return False
    return True


def _kinds(members: Members) -> Sequence[str]:
    return [_KINDS[name] for name in members.get("AlarmTypes") or ("MetricAlarm",)]


def _parameters(call: Call, operation: str, members: Members) -> dict[str, object]:
    asked = {name: value for name, value in members.items() if name not in ("NextToken", "MaxRecords")}
    return {**asked, "operation": operation, "account": call.scope.account, "region": call.scope.region}


def _position(token: str, parameters: Mapping[str, object]) -> page.Position:
    try:
        return page.decode(token, parameters)
    except Invalid as error:
        raise AwsError("InvalidNextToken", error.message) from None
