"""Simulated scaling: the documented timing, bounds, and the same answer each time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clary.domain.alarms import MetricQuery
from clary.domain.errors import Invalid
from clary.domain.scaling import TargetSpec, TargetTracking
from clary.simulation.scaling import ScalingQuestion, simulate_scaling
from clary.simulation.service import Behaviour
from clary.simulation.timeline import clock, table
from clary.simulation.traffic import described

POLICY = TargetTracking(1500.0, "SageMakerVariantInvocationsPerInstance")
STEP = ScalingQuestion(
    described("step 20 200 at 10m"), Behaviour(0.02, start_s=30), TargetSpec(1, 10, ""), (POLICY,), 7200, 600
)


def test_three_minutes_above_the_target_scale_out_in_proportion() -> None:
    timeline = simulate_scaling(STEP)
    first = timeline.events[0]
    assert (clock(first.at_s), first.what[:7]) == ("0:13:00", "1 -> 8:")
    assert timeline.rows[-1].replicas == {"replicas": 8}
    assert timeline.rows[-1].error_share == 0
    assert timeline.summary["replicas_max"] == 8


def test_quarter_of_an_hour_below_it_scales_in_step_by_step() -> None:
    timeline = simulate_scaling(replace(STEP, traffic=described("step 200 20 at 10m"), instances=8))
    counts = [event.what.split(":")[0] for event in timeline.events]
    assert counts[:2] == ["8 -> 6", "6 -> 5"]
    assert clock(timeline.events[0].at_s) == "0:25:00"
    assert timeline.rows[-1].wanted < 8


def test_concurrency_in_periods_of_ten_seconds_is_quicker() -> None:
    policy = TargetTracking(0.8, "SageMakerVariantConcurrentRequestsPerModelHighResolution")
    first = simulate_scaling(replace(STEP, policies=(policy,))).events[0]
    assert clock(first.at_s) == "0:10:30"


def test_bounds_hold_and_the_bound_is_told_of() -> None:
    timeline = simulate_scaling(replace(STEP, spec=TargetSpec(2, 3, ""), traffic=described("500")))
    assert {row.wanted for row in timeline.rows} <= {2, 3}
    assert any("NotScaled" in event.what for event in timeline.events)
    assert timeline.summary["failed_share"] > 0.5


def test_the_same_question_has_the_same_answer() -> None:
    question = replace(STEP, traffic=described("day 5..300"), span_s=6 * 3600)
    assert simulate_scaling(question).document() == simulate_scaling(question).document()


def test_the_table_has_rows_and_events_in_order() -> None:
    columns, rows = table(simulate_scaling(STEP))
    assert columns == ["TIME", "REQUESTS/S", "P99 MS", "ERRORS", "REPLICAS", "WHAT"]
    assert [row[0] for row in rows[:3]] == ["0:10:00", "0:13:00", "0:20:00"]
    assert all(len(row) == len(columns) for row in rows)


def test_math_is_refused() -> None:
    policy = TargetTracking(1.0, queries=(MetricQuery("e", expression="1"),))
    with pytest.raises(Invalid, match="not simulated"):
        simulate_scaling(replace(STEP, policies=(policy,)))
