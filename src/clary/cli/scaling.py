"""What `clary describe` says of autoscaling: bounds, policies, schedules, the last activities."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from clary.cli.api import Api
from clary.cli.output import number

SERVICE, TARGET = "application-autoscaling", "AnyScaleFrontendService"
ACTIVITIES_SHOWN = 5
_SUSPENDED = {
    "DynamicScalingInSuspended": "in",
    "DynamicScalingOutSuspended": "out",
    "ScheduledScalingSuspended": "scheduled",
}


def scaling_of(api: Api, endpoint: str, variants: Sequence[str]) -> list[dict[str, Any]]:
    """The scaled variants of an endpoint; docs/reference/json.md holds the shape."""
    ids = [f"endpoint/{endpoint}/variant/{variant}" for variant in variants]
    if not ids:
        return []
    found = ask(api, "DescribeScalableTargets", ResourceIds=ids).get("ScalableTargets", [])
    return [_target(api, target) for target in found]


def _target(api: Api, target: dict[str, Any]) -> dict[str, Any]:
    which = {"ResourceId": target["ResourceId"]}
    policies = ask(api, "DescribeScalingPolicies", **which).get("ScalingPolicies", [])
    actions = ask(api, "DescribeScheduledActions", **which).get("ScheduledActions", [])
    activities = ask(api, "DescribeScalingActivities", MaxResults=ACTIVITIES_SHOWN, **which)
    return {
        "variant": target["ResourceId"].rpartition("/")[2],
        "min": target["MinCapacity"],
        "max": target["MaxCapacity"],
        "suspended": [word for name, word in _SUSPENDED.items() if target.get("SuspendedState", {}).get(name)],
        "policies": [
            {"name": policy["PolicyName"], "type": policy["PolicyType"], "rule": _rule(policy)} for policy in policies
        ],
        "schedule": [{"name": one["ScheduledActionName"], "when": one["Schedule"]} for one in actions],
        "activities": [
            {
                "time": _instant(one["StartTime"]),
                "status": one["StatusCode"],
                "description": one["Description"],
                "cause": one["Cause"],
            }
            for one in activities.get("ScalingActivities", [])
        ],
    }


def rows(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line a policy, schedule and activity: what a person reads."""
    lines = []
    for one in found:
        suspended = f" (suspended: {', '.join(one['suspended'])})" if one["suspended"] else ""
        lines.append([one["variant"], "bounds", f"{one['min']} to {one['max']}{suspended}"])
        lines += [[one["variant"], "policy", f"{policy['name']}: {policy['rule']}"] for policy in one["policies"]]
        lines += [[one["variant"], "schedule", f"{action['name']}: {action['when']}"] for action in one["schedule"]]
        lines += [
            [one["variant"], done["status"], f"{done['time']} {done['description']} {done['cause']}"]
            for done in one["activities"]
        ]
    return lines


def _rule(policy: dict[str, Any]) -> str:
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
    if tracking is None:
        steps = policy.get("StepScalingPolicyConfiguration", {})
        return f"{steps.get('AdjustmentType')} in {len(steps.get('StepAdjustments', []))} steps"
    custom = tracking.get("CustomizedMetricSpecification", {})
    named = tracking.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
    metric = named or custom.get("MetricName") or "metric math"
    return f"{metric} at {number(tracking['TargetValue'])}"


def ask(api: Api, operation: str, **members: Any) -> dict[str, Any]:
    """An operation of Application Auto Scaling on endpoints; the members of its answer."""
    return api.json(SERVICE, f"{TARGET}.{operation}", {"ServiceNamespace": "sagemaker", **members})


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
