"""Objectives in words become alarms."""

from __future__ import annotations

import pytest

from clary.domain.alarms import Comparison, Missing
from clary.domain.errors import Invalid
from clary.domain.objectives import Watched, alarm_of, parse_objective


@pytest.mark.parametrize(
    ("text", "metric", "stat", "violated", "threshold", "window"),
    [
        ("p99 < 50ms", "ModelLatency", "p99", Comparison.GREATER_OR_EQUAL, 50_000.0, (1, 1, 60)),
        ("p50 <= 3 ms", "ModelLatency", "p50", Comparison.GREATER, 3_000.0, (1, 1, 60)),
        ("P99.9<1s", "ModelLatency", "p99.9", Comparison.GREATER_OR_EQUAL, 1e6, (1, 1, 60)),
        ("average < 250 us", "ModelLatency", "Average", Comparison.GREATER_OR_EQUAL, 250.0, (1, 1, 60)),
        ("errors < 1%", "InvocationModelErrors", "Average", Comparison.GREATER_OR_EQUAL, 0.01, (1, 1, 60)),
        ("errors < 5", "InvocationModelErrors", "Sum", Comparison.GREATER_OR_EQUAL, 5.0, (1, 1, 60)),
        ("4xx <= 10 %", "Invocation4XXErrors", "Average", Comparison.GREATER, 0.1, (1, 1, 60)),
        ("cpu < 80%", "CPUUtilization", "Average", Comparison.GREATER_OR_EQUAL, 80.0, (1, 1, 60)),
        ("p99 < 50ms for 3 of 5 minutes", "ModelLatency", "p99", Comparison.GREATER_OR_EQUAL, 50_000.0, (3, 5, 60)),
        ("p99 < 50ms for 2 minutes", "ModelLatency", "p99", Comparison.GREATER_OR_EQUAL, 50_000.0, (2, 2, 60)),
        ("5xx < 1% for 2 of 3 x 10s", "Invocation5XXErrors", "Average", Comparison.GREATER_OR_EQUAL, 0.01, (2, 3, 10)),
        ("min > 1 ms for 1 x 5m", "ModelLatency", "Minimum", Comparison.LESS_OR_EQUAL, 1_000.0, (1, 1, 300)),
    ],
)
def test_an_objective_is_read(
    text: str, metric: str, stat: str, violated: Comparison, threshold: float, window: tuple[int, int, int]
) -> None:
    objective = parse_objective(text)
    assert (objective.metric, objective.stat, objective.violated) == (metric, stat, violated)
    assert objective.threshold == pytest.approx(threshold)
    assert (objective.breaching_min, objective.periods, objective.period_s) == window


@pytest.mark.parametrize(
    "text",
    [
        *("", "p99", "p99 < fast", "p99 < 50", "p99 < 50%", "errors < 1ms", "cpu < 5", "speed > 1", "p99 = 5ms"),
        *(f"p99 < {'9' * 400}ms", f"cpu < 5% for {'1' * 5000} minutes"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="objective"):
        parse_objective(text)


def test_its_alarm_watches_the_variant_or_only_a_new_fleet() -> None:
    objective = parse_objective("p99 < 50ms for 3 of 5 minutes")
    alarm = alarm_of(objective, Watched("churn", "blue"))
    assert alarm.watched.stat is not None
    assert alarm.watched.stat.dimensions == (("EndpointName", "churn"), ("VariantName", "blue"))
    assert (alarm.datapoints_to_alarm, alarm.evaluation_periods, alarm.missing) == (3, 5, Missing.NOT_BREACHING)
    assert alarm.breaches(50_000.0)
    assert not alarm.breaches(49_999.0)
    new = alarm_of(objective, Watched("churn", "blue", "churn-2"))
    assert new.watched.stat is not None
    assert new.watched.stat.dimensions[0] == ("EndpointConfigName", "churn-2")


@pytest.mark.parametrize("text", ["p99 < 5ms for 5 of 3 minutes", "p99 < 5ms for 1 x 7s", "p99 < 5ms for 2000 minutes"])
def test_limits_of_alarms_hold(text: str) -> None:
    with pytest.raises(Invalid):
        alarm_of(parse_objective(text), Watched("e", "v"))


def test_errors_are_the_models_failures_without_what_callers_did_wrong() -> None:
    alarm = alarm_of(parse_objective("errors < 1%"), Watched("churn", "blue"))
    assert not alarm.simple
    assert alarm.watched.expression == "m1 - m2"
    named = {query.id: query.stat.metric for query in alarm.queries if query.stat is not None}
    assert named == {"m1": "InvocationModelErrors", "m2": "Invocation4XXErrors"}
    assert alarm.period_s == 60
