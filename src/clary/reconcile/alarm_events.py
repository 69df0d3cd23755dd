"""What an alarm tells others of a change of its state: the bodies of its events. Pure.

A command gets the event that a Lambda function gets, a topic the message that SNS gets (both user guide and public
messages), the bus the EventBridge event "CloudWatch Alarm State Change".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clary.domain.alarms import Alarm, AlarmValue, CompositeAlarm, MetricAlarm, MetricQuery, Suppression, stamp
from clary.kit.clock import MICROS

SOURCE = "aws.cloudwatch"


@dataclass(frozen=True)
class Told:
    """A state as an event tells of it."""

    value: AlarmValue
    reason: str
    reason_data: str
    at_us: int
    suppression: Suppression | None = None


def body_for(target_arn: str, alarm: Alarm, new: Told, old: Told) -> Mapping[str, Any]:
    """What that target is sent."""
    service = target_arn.split(":")[2]
    if service == "sns":
        return _topic_message(alarm, new, old)
    detail = {
        "alarmName": alarm.name,
        "state": _state(new),
        "previousState": _state(old),
        "configuration": configuration_of(alarm),
    }
    if service == "events":
        return {
            "version": "0",
            "detail-type": "CloudWatch Alarm State Change",
            "source": SOURCE,
            "account": alarm.scope.account,
            "time": f"{stamp(new.at_us // MICROS * MICROS)[:19]}Z",
            "region": alarm.scope.region,
            "resources": [alarm.arn],
            "detail": detail,
        }
    return {
        "source": SOURCE,
        "alarmArn": alarm.arn,
        "accountId": alarm.scope.account,
        "time": stamp(new.at_us),
        "region": alarm.scope.region,
        "alarmData": detail,
    }


def configuration_of(alarm: Alarm) -> dict[str, Any]:
    """`configuration` of an event."""
    spec = alarm.spec
    described = {"description": spec.description} if spec.description else {}
    if isinstance(spec, MetricAlarm):
        return {**described, "metrics": [_metric(query) for query in spec.queries]}
    suppressed: dict[str, Any] = {}
    if spec.suppressor is not None:
        suppressed = {
            "actionsSuppressor": spec.suppressor,
            "actionsSuppressorWaitPeriod": spec.wait_s,
            "actionsSuppressorExtensionPeriod": spec.extension_s,
        }
    return {**described, "alarmRule": spec.rule, **suppressed}


def _state(told: Told) -> dict[str, Any]:
    state: dict[str, Any] = {"value": told.value.value, "reason": told.reason}
    if told.reason_data:
        state["reasonData"] = told.reason_data
    state["timestamp"] = stamp(told.at_us)
    if told.suppression is not None:
        state["actionsSuppressedBy"] = told.suppression.by
        state["actionsSuppressedReason"] = f"Actions suppressed by {told.suppression.by}"
    return state


def _metric(query: MetricQuery) -> dict[str, Any]:
    if query.stat is None:
        labelled = {"label": query.label} if query.label else {}
        return {"id": query.id, "expression": query.expression, **labelled, "returnData": query.returned}
    stat = query.stat
    metric_stat: dict[str, Any] = {
        "metric": {"namespace": stat.namespace, "name": stat.metric, "dimensions": dict(stat.dimensions)},
        "period": stat.period_s,
        "stat": stat.stat,
    }
    if stat.unit:
        metric_stat["unit"] = stat.unit
    return {"id": query.id, "metricStat": metric_stat, "returnData": query.returned}


def _topic_message(alarm: Alarm, new: Told, old: Told) -> dict[str, Any]:
    spec = alarm.spec
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": spec.description,
        "AWSAccountId": alarm.scope.account,
        "AlarmConfigurationUpdatedTimestamp": stamp(alarm.modified_us),
        "NewStateValue": new.value.value,
        "NewStateReason": new.reason,
        "StateChangeTime": stamp(new.at_us),
        "Region": alarm.scope.region,
        "AlarmArn": alarm.arn,
        "OldStateValue": old.value.value,
        "OKActions": list(spec.actions.ok),
        "AlarmActions": list(spec.actions.alarm),
        "InsufficientDataActions": list(spec.actions.insufficient),
        **({"AlarmRule": spec.rule} if isinstance(spec, CompositeAlarm) else {"Trigger": _trigger(spec)}),
    }


def _trigger(spec: MetricAlarm) -> dict[str, Any]:
    low = {True: "ignore", False: "evaluate", None: ""}[spec.ignore_low_samples]
    judged = {
        "Period": spec.period_s,
        "EvaluationPeriods": spec.evaluation_periods,
        **({} if spec.datapoints_to_alarm is None else {"DatapointsToAlarm": spec.datapoints_to_alarm}),
        "ComparisonOperator": spec.comparison.value,
        "Threshold": float(spec.threshold),
        "TreatMissingData": spec.missing.value if spec.missing else "missing",
        "EvaluateLowSampleCountPercentile": low,
    }
    stat = spec.watched.stat
    if not spec.simple or stat is None:
        return {**judged, "Metrics": [_trigger_metric(query) for query in spec.queries]}
    simple = {"StatisticType": "Statistic", "Statistic": stat.stat.upper()}
    extended = {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": stat.stat}
    return {
        "MetricName": stat.metric,
        "Namespace": stat.namespace,
        **(extended if stat.stat.startswith("p") else simple),
        "Unit": stat.unit,
        "Dimensions": [{"value": value, "name": name} for name, value in stat.dimensions],
        **judged,
    }


def _trigger_metric(query: MetricQuery) -> dict[str, Any]:
    if query.stat is None:
        return {"Id": query.id, "Expression": query.expression, "Label": query.label, "ReturnData": query.returned}
    stat = query.stat
    metric = {
        "Dimensions": [{"value": value, "name": name} for name, value in stat.dimensions],
        "MetricName": stat.metric,
        "Namespace": stat.namespace,
    }
    return {
        "Id": query.id,
        "MetricStat": {"Metric": metric, "Period": stat.period_s, "Stat": stat.stat},
        "ReturnData": query.returned,
    }
