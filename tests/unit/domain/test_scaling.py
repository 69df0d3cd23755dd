"""The rules and the arithmetic of autoscaling: steps, shares, what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.alarms import MetricQuery, MetricStat
from clary.domain.errors import DomainError, Invalid, NotServed
from clary.domain.scaling import (
    Bounds,
    ScheduledSpec,
    StepAdjustment,
    StepScaling,
    TargetSpec,
    TargetTracking,
    alarm_of,
    bounds_of,
    check_bounds,
    check_kind,
    check_scheduled,
    check_steps,
    check_tracking,
    queries_of,
    stepped,
    tracked_in,
    tracked_out,
    variant_of,
)
from clary.domain.schedules import Times

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
INVOCATIONS = "SageMakerVariantInvocationsPerInstance"


def steps(*found: tuple[float | None, float | None, int], kind: str = "ChangeInCapacity", **more: int) -> StepScaling:
    return StepScaling(kind, tuple(StepAdjustment(change, low, high) for low, high, change in found), **more)


@pytest.mark.parametrize(
    ("breach", "above", "count"),
    [  # API reference, StepAdjustment: above the threshold the lower bound is inclusive, below it the upper one
        (0, True, 11), (9.9, True, 11), (10, True, 13), (500, True, 13),
        (0, False, 9), (-10, False, 8), (-9.9, False, 9), (-500, False, 8),
    ],
)  # fmt: skip
def test_steps_hold_the_documented_ends_of_their_ranges(breach: float, above: bool, count: int) -> None:
    policy = steps((None, -10, -2), (-10, 0, -1), (0, 10, 1), (10, None, 3))
    check_steps(policy)
    assert stepped(policy, 10, breach, above=above) == count


@pytest.mark.parametrize(
    ("count", "percent", "least", "result"),
    [  # API reference: above 1 down, 0 to 1 up to 1, 0 to -1 down to -1, below -1 towards zero; and the ECS example
        (10, 127, None, 22), (10, 5, None, 11), (10, -5, None, 9), (10, -67, None, 4), (4, 25, 2, 6), (4, -25, 2, 2),
        (10, 0, 2, 10), (0, 50, None, 0),
    ],
)  # fmt: skip
def test_percentages_round_as_documented(count: int, percent: int, least: int | None, result: int) -> None:
    policy = StepScaling("PercentChangeInCapacity", (StepAdjustment(percent, 0, None),), least)
    check_steps(policy)
    assert stepped(policy, count, 1, above=True) == result


def test_exact_capacity_and_no_step() -> None:
    policy = steps((0, None, 5), kind="ExactCapacity")
    assert stepped(policy, 2, 1, above=True) == 5
    assert stepped(policy, 2, -1, above=True) is None
    assert stepped(steps((None, 0, -9)), 2, -1, above=False) == 0


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (steps(), "at least one"),
        (steps((0, 10, 1), (5, None, 2)), "overlap"),
        (steps((0, 10, 1), (11, None, 2)), "gap"),
        (steps((None, None, 1)), "can't be null"),
        (steps((5, 5, 1)), "greater than its lower"),
        (steps((-5, None, 1)), "null lower bound"),
        (steps((0, 5, 1)), "null upper bound"),
        (steps((0, None, -1), kind="ExactCapacity"), "must not be negative"),
        (steps((0, None, 1), min_magnitude=2), "PercentChangeInCapacity"),
        (steps((0, None, 1), cooldown_s=-1), "Cooldown"),
        (steps(*((float(n), float(n + 1), 1) for n in range(21))), "at most 20"),
    ],
)
def test_steps_that_cannot_be(policy: StepScaling, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check_steps(policy)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (TargetTracking(0, INVOCATIONS), "above 0"),
        (TargetTracking(math.inf, INVOCATIONS), "above 0"),
        (TargetTracking(5), "exactly one"),
        (TargetTracking(5, INVOCATIONS, (MetricQuery("m", MetricStat("n", "m", (), 60, "Sum")),)), "exactly one"),
        (TargetTracking(5, "ALBRequestCountPerTarget"), "only supports the following predefined metric types"),
        (TargetTracking(5, "SageMakerVariantProvisionedConcurrencyUtilization"), "only supports"),
        (TargetTracking(5, INVOCATIONS, scale_in_cooldown_s=-1), "ScaleInCooldown"),
    ],
)
def test_tracking_that_cannot_be(policy: TargetTracking, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check_tracking(policy, DIMENSION)


def test_the_alarm_pair_of_a_policy() -> None:
    policy = TargetTracking(70, INVOCATIONS)
    queries = queries_of(policy, "churn", "Blue")
    high, low = (alarm_of(policy, queries, "arn:x", high=high) for high in (True, False))
    assert queries[0].stat == MetricStat(
        "AWS/SageMaker", "InvocationsPerInstance", (("EndpointName", "churn"), ("VariantName", "Blue")), 60, "Sum"
    )
    assert (high.comparison.value, high.threshold, high.evaluation_periods) == ("GreaterThanThreshold", 70, 3)
    assert (low.comparison.value, low.threshold, low.evaluation_periods) == ("LessThanThreshold", 63, 15)
    assert high.description == "DO NOT EDIT OR DELETE. For TargetTrackingScaling policy arn:x."
    assert high.actions.alarm == low.actions.alarm == ("arn:x",)


@pytest.mark.parametrize(
    ("least", "most", "words"),
    [
        (1, 0, "MaxCapacity is 0"),
        (3, 2, "cannot be less"),
        (-1, 2, "0 to"),
        (1, 2000, "0 to"),
    ],
)
def test_bounds_that_cannot_be(least: int, most: int, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check_bounds(least, most)


def test_a_variant_may_scale_to_none() -> None:
    check_bounds(0, 2)


def test_bounds_of_a_schedule_hold_until_the_next_registration() -> None:
    spec, scheduled = TargetSpec(1, 4, "role", revision=3), Bounds(3, 2, 9)
    assert bounds_of(spec, scheduled) == scheduled
    assert bounds_of(spec, Bounds(2, 2, 9)) == bounds_of(spec, None) == Bounds(3, 1, 4)


@pytest.mark.parametrize(
    ("namespace", "dimension"),
    [
        ("ecs", "ecs:service:DesiredCount"),
        ("sagemaker", "sagemaker:variant:DesiredProvisionedConcurrency"),
        ("sagemaker", "sagemaker:inference-component:DesiredCopyCount"),
    ],
)
def test_what_does_not_exist_here_is_refused_by_name(namespace: str, dimension: str) -> None:
    with pytest.raises(NotServed) as refused:
        check_kind(namespace, dimension)
    assert namespace in refused.value.what


def test_names_of_resources() -> None:
    assert variant_of("endpoint/churn/variant/Blue") == ("churn", "Blue")
    for wrong in ("endpoint/churn", "variant/Blue", "endpoint/a/b/variant/c", "inference-component/x"):
        with pytest.raises(DomainError):
            variant_of(wrong)
    with pytest.raises(Invalid, match="ScalableTargetAction"):
        check_scheduled(ScheduledSpec(Times("rate(1 day)")))


@given(count=st.integers(1, 200), load=st.floats(0, 1e6), target=st.floats(0.1, 1e4))
def test_a_constant_load_is_met_in_one_step_and_kept(count: int, load: float, target: float) -> None:
    """Whatever the load: once scaled to it, neither alarm's side asks for another count."""
    out = tracked_out(count, load / count, target)
    if out > count:
        assert load / out <= target * (1 + 1e-6) or out == 1000
        assert tracked_out(out, load / out, target) <= out
    into = tracked_in(count, load / count, target)
    assert 0 <= count - into <= max(1, count // 4) or into > count
    if 0 < into < count:
        assert load / into <= target * (1 + 1e-6)
