"""Alarms as CloudWatch's shapes, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clary.domain.alarms import (
    Actions,
    Alarm,
    Comparison,
    CompositeAlarm,
    MetricAlarm,
    MetricQuery,
    MetricStat,
    Missing,
)
from clary.domain.errors import Invalid, NotServed
from clary.edge.aws.operation import Members
from clary.edge.aws.resources.members import given, instant

_SINGLE = ("Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit")
"""Fields that go with MetricName."""
_LOW_SAMPLES = {"ignore": True, "evaluate": False}


def metric_alarm(members: Members) -> MetricAlarm:
    """PutMetricAlarm's members as a specification. Raises Invalid, NotServed."""
    for name in ("EvaluationPeriods", "ComparisonOperator"):
        if name not in members:
            raise Invalid(f"The parameter {name} is required.")
    if "Threshold" not in members:
        raise Invalid("The parameter Threshold is required: alarms here compare with a static threshold.")
    low = members.get("EvaluateLowSampleCountPercentile")
    if low is not None and low not in _LOW_SAMPLES:
        raise Invalid(f"The parameter EvaluateLowSampleCountPercentile must be evaluate or ignore; it is {low}.")
    return MetricAlarm(
        queries=_queries(members),
        evaluation_periods=members["EvaluationPeriods"],
        threshold=members["Threshold"],
        comparison=_comparison(members["ComparisonOperator"]),
        datapoints_to_alarm=members.get("DatapointsToAlarm"),
        missing=_missing(members.get("TreatMissingData")),
        ignore_low_samples=None if low is None else _LOW_SAMPLES[low],
        description=members.get("AlarmDescription"),
        actions=actions_of(members),
        simple="MetricName" in members,
    )


def composite_alarm(members: Members) -> CompositeAlarm:
    """PutCompositeAlarm's members as a specification. Raises Invalid."""
    suppressor = members.get("ActionsSuppressor")
    wait_s, extension_s = members.get("ActionsSuppressorWaitPeriod"), members.get("ActionsSuppressorExtensionPeriod")
    if suppressor is None and (wait_s is not None or extension_s is not None):
        raise Invalid("ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod need an ActionsSuppressor.")
    if suppressor is not None and (wait_s is None or extension_s is None):
        raise Invalid("ActionsSuppressor needs both ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod.")
    if (wait_s or 0) < 0 or (extension_s or 0) < 0:
        raise Invalid("ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod must not be negative.")
    return CompositeAlarm(
        rule=members["AlarmRule"],
        description=members.get("AlarmDescription"),
        actions=actions_of(members),
        suppressor=suppressor,
        wait_s=wait_s or 0,
        extension_s=extension_s or 0,
    )


def actions_of(members: Members) -> Actions:
    """The three lists of actions."""
    return Actions(
        members.get("ActionsEnabled", True),
        tuple(members.get("OKActions") or ()),
        tuple(members.get("AlarmActions") or ()),
        tuple(members.get("InsufficientDataActions") or ()),
    )


def dimensions_of(pairs: Sequence[Members] | None) -> tuple[tuple[str, str], ...]:
    """`Dimensions` sorted by name. Raises Invalid for a name given twice."""
    dimensions = tuple(sorted((pair["Name"], pair["Value"]) for pair in pairs or ()))
    if len({name for name, _ in dimensions}) != len(dimensions):
        raise Invalid("A dimension's name is given more than once.")
    return dimensions


def metric_alarm_members(alarm: Alarm) -> dict[str, Any]:
    """A `MetricAlarm` of DescribeAlarms."""
    spec = alarm.spec
    assert isinstance(spec, MetricAlarm)
    state = alarm.state
    return {
        **_shared(alarm),
        **(_single(spec) if spec.simple else {"Metrics": [_query_members(query) for query in spec.queries]}),
        "EvaluationPeriods": spec.evaluation_periods,
        "Threshold": float(spec.threshold),
        "ComparisonOperator": spec.comparison.value,
        **given(
            DatapointsToAlarm=spec.datapoints_to_alarm,
            TreatMissingData=spec.missing.value if spec.missing else None,
            EvaluateLowSampleCountPercentile={True: "ignore", False: "evaluate", None: None}[spec.ignore_low_samples],
            EvaluationState=state.evaluation.value if state.evaluation else None,
        ),
    }


def composite_alarm_members(alarm: Alarm) -> dict[str, Any]:
    """A `CompositeAlarm` of DescribeAlarms."""
    spec = alarm.spec
    assert isinstance(spec, CompositeAlarm)
    members = {**_shared(alarm), "AlarmRule": spec.rule}
    if spec.suppressor is not None:
        members |= {
            "ActionsSuppressor": spec.suppressor,
            "ActionsSuppressorWaitPeriod": spec.wait_s,
            "ActionsSuppressorExtensionPeriod": spec.extension_s,
        }
    if alarm.suppression is not None:
        by = alarm.suppression.by
        members |= {"ActionsSuppressedBy": by, "ActionsSuppressedReason": f"Actions suppressed by {by}"}
    return members


