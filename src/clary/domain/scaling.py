"""Autoscaling: what a scalable target and its policies say, the rules of their fields, and the arithmetic of a step.

Sources: API reference of Application Auto Scaling; docs/reference/autoscaling.md says what Clary does beyond it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from clary.domain.alarms import Actions, Comparison, MetricAlarm, MetricQuery, MetricStat
from clary.domain.endpoint import INSTANCES_MAX
from clary.domain.errors import Invalid, NotServed
from clary.domain.principal import Scope
from clary.domain.schedules import Times

NAMESPACE = "sagemaker"
INSTANCE_COUNT = "sagemaker:variant:DesiredInstanceCount"
TRACKING = "TargetTrackingScaling"
STEP = "StepScaling"
COOLDOWN_S = 300
"""Where a policy gives none (API reference: the default for SageMaker variants)."""
STEPS_MAX = 20
VALUE_MAX = 2.0**360
STEP_IN_SHARE = 4
"""Target tracking takes away at most the fourth part of a fleet at once, and at least one: in gradually."""
LOW_SHARE = 0.9
"""Target tracking scales in below this share of its target ("usually more than 10 % under": user guide)."""
_RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")


@dataclass(frozen=True)
class PredefinedMetric:
    """A metric of SageMaker's that a policy names instead of describing it."""

    namespace: str
    name: str
    statistic: str
    period_s: int
    """Of the alarms, and of the values that the policy goes by."""
    whole: bool = False
    """Of the variant, not of an instance: the target is of an instance, and the alarms' thresholds follow the count."""


PREDEFINED = {
    "SageMakerVariantInvocationsPerInstance": PredefinedMetric("AWS/SageMaker", "InvocationsPerInstance", "Sum", 60),
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": PredefinedMetric(
        "AWS/SageMaker", "ConcurrentRequestsPerModel", "Average", 10, whole=True
    ),
}
"""Those of the dimension that is served."""


@dataclass(frozen=True)
class Suspended:
    """What a target does not do for now."""

    scale_in: bool = False
    scale_out: bool = False
    scheduled: bool = False


@dataclass(frozen=True)
class TargetSpec:
    """A scalable target as registered."""

    min_capacity: int
    max_capacity: int
    role_arn: str
    suspended: Suspended = Suspended()
    revision: int = 1
    """Grows with each registration that gives a bound: bounds that a schedule set before are void then."""


@dataclass(frozen=True)
class Bounds:
    """Bounds that a scheduled action set, over the target's own of `revision`."""

    revision: int
    min_capacity: int
    max_capacity: int


def bounds_of(spec: TargetSpec, scheduled: Bounds | None) -> Bounds:
    """The bounds in force: the latest of what was registered and what a schedule set."""
    if scheduled is not None and scheduled.revision == spec.revision:
        return scheduled
    return Bounds(spec.revision, spec.min_capacity, spec.max_capacity)


@dataclass(frozen=True)
class TargetTracking:
    """TargetTrackingScalingPolicyConfiguration: either a `predefined` metric or `queries`."""

    target: float
    predefined: str = ""
    queries: tuple[MetricQuery, ...] = ()
    simple: bool = False
    """Given by MetricName, not by Metrics: `queries` is one metric."""
    scale_out_cooldown_s: int | None = None
    scale_in_cooldown_s: int | None = None
    disable_scale_in: bool | None = None


@dataclass(frozen=True)
class StepAdjustment:
    """One step. Bounds are relative to the alarm's threshold; None is infinite."""

    adjustment: int
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class StepScaling:
    """StepScalingPolicyConfiguration."""

    adjustment_type: str
    steps: tuple[StepAdjustment, ...]
    min_magnitude: int | None = None
    cooldown_s: int | None = None
    aggregation: str = ""
    """MetricAggregationType as given. The alarm's own statistic is what is compared."""


@dataclass(frozen=True)
class ScheduledSpec:
    """A scheduled action."""

    times: Times
    min_capacity: int | None = None
    max_capacity: int | None = None


