"""What PutScalingPolicy takes apart and what it refuses by the shape of the policy."""

from __future__ import annotations

from typing import Any

import pytest

from clary.domain.errors import Invalid
from clary.domain.scaling import TargetTracking
from clary.edge.aws.resources.autoscaling_shapes import DIMENSIONS_MAX, policy_spec

ONE = {"Namespace": "shop", "MetricName": "load"}
QUERY = {"Id": "m1", "MetricStat": {"Metric": ONE, "Stat": "Sum"}}


def spec(**custom: Any) -> Any:
    tracking = {"TargetValue": 1.0, "CustomizedMetricSpecification": custom}
    return policy_spec(
        {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": tracking},
    )


def test_a_metric_is_described_in_one_way() -> None:
    single, several = spec(**ONE, Statistic="Sum"), spec(Metrics=[QUERY])
    assert isinstance(single, TargetTracking)
    assert (single.queries, single.simple, several.simple) == (several.queries, True, False)
    with pytest.raises(Invalid, match="holds Metrics and MetricName, Namespace; only one may be given"):
        spec(**ONE, Metrics=[QUERY])
    with pytest.raises(Invalid, match="needs Statistic, or Metrics"):
        spec(**ONE)


def test_a_metric_has_no_more_dimensions_than_an_alarms() -> None:
    pairs = [{"Name": str(number), "Value": "v"} for number in range(DIMENSIONS_MAX + 1)]
    spec(**ONE, Statistic="Sum", Dimensions=pairs[1:])
    spec(Metrics=[{**QUERY, "MetricStat": {"Metric": {**ONE, "Dimensions": pairs[1:]}, "Stat": "Sum"}}])
    with pytest.raises(Invalid, match="Dimensions holds 31 entries; at most 30"):
        spec(**ONE, Statistic="Sum", Dimensions=pairs)
    with pytest.raises(Invalid, match="Dimensions holds 31 entries; at most 30"):
        spec(Metrics=[{**QUERY, "MetricStat": {"Metric": {**ONE, "Dimensions": pairs}, "Stat": "Sum"}}])