def _shared(alarm: Alarm) -> dict[str, Any]:
    actions, state = alarm.spec.actions, alarm.state
    return {
        "AlarmName": alarm.name,
        "AlarmArn": alarm.arn,
        **given(AlarmDescription=alarm.spec.description, StateReasonData=state.reason_data),
        "AlarmConfigurationUpdatedTimestamp": instant(alarm.modified_us),
        "ActionsEnabled": actions.enabled,
        "OKActions": list(actions.ok),
        "AlarmActions": list(actions.alarm),
        "InsufficientDataActions": list(actions.insufficient),
        "StateValue": state.value.value,
        "StateReason": state.reason,
        "StateUpdatedTimestamp": instant(state.updated_us),
        "StateTransitionedTimestamp": instant(state.transitioned_us),
    }


def _single(spec: MetricAlarm) -> dict[str, Any]:
    stat = spec.watched.stat
    assert stat is not None, "an alarm by MetricName has a metric"
    name = "ExtendedStatistic" if stat.stat.startswith("p") else "Statistic"
    return {
        "MetricName": stat.metric,
        "Namespace": stat.namespace,
        name: stat.stat,
        "Dimensions": _pairs(stat),
        "Period": stat.period_s,
        **given(Unit=stat.unit),
    }


def _pairs(stat: MetricStat) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in stat.dimensions]


def _query_members(query: MetricQuery) -> dict[str, Any]:
    members: dict[str, Any] = {"Id": query.id, **given(Label=query.label), "ReturnData": query.returned}
    if query.stat is None:
        return {**members, "Expression": query.expression, **given(Period=query.period_s)}
    stat = query.stat
    metric = {"Namespace": stat.namespace, "MetricName": stat.metric, "Dimensions": _pairs(stat)}
    return {
        **members,
        "MetricStat": {"Metric": metric, "Period": stat.period_s, "Stat": stat.stat, **given(Unit=stat.unit)},
    }


def _queries(members: Members) -> tuple[MetricQuery, ...]:
    if "MetricName" in members:
        if "Metrics" in members:
            raise Invalid("MetricName and Metrics are mutually exclusive and you have specified both.")
        return (MetricQuery("m1", _single_stat(members)),)
    if "Metrics" not in members:
        raise Invalid("Either MetricName or Metrics must be specified.")
    extra = [name for name in _SINGLE if members.get(name)]
    if extra:
        raise Invalid(f"{', '.join(extra)} cannot be specified beside Metrics: each metric has its own in MetricStat.")
    return tuple(_query(query) for query in members["Metrics"])


def _single_stat(members: Members) -> MetricStat:
    for name in ("Namespace", "Period"):
        if name not in members:
            raise Invalid(f"The parameter {name} is required.")
    simple, extended = members.get("Statistic"), members.get("ExtendedStatistic")
    if (simple is None) == (extended is None):
        raise Invalid("Exactly one of the parameters Statistic and ExtendedStatistic must be specified.")
    return MetricStat(
        namespace=members["Namespace"],
        metric=members["MetricName"],
        dimensions=dimensions_of(members.get("Dimensions")),
        period_s=members["Period"],
        stat=members["ExtendedStatistic"] if simple is None else simple,
        unit=members.get("Unit"),
    )


def _query(query: Members) -> MetricQuery:
    wanted: Mapping[str, Any] | None = query.get("MetricStat")
    stat = None
    if wanted is not None:
        metric = wanted["Metric"]
        for name in ("Namespace", "MetricName"):
            if not metric.get(name):
                raise Invalid(f"The parameter Metrics.{query['Id']}.MetricStat.Metric.{name} is required.")
        stat = MetricStat(
            namespace=metric["Namespace"],
            metric=metric["MetricName"],
            dimensions=dimensions_of(metric.get("Dimensions")),
            period_s=wanted["Period"],
            stat=wanted["Stat"],
            unit=wanted.get("Unit"),
        )
    return MetricQuery(
        id=query["Id"],
        stat=stat,
        expression=query.get("Expression", ""),
        label=query.get("Label", ""),
        period_s=query.get("Period"),
        returned=query.get("ReturnData", True),
    )


def _comparison(text: str) -> Comparison:
    try:
        return Comparison(text)
    except ValueError:
        raise NotServed(f"The comparison operator {text}", "It belongs to anomaly detection.") from None


def _missing(text: str | None) -> Missing | None:
    try:
        return None if text is None else Missing(text)
    except ValueError:
        kinds = ", ".join(kind.value for kind in Missing)
        raise Invalid(f"The parameter TreatMissingData must be one of {kinds}; it is {text}.") from None