@dataclass(frozen=True)
class Reason:
    """Why nothing was scaled: a member of NotScaledReasons. `limit` is the bound that was met."""

    code: str
    limit: int


@dataclass(frozen=True)
class ActivityText:
    """What an activity says."""

    description: str
    cause: str
    message: str = ""
    reasons: tuple[Reason, ...] = field(default_factory=tuple)


def variant_of(resource_id: str) -> tuple[str, str]:
    """Endpoint and variant of `endpoint/E/variant/V`; Invalid, or NotServed for an inference component."""
    if resource_id.startswith("inference-component/"):
        raise NotServed("Scaling inference components", "Variants of endpoints are scaled.")
    found = _RESOURCE.fullmatch(resource_id)
    if found is None:
        raise Invalid(f"ResourceId '{resource_id}' is not of the form endpoint/NAME/variant/NAME.")
    return found[1], found[2]


def check_kind(namespace: str, dimension: str | None) -> None:
    """Raise NotServed for another service's namespace, and for a dimension that nothing here has."""
    if namespace != NAMESPACE:
        raise NotServed(f"Autoscaling of the namespace {namespace}", f"Clary scales {NAMESPACE}.")
    if dimension is None or dimension == INSTANCE_COUNT:
        return
    if dimension == "sagemaker:variant:DesiredProvisionedConcurrency":
        raise NotServed(f"The dimension {dimension}", "Serverless endpoints come with a later release.")
    if dimension == "sagemaker:inference-component:DesiredCopyCount":
        raise NotServed(f"The dimension {dimension}", "Inference components come with a later release.")
    raise Invalid("Unsupported service namespace, resource type or scalable dimension")


def check_bounds(least: int | None, most: int | None) -> None:
    """Raise Invalid for bounds that cannot be. The least may be 0: Clary starts a replica when one is asked for."""
    for name, value in (("MinCapacity", least), ("MaxCapacity", most)):
        if value is not None and not 0 <= value <= INSTANCES_MAX:
            raise Invalid(f"{name} is {value}; 0 to {INSTANCES_MAX} are allowed.")
    if most == 0:
        raise Invalid("MaxCapacity is 0; it must be at least 1.")
    if least is not None and most is not None and least > most:
        raise Invalid("Maximum capacity cannot be less than minimum capacity")


