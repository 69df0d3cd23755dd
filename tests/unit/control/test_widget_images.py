"""What is drawn of a widget, and what becomes of a drawing that fails."""

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clary.control.metrics import MetricDesk
from clary.control.widget_images import DrawError, PlotOptions, Plotter
from clary.control.widgets import read_widget
from clary.domain.errors import Invalid
from clary.domain.principal import Scope
from clary.kit.clock import MICROS, VirtualClock
from clary.kit.threads import Threads
from clary.telemetry.points import Cell, Sample, SeriesKey
from clary.telemetry.store import MetricStore

SCOPE = Scope("123456789012", "us-east-1")
NOW_S = 1_700_000_040
METRIC = ["Mine", "M"]


@pytest.fixture
async def plotter(tmp_path: Path) -> AsyncIterator[Plotter]:
    store, threads = MetricStore(tmp_path / "telemetry.db"), Threads("test", 1)
    key = SeriesKey(SCOPE.account, SCOPE.region, "Mine", "M", (), "None")
    store.put([Sample(key, NOW_S - 60 * n, Cell(1, n, n, n)) for n in range(4)], NOW_S * MICROS)
    yield Plotter(MetricDesk(store, threads, VirtualClock(NOW_S * MICROS)), PlotOptions(draw_s=30))
    threads.close()
    store.close()


def widget(*metrics: Any, **more: Any) -> Any:
    given = {"metrics": list(metrics), "period": 60, **more}
    return read_widget(given, datetime.fromtimestamp(NOW_S + 30, UTC), SCOPE.region)


async def lines(plotter: Plotter, *metrics: Any, **more: Any) -> list[tuple[str, list[float]]]:
    spec: Any = await plotter._spec(SCOPE, widget(*metrics, **more))
    return [(line["label"], [value for _, value in line["points"]]) for line in spec["lines"]]


async def test_a_period_that_has_not_ended_is_shown_as_live_data_only(plotter: Plotter) -> None:
    assert await lines(plotter, METRIC) == [("M", [3, 2, 1])]
    assert await lines(plotter, METRIC, liveData=True) == [("M", [3, 2, 1, 0])]


async def test_lines_are_metrics_and_expressions_that_are_visible(plotter: Plotter) -> None:
    hidden = [*METRIC, {"id": "m1", "visible": False}]
    twice = [{"expression": "m1 * 2", "label": "twice, at most ${MAX}"}]
    found = [{"expression": "SEARCH('{Mine} M', 'Sum', 60)", "label": "found"}]
    assert await lines(plotter, hidden, twice, found) == [("twice, at most 6", [6, 4, 2]), ("found M", [3, 2, 1])]
    with pytest.raises(Invalid, match="must be a time series"):
        await lines(plotter, hidden, [{"expression": "AVG(m1)"}])


async def test_a_drawing_that_fails_is_nobodys_request(plotter: Plotter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DrawError):
        await plotter.png(SCOPE, widget(METRIC))
