"""The read rules of CloudWatch, case by case from the API reference."""

from datetime import UTC, datetime

import pytest

from clary.domain.errors import NotServed
from clary.telemetry import statistics
from clary.telemetry.points import Cell
from clary.telemetry.sketch import Sketch
from clary.telemetry.statistics import Percentile, Window, window

DAY_S = 86400


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW_S = at("2026-03-01T12:40:00")


@pytest.mark.parametrize(
    ("ago_days", "rounded"),
    [(1, "12:32:00"), (14.9, "12:32:00"), (20, "12:30:00"), (62, "12:30:00"), (64, "12:00:00")],
)
def test_a_start_is_rounded_down_by_its_age(ago_days: float, rounded: str) -> None:
    start_s = at("2026-03-01T12:32:34")
    got = window(start_s, start_s + 3600, 3600, start_s + ago_days * DAY_S)
    assert got.start_s == at(f"2026-03-01T{rounded}")
    assert got.end_s == start_s + 3600


def test_below_a_minute_both_ends_are_rounded_to_the_period() -> None:
    assert window(at("2026-03-01T01:05:13"), at("2026-03-01T01:05:23"), 10, NOW_S) == Window(
        int(at("2026-03-01T01:05:10")), int(at("2026-03-01T01:05:20")), 10
    )
    assert window(at("2026-03-01T15:02:17"), at("2026-03-01T15:07:17"), 5, NOW_S) == Window(
        int(at("2026-03-01T15:02:15")), int(at("2026-03-01T15:07:15")), 5
    )


def test_an_end_within_a_second_takes_that_seconds_point() -> None:
    assert window(NOW_S, NOW_S + 60.5, 60, NOW_S).end_s == NOW_S + 61


def test_periods() -> None:
    assert [p for p in range(-60, 241) if statistics.is_period(p)] == [1, 5, 10, 20, 30, 60, 120, 180, 240]


@pytest.mark.parametrize(
    ("text", "stat"),
    [
        ("Sum", "Sum"),
        ("SampleCount", "SampleCount"),
        ("p99", Percentile(0.99)),
        ("p0.0", Percentile(0.0)),
        ("p99.9", Percentile(0.9990000000000001)),
        ("p100", Percentile(1.0)),
        ("p100.0", Percentile(1.0)),
        ("p101", None),
        ("p100.1", None),
        ("p", None),
        ("P99", None),
        ("sum", None),
        ("Median", None),
        ("p99 ", None),
    ],
)
def test_statistics_by_name(text: str, stat: object) -> None:
    assert statistics.parse_stat(text) == stat


@pytest.mark.parametrize("text", ["tm90", "TM(10%:90%)".lower(), "tc(:150)", "ts95", "wm98", "pr(:300)", "IQM", "iqm"])
def test_other_extended_statistics_are_refused_by_name(text: str) -> None:
    with pytest.raises(NotServed) as refused:
        statistics.parse_stat(text)
    assert text in refused.value.what


def test_values_of_a_cell() -> None:
    cell = Cell(4, 100, 10, 40, Sketch())
    assert [statistics.value(stat, cell) for stat in ("SampleCount", "Sum", "Average", "Minimum", "Maximum")] == [
        4,
        100,
        25,
        10,
        40,
    ]


def test_a_counter_that_stood_still_is_zero() -> None:
    for stat in ("SampleCount", "Sum", "Average", "Minimum", "Maximum", Percentile(0.99)):
        assert statistics.value(stat, Cell(0, 0)) == 0  # type: ignore[arg-type]


def test_percentiles() -> None:
    sketch = Sketch()
    for us in range(1, 101):
        sketch.observe(us * 100)
    cell = Cell(100, 505_000, 100, 10_000, sketch)
    assert statistics.value(Percentile(0.0), cell) == pytest.approx(100, rel=0.011)
    assert statistics.value(Percentile(0.5), cell) == pytest.approx(5_000, rel=0.011)
    assert statistics.value(Percentile(0.99), cell) == pytest.approx(9_900, rel=0.011)
    assert statistics.value(Percentile(1.0), cell) == 10_000
    assert statistics.value(Percentile(0.5), Cell(2, 1, 0, 1)) is None
    assert statistics.value(Percentile(0.5), Cell(2, 2, 1, 1)) == 1
