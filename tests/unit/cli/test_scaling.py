"""What `clary describe` makes of the service's answers."""

from __future__ import annotations

from typing import Any

from clary.cli import scaling

ANSWERS: dict[str, dict[str, Any]] = {
    "DescribeScalableTargets": {
        "ScalableTargets": [
            {
                "ResourceId": "endpoint/e/variant/Blue",
                "MinCapacity": 1,
                "MaxCapacity": 4,
                "SuspendedState": {"DynamicScalingInSuspended": True, "ScheduledScalingSuspended": False},
            }
        ]
    },
    "DescribeScalingPolicies": {
        "ScalingPolicies": [
            {
                "PolicyName": "named",
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": 70.5,
                    "PredefinedMetricSpecification": {"PredefinedMetricType": "Known"},
                },
            },
            {
                "PolicyName": "own",
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": 3.0,
                    "CustomizedMetricSpecification": {"Metrics": [{}]},
                },
            },
            {
                "PolicyName": "steps",
                "PolicyType": "StepScaling",
                "StepScalingPolicyConfiguration": {"AdjustmentType": "ExactCapacity", "StepAdjustments": [{}, {}]},
            },
        ]
    },
    "DescribeScheduledActions": {"ScheduledActions": [{"ScheduledActionName": "calm", "Schedule": "rate(1 day)"}]},
    "DescribeScalingActivities": {
        "ScalingActivities": [
            {"StartTime": 1_700_000_000, "StatusCode": "Successful", "Description": "Setting.", "Cause": "because"}
        ]
    },
}


class Answering:
    """Stands in for the API."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def json(self, service: str, target: str, members: dict[str, Any]) -> dict[str, Any]:
        assert service == "application-autoscaling"
        self.asked.append((target, members))
        return ANSWERS[target.removeprefix("AnyScaleFrontendService.")]


def test_it_shows_bounds_policies_schedules_and_activities() -> None:
    api = Answering()
    found = scaling.scaling_of(api, "e", ["Blue"])  # type: ignore[arg-type]
    assert api.asked[0][1] == {"ServiceNamespace": "sagemaker", "ResourceIds": ["endpoint/e/variant/Blue"]}
    assert scaling.rows(found) == [
        ["Blue", "bounds", "1 to 4 (suspended: in)"],
        ["Blue", "policy", "named: Known at 70.5"],
        ["Blue", "policy", "own: metric math at 3"],
        ["Blue", "policy", "steps: ExactCapacity in 2 steps"],
        ["Blue", "schedule", "calm: rate(1 day)"],
        ["Blue", "Successful", "2023-11-14T22:13:20Z Setting. because"],
    ]


def test_nothing_is_asked_of_an_endpoint_without_variants() -> None:
    assert scaling.scaling_of(Answering(), "e", []) == []  # type: ignore[arg-type]