def service_role(account: str) -> str:
    """The service-linked role that targets have where none is given."""
    return (
        f"arn:aws:iam::{account}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
        "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    )


def target_arn(scope: Scope, uid: str) -> str:
    """The ARN of a target: its identifier has letters, digits and hyphens only."""
    return f"arn:aws:application-autoscaling:{scope.region}:{scope.account}:scalable-target/{uid.lower()}"


def policy_arn(scope: Scope, guid: str, resource_id: str, name: str) -> str:
    """The ARN of a policy; also the action of the alarms that trigger it."""
    return (
        f"arn:aws:autoscaling:{scope.region}:{scope.account}:scalingPolicy:{guid}:resource/{NAMESPACE}/"
        f"{resource_id}:policyName/{name}"
    )


def action_arn(scope: Scope, guid: str, resource_id: str, name: str) -> str:
    """The ARN of a scheduled action."""
    return (
        f"arn:aws:autoscaling:{scope.region}:{scope.account}:scheduledAction:{guid}:resource/{NAMESPACE}/"
        f"{resource_id}:scheduledActionName/{name}"
    )


def alarm_name(resource_id: str, *, high: bool, guid: str) -> str:
    """The name of an alarm of target tracking, as the service makes it."""
    return f"TargetTracking-{resource_id}-Alarm{'High' if high else 'Low'}-{guid}"


HIGH_PERIODS, LOW_S = 3, 900
"""Data points, and seconds of them, that must all be beyond the threshold: with a minute's metric 3 and 15 points, as
public reports have it; not in the service's own texts."""


def queries_of(policy: TargetTracking, endpoint: str, variant: str) -> tuple[MetricQuery, ...]:
    """What a policy goes by, as an alarm's metrics."""
    if not policy.predefined:
        return policy.queries
    named = PREDEFINED[policy.predefined]
    dimensions = (("EndpointName", endpoint), ("VariantName", variant))
    return (
        MetricQuery("m1", MetricStat(named.namespace, named.name, dimensions, named.period_s, named.statistic)),
    )  # fmt: skip


def is_whole(policy: TargetTracking) -> bool:
    """Whether what the policy goes by is of the variant, and not of an instance of it."""
    return bool(policy.predefined) and PREDEFINED[policy.predefined].whole


def threshold_of(policy: TargetTracking, count: int, *, high: bool) -> float:
    """Of an alarm of the policy, with so many instances."""
    share = 1.0 if high else LOW_SHARE
    return policy.target * share * (count if is_whole(policy) else 1)


def alarm_of(policy: TargetTracking, queries: tuple[MetricQuery, ...], arn: str, *, high: bool) -> MetricAlarm:
    """One of the two alarms of a policy, as for one instance. Missing data is missing: nothing is scaled for the want
    of it."""
    period_s = next((query.stat.period_s for query in queries if query.stat is not None), 60)
    return MetricAlarm(
        queries=queries,
        evaluation_periods=HIGH_PERIODS if high else LOW_S // period_s,
        threshold=threshold_of(policy, 1, high=high),
        comparison=Comparison.GREATER if high else Comparison.LESS,
        description=f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {arn}.",
        actions=Actions(alarm=(arn,)),
        simple=len(queries) == 1 and queries[0].stat is not None,
    )


def check_tracking(policy: TargetTracking, dimension: str) -> None:
    """Raise Invalid or NotServed for a configuration that breaks a rule of the API reference."""
    if not math.isfinite(policy.target) or not 0 < policy.target <= VALUE_MAX:
        raise Invalid(f"TargetValue is {policy.target:g}; it must be above 0 and at most 2^360.")
    if bool(policy.predefined) == bool(policy.queries):
        raise Invalid("Give exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification.")
    if policy.predefined and policy.predefined not in PREDEFINED:
        raise Invalid(
            f"Scalable dimension {dimension} only supports the following predefined metric types: "
            f"{', '.join(PREDEFINED)}"
        )
    _check_cooldown("ScaleOutCooldown", policy.scale_out_cooldown_s)
    _check_cooldown("ScaleInCooldown", policy.scale_in_cooldown_s)


def _check_cooldown(name: str, seconds: int | None) -> None:
    if seconds is not None and not 0 <= seconds <= 86400:
        raise Invalid(f"{name} is {seconds}; 0 to 86400 seconds are allowed.")


def check_steps(policy: StepScaling) -> None:
    """Raise Invalid where steps overlap, leave a gap, or break another rule of StepAdjustment (API reference)."""
    if not policy.adjustment_type or not policy.steps:
        raise Invalid("A step scaling policy needs AdjustmentType and at least one of StepAdjustments.")
    if len(policy.steps) > STEPS_MAX:
        raise Invalid(f"StepAdjustments holds {len(policy.steps)} steps; at most {STEPS_MAX} are allowed.")
    if policy.min_magnitude is not None and policy.adjustment_type != "PercentChangeInCapacity":
        raise Invalid("MinAdjustmentMagnitude is only for AdjustmentType PercentChangeInCapacity.")
    if policy.min_magnitude is not None and policy.min_magnitude < 0:
        raise Invalid(f"MinAdjustmentMagnitude is {policy.min_magnitude}; it cannot be negative.")
    _check_cooldown("Cooldown", policy.cooldown_s)
    for step in policy.steps:
        if step.lower is None and step.upper is None:
            raise Invalid("The upper and lower bound can't be null in the same step adjustment.")
        if step.lower is not None and step.upper is not None and step.lower >= step.upper:
            raise Invalid("The upper bound of a step adjustment must be greater than its lower bound.")
        if policy.adjustment_type == "ExactCapacity" and step.adjustment < 0:
            raise Invalid("For ExactCapacity ScalingAdjustment must not be negative.")
    ordered = sorted(policy.steps, key=lambda step: -math.inf if step.lower is None else step.lower)
    for one, other in zip(ordered, ordered[1:]):
        if one.upper is None or other.lower is None or one.upper > other.lower:
            raise Invalid("The ranges of the step adjustments can't overlap.")
        if one.upper < other.lower:
            raise Invalid("The ranges of the step adjustments can't have a gap.")
    first, last = ordered[0], ordered[-1]
    if first.lower is not None and first.lower < 0:
        raise Invalid("If one step adjustment has a negative lower bound, one must have a null lower bound.")
    if last.upper is not None and last.upper > 0:
        raise Invalid("If one step adjustment has a positive upper bound, one must have a null upper bound.")


def check_scheduled(spec: ScheduledSpec) -> None:
    """Raise Invalid for an action that sets nothing or what cannot be; its times are checked by domain.schedules."""
    if spec.min_capacity is None and spec.max_capacity is None:
        raise Invalid("ScalableTargetAction needs MinCapacity, MaxCapacity or both.")
    check_bounds(spec.min_capacity, spec.max_capacity)


def tracked_out(base: int, value: float, target: float) -> int:
    """Replicas that bring `value`, measured with `base` of them, down to the target: in proportion, rounded up."""
    return _ceil(max(base, 1) * value / target)


def tracked_in(count: int, value: float, target: float) -> int:
    """Replicas after one step in: never so few that `value` would then be above the target."""
    return max(_ceil(count * value / target), count - max(1, count // STEP_IN_SHARE))


def _ceil(ratio: float) -> int:
    """Rounded up but for what is arithmetic's own noise, and within what a count can be."""
    return max(0, math.ceil(min(ratio, float(INSTANCES_MAX)) - 1e-9))


def stepped(policy: StepScaling, count: int, breach: float, *, above: bool) -> int | None:
    """Replicas that a step policy asks for; None where no step is for this breach.

    `breach`: the metric less the threshold. `above`: whether the alarm watches for values over its threshold; a lower
    bound is inclusive then and the upper one exclusive, and else the other way round.
    """
    for step in policy.steps:
        low = -math.inf if step.lower is None else step.lower
        high = math.inf if step.upper is None else step.upper
        if low <= breach < high if (breach > 0 or (breach == 0 and above)) else low < breach <= high:
            return max(0, _adjusted(policy, count, step.adjustment))
    return None


def _adjusted(policy: StepScaling, count: int, adjustment: int) -> int:
    if policy.adjustment_type == "ExactCapacity":
        return adjustment
    if policy.adjustment_type == "ChangeInCapacity":
        return count + adjustment
    change = math.trunc(count * adjustment / 100)
    if change == 0 and adjustment and count:
        change = 1 if adjustment > 0 else -1
    least = policy.min_magnitude or 0
    if adjustment and abs(change) < least:
        change = least if adjustment > 0 else -least
    return count + change


@dataclass(frozen=True)
class Memory:
    """What scaling remembers of a target between two looks. Instants in UTC microseconds; None: never."""

    generation: int = 0
    """Of the endpoint: with another one all but `bounds` is void."""
    set_us: int | None = None
    """When a count was last set."""
    settled_us: int | None = None
    """When that count was reached; None: not yet."""
    out_us: int | None = None
    """Start of the scale-out cooldown; None: there is none."""
    out_from: int = 0
    """The count before the scale-out that began it."""
    out_cooldown_s: int = 0
    in_us: int | None = None
    """Start of the scale-in cooldown; None: there is none, or a scale-out ended it."""
    in_cooldown_s: int = 0
    bounds: Bounds | None = None
    """Set by a scheduled action."""
    acted: dict[str, int] = field(default_factory=dict)
    """When each step policy last scaled, by its uid."""
    noted: str = ""
    """What was last noted as not done: it is noted once."""
