"""Shapes of Application Auto Scaling both ways, and what its operations share: resources, pages, errors."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from clary.control.scaling import ACTION, POLICY, TARGET, Resource
from clary.domain.alarms import MetricQuery, MetricStat
from clary.domain.errors import Invalid, LimitExceeded, NotFound, NotServed
from clary.domain.scaling import STEP, TRACKING, StepAdjustment, StepScaling, TargetTracking, check_kind, variant_of
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members
from clary.edge.aws.resources.alarm_shapes import dimensions_of
from clary.edge.aws.resources.members import given
from clary.store.named import After
from clary.store.scaling_pages import Page

SERVICE = "application-autoscaling"
RESOURCE_FIELDS = dict.fromkeys(("ServiceNamespace", "ResourceId", "ScalableDimension"), Field.SERVED)
PERIOD_S = 60
"""Of customised metrics, which name none."""
DIMENSIONS_MAX = 30
"""Of a metric (CloudWatch's API reference)."""
_NOUNS = {TARGET: "scalable target", POLICY: "scaling policy", ACTION: "scheduled action"}
Result = TypeVar("Result")


async def told(work: Awaitable[Result]) -> Result:
    """What `work` gives, its facts in the codes that this service has for them."""
    try:
        return await work
    except NotFound as error:
        if error.kind not in _NOUNS:
            raise AwsError("ResourceNotFoundException", f"The resource {error.arn} does not exist.") from error
        raise AwsError("ObjectNotFoundException", _missing(error)) from error
    except LimitExceeded as error:
        if error.unit == "tags":
            raise AwsError("TooManyTagsException", f"A scalable target has at most {error.limit} tags.") from error
        text = f"The limit of {error.limit} {error.unit} for {error.what} is reached."
        raise AwsError("LimitExceededException", text) from error


def _missing(error: NotFound) -> str:
    resource, _, dimension = error.arn.partition(" ")
    where = f"service namespace: sagemaker, resource ID: {resource}, scalable dimension: {dimension}"
    if error.kind == TARGET:
        return f"No scalable target registered for {where}"
    noun = _NOUNS[error.kind]
    name = "policy name" if error.kind == POLICY else "scheduled action name"
    return f"No {noun} found for {where}, {name}: {error.name}"


def resource_of(members: Members) -> Resource:
    """What is to be scaled. Raises Invalid, NotServed."""
    check_kind(members["ServiceNamespace"], members["ScalableDimension"])
    variant_of(members["ResourceId"])
    return Resource(members["ResourceId"], members["ScalableDimension"])


def page_of(call: Call, operation: str, members: Members, most: int, names: str = "") -> Page:
    """What a Describe operation asks for; at most `most` a page, which is the default. Raises Invalid, AwsError."""
    check_kind(members["ServiceNamespace"], members.get("ScalableDimension"))
    ids = list(members.get("ResourceIds") or ([members["ResourceId"]] if members.get("ResourceId") else ()))
    if members.get("ScalableDimension") and operation != "DescribeScalableTargets" and not ids:
        raise Invalid("If you specify a scalable dimension, you must also specify a resource ID.")
    limit = members.get("MaxResults", most)
    if not 1 <= limit <= most:
        raise Invalid(f"MaxResults is {limit}; 1 to {most} are allowed.")
    after = None
    if members.get("NextToken"):
        try:
            value, uid = page.decode(members["NextToken"], _parameters(call, operation, members))
        except Invalid as error:
            raise AwsError("InvalidNextTokenException", error.message) from None
        after = After(value, str(uid))
    return Page(limit, after, ids, list(members.get(names, ())) if names else (), members.get("ScalableDimension"))


def answer_page(
    call: Call, operation: str, members: Members, items: dict[str, list[dict[str, Any]]], more: After | None
) -> Members:
    """The answer; `items` is the list under its member name."""
    if more is None:
        return items
    return {**items, "NextToken": page.encode((more.value, more.uid), _parameters(call, operation, members))}


def _parameters(call: Call, operation: str, members: Members) -> dict[str, object]:
    kept = {name: value for name, value in members.items() if name not in ("NextToken", "MaxResults")}
    return {**kept, "": [operation, call.scope.account, call.scope.region]}


# -- policies ----------------------------------------------------------------------------------------------------------


def policy_spec(members: Members) -> TargetTracking | StepScaling:
    """PutScalingPolicy's configuration. Raises Invalid, NotServed."""
    kind = members.get("PolicyType", STEP)
    if kind == "PredictiveScaling":
        raise NotServed("PredictiveScaling", "Use TargetTrackingScaling, StepScaling or scheduled actions.")
    tracking = members.get("TargetTrackingScalingPolicyConfiguration")
    step = members.get("StepScalingPolicyConfiguration")
    if kind == TRACKING and tracking is not None and step is None:
        return _tracking(tracking)
    if kind == STEP and step is not None and tracking is None:
        return _step(step)
    raise Invalid(f"A policy of the type {kind} needs {kind}PolicyConfiguration, and no other configuration.")


def _tracking(members: Members) -> TargetTracking:
    predefined = members.get("PredefinedMetricSpecification") or {}
    if predefined.get("ResourceLabel"):
        raise Invalid("ResourceLabel is only for the metric type ALBRequestCountPerTarget.")
    custom = members.get("CustomizedMetricSpecification")
    queries: tuple[MetricQuery, ...] = ()
    if custom is not None and custom.get("Metrics"):
        if len(custom) > 1:
            beside = ", ".join(sorted(set(custom) - {"Metrics"}))
            raise Invalid(f"CustomizedMetricSpecification holds Metrics and {beside}; only one may be given.")
        queries = tuple(_query(entry) for entry in custom["Metrics"])
    elif custom is not None:
        queries = (_single(custom),)
    return TargetTracking(
        target=members["TargetValue"],
        predefined=predefined.get("PredefinedMetricType", ""),
        queries=queries,
        simple=custom is not None and not custom.get("Metrics"),
        scale_out_cooldown_s=members.get("ScaleOutCooldown"),
        scale_in_cooldown_s=members.get("ScaleInCooldown"),
        disable_scale_in=members.get("DisableScaleIn"),
    )


def _single(custom: Members) -> MetricQuery:
    missing = [name for name in ("MetricName", "Namespace", "Statistic") if not custom.get(name)]
    if missing:
        raise Invalid(f"CustomizedMetricSpecification needs {', '.join(missing)}, or Metrics.")
    dimensions = _dimensions(custom)
    stat = MetricStat(
        custom["Namespace"], custom["MetricName"], dimensions, PERIOD_S, custom["Statistic"], custom.get("Unit")
    )
    return MetricQuery("m1", stat)


def _dimensions(metric: Members) -> tuple[tuple[str, str], ...]:
    """Of a metric, sorted; Invalid for more than an alarm's metric may have, which this shape does not bound."""
    pairs = metric.get("Dimensions") or ()
    if len(pairs) > DIMENSIONS_MAX:
        raise Invalid(f"Dimensions holds {len(pairs)} entries; at most {DIMENSIONS_MAX} are allowed.")
    return dimensions_of(pairs)


def _query(entry: Members) -> MetricQuery:
    stat = entry.get("MetricStat")
    metric = None
    if stat is not None:
        named = stat["Metric"]
        if not named.get("Namespace") or not named.get("MetricName"):
            raise Invalid(f"The Metric of the Id '{entry['Id']}' needs Namespace and MetricName.")
        metric = MetricStat(
            named["Namespace"],
            named["MetricName"],
            _dimensions(named),
            PERIOD_S,
            stat["Stat"],
            stat.get("Unit"),
        )
    expression = entry.get("Expression", "")
    return MetricQuery(
        entry["Id"],
        metric,
        expression,
        entry.get("Label", ""),
        PERIOD_S if expression else None,
        entry.get("ReturnData", True),
    )


def _step(members: Members) -> StepScaling:
    return StepScaling(
        adjustment_type=members.get("AdjustmentType", ""),
        steps=tuple(
            StepAdjustment(
                one["ScalingAdjustment"], one.get("MetricIntervalLowerBound"), one.get("MetricIntervalUpperBound")
            )
            for one in members.get("StepAdjustments") or ()
        ),
        min_magnitude=members.get("MinAdjustmentMagnitude"),
        cooldown_s=members.get("Cooldown"),
        aggregation=members.get("MetricAggregationType", ""),
    )


def policy_members(spec: TargetTracking | StepScaling) -> dict[str, Any]:
    """A policy's configuration again, under its own name."""
    if isinstance(spec, StepScaling):
        return {"StepScalingPolicyConfiguration": _step_members(spec)}
    custom = None
    if spec.queries and spec.simple:
        custom = _metric_members(spec.queries[0].stat)
    elif spec.queries:
        custom = {"Metrics": [_query_members(query) for query in spec.queries]}
    return {
        "TargetTrackingScalingPolicyConfiguration": given(
            TargetValue=spec.target,
            PredefinedMetricSpecification={"PredefinedMetricType": spec.predefined} if spec.predefined else None,
            CustomizedMetricSpecification=custom,
            ScaleOutCooldown=spec.scale_out_cooldown_s,
            ScaleInCooldown=spec.scale_in_cooldown_s,
            DisableScaleIn=spec.disable_scale_in,
        )
    }


def _step_members(spec: StepScaling) -> dict[str, Any]:
    return given(
        AdjustmentType=spec.adjustment_type,
        StepAdjustments=[
            given(
                MetricIntervalLowerBound=step.lower,
                MetricIntervalUpperBound=step.upper,
                ScalingAdjustment=step.adjustment,
            )
            for step in spec.steps
        ],
        MinAdjustmentMagnitude=spec.min_magnitude,
        Cooldown=spec.cooldown_s,
        MetricAggregationType=spec.aggregation,
    )


def _metric_members(stat: MetricStat | None) -> dict[str, Any]:
    assert stat is not None, "a single metric has no expression"
    return given(
        MetricName=stat.metric,
        Namespace=stat.namespace,
        Dimensions=_dimension_members(stat),
        Statistic=stat.stat,
        Unit=stat.unit,
    )


def _query_members(query: MetricQuery) -> dict[str, Any]:
    metric: Mapping[str, Any] | None = None
    if query.stat is not None:
        named = given(
            Namespace=query.stat.namespace,
            MetricName=query.stat.metric,
            Dimensions=_dimension_members(query.stat),
        )
        metric = given(Metric=named, Stat=query.stat.stat, Unit=query.stat.unit)
    return given(
        Id=query.id,
        Expression=query.expression,
        Label=query.label,
        MetricStat=metric,
        ReturnData=query.returned,
    )


def _dimension_members(stat: MetricStat) -> list[dict[str, str]] | None:
    return [{"Name": name, "Value": value} for name, value in stat.dimensions] or None
