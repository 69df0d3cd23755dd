"""Totals: deltas once each, histograms within the sketch's error, names that are routed no more forgotten."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from clary.kit.clock import VirtualClock
from clary.kit.threads import Threads
from clary.telemetry.delta import Delta, Latency, Span, VariantDelta
from clary.telemetry.ingest import Ingest
from clary.telemetry.recorder import Recorder
from clary.telemetry.sketch import ERROR_MAX, Sketch
from clary.telemetry.store import MetricStore
from clary.telemetry.totals import BOUNDS_S, FORGET_S, FleetKey, Histogram, Losses, Totals

NOW_US = 1_700_000_000 * 1_000_000
LATENCY = Latency(2, 3_000, 1_000, 2_000, {1: 2})
BUSY = VariantDelta("1", "r", "Churn", "u", "A", 2, 1.0, 1, 0, 1, LATENCY, LATENCY, 1, 3, 1, 4, config="blue")
BLUE = FleetKey("1", "r", "Churn", "A", "blue")


def delta(*variants: VariantDelta, router: str = "router-0", at_us: int = NOW_US, sequence: int = 1) -> Delta:
    return Delta(router, "b", sequence, at_us, variants)


def test_fleets_add_up_over_seconds_and_routers() -> None:
    totals = Totals()
    totals.add([delta(BUSY), delta(BUSY, router="router-1"), delta(msgspec.structs.replace(BUSY, config="green"))])
    view = totals.view(NOW_US)
    assert {key.config: one.invocations for key, one in view.fleets.items()} == {"blue": 4, "green": 2}
    blue = view.fleets[BLUE]
    assert (blue.errors_4xx, blue.errors_5xx, blue.errors_model, blue.model.count, blue.model.sum_us) == (
        2,
        0,
        2,
        4,
        6000,
    )
    assert blue.concurrency(NOW_US) == 6
    assert blue.concurrency(NOW_US + 60_000_000) == 0
    totals.add([delta(BUSY)])
    assert blue.invocations == 4, "a view does not change"


def test_replicas_of_enhanced_metrics_are_not_counted_twice() -> None:
    totals = Totals()
    totals.add([delta(BUSY, msgspec.structs.replace(BUSY, config="", replica="r1"))])
    assert [one.invocations for one in totals.view(NOW_US).fleets.values()] == [2]


def test_what_is_silent_is_forgotten() -> None:
    totals = Totals()
    totals.add([delta(BUSY)])
    assert totals.view(NOW_US + FORGET_S * 1_000_000).fleets
    assert not totals.view(NOW_US + (FORGET_S + 1) * 1_000_000).fleets


@given(st.lists(st.integers(1, 90_000_000), min_size=1, max_size=60))
def test_a_histogram_is_right_within_the_sketch_s_error(durations_us: list[int]) -> None:
    sketch = Sketch()
    for us in durations_us:
        sketch.observe(us)
    histogram = Histogram()
    histogram.add(Latency(len(durations_us), sum(durations_us), min(durations_us), max(durations_us), sketch.counts))
    assert (sum(histogram.buckets), histogram.count) == (len(durations_us), len(durations_us))
    below = 0
    for bound_s, count in zip(BOUNDS_S, histogram.buckets, strict=False):
        below += count
        bound_us = bound_s * 1e6
        assert sum(us * (1 + ERROR_MAX) <= bound_us for us in durations_us) <= below
        assert below <= sum(us * (1 - ERROR_MAX) <= bound_us for us in durations_us)


SPAN = Span(
    bytes(16), bytes(8), bytes(8), "", NOW_US, NOW_US + 5, "1", "r", "Churn", "A", "r1", "id", 200, 200, 4, False
)


async def test_a_control_that_begins_anew_counts_no_delta_again(tmp_path: Path) -> None:
    recorder = Recorder("router-0", "b", tmp_path / "spool" / "router-0", VirtualClock(NOW_US))
    series = recorder.series("1", "r", "Churn", "u", "A", 1, config="blue")
    series.observe(200, 5, 5, False)
    recorder.span(SPAN)
    recorder.ship()
    store, threads, clock = MetricStore(tmp_path / "telemetry.db"), Threads("test", 1), VirtualClock(NOW_US)
    seen: list[list[Span]] = []
    for _ in range(2):
        totals = Totals()
        ingest = Ingest(
            store, tmp_path / "spool", clock, threads, totals=totals, trace=lambda spans: seen.append(list(spans))
        )
        ingest.step(NOW_US)
        series.observe(200, 5, 5, False)
        recorder.ship()
        ingest.step(NOW_US)
    assert [one.invocations for one in totals.view(NOW_US).fleets.values()] == [1]
    assert seen == [[SPAN]]
    store.close()
    threads.close()


def test_losses_add_up() -> None:
    totals = Totals()
    totals.lose(deltas=1)
    totals.lose(samples=2, spans=3)
    totals.lose(deltas=4, points=9)
    assert totals.view(NOW_US).losses == Losses(5, 2, 3, 9)
