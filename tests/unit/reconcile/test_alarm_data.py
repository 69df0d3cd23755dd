"""Which unit counts where one moment has several: the same for alarms, for GetMetricData and for widgets."""

from __future__ import annotations

from pathlib import Path

from clary.domain.alarms import Comparison, MetricAlarm, MetricQuery, MetricStat
from clary.domain.principal import Scope
from clary.reconcile.alarm_data import datapoints
from clary.telemetry.metric_data import Wanted, read_series
from clary.telemetry.points import Cell, Sample, SeriesKey
from clary.telemetry.query import Metric
from clary.telemetry.statistics import Question, Window
from clary.telemetry.store import MetricStore

SCOPE = Scope("123456789012", "us-east-1")
START_S = 1_700_000_100
"""Of a period of five minutes."""
ANSWERS = {None: 3.0, "Count": 3.0, "Seconds": 9.0}


def sample(unit: str, at_s: int, value: float) -> Sample:
    key = SeriesKey(SCOPE.account, SCOPE.region, "Mine", "M", (), unit)
    return Sample(key, at_s, Cell(1, value, value, value), 60)


def test_the_first_unit_by_name_counts_wherever_in_the_period_it_comes(tmp_path: Path) -> None:
    store = MetricStore(tmp_path / "telemetry.db")
    store.record([sample("Seconds", START_S, 9), sample("Count", START_S + 120, 3)], (START_S + 300) * 1_000_000)
    for unit, value in ANSWERS.items():
        query = MetricQuery("m", MetricStat("Mine", "M", (), 300, "Sum", unit))
        spec = MetricAlarm((query,), 1, 1.0, Comparison.GREATER)
        points = store.read(lambda db, spec=spec: datapoints(db, SCOPE, spec, START_S + 300))
        assert points[0] is not None
        assert points[0].value == value
        wanted = Wanted(Question(Metric("Mine", "M", ()), Window(START_S, START_S + 300, 300), unit), "Sum")
        series = store.read(lambda db, wanted=wanted: read_series(db, SCOPE, wanted))
        assert series.points == {START_S: value}
    store.close()
