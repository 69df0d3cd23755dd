"""What the hot path counted is what the deltas say."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.kit.clock import VirtualClock
from clary.telemetry.delta import Delta, Span, decode_deltas
from clary.telemetry.recorder import IDLE_TICKS_MAX, Recorder, Series
from clary.telemetry.sketch import Sketch
from clary.telemetry.spool import segments

START_US = 1_700_000_000 * 1_000_000
SPAN = Span(bytes(16), bytes(8), bytes(8), "", 0, 5, "1", "r", "e", "A", "r1", "id", 200, 200, 4, False)


def a_recorder(folder: Path, clock: VirtualClock) -> Recorder:
    return Recorder("router-0", "boot-1", folder, clock)


def a_series(recorder: Recorder, variant: str = "AllTraffic", instances: int = 1) -> Series:
    return recorder.series("123456789012", "us-east-1", "Churn", "01E", variant, instances)


def spooled(folder: Path) -> list[Delta]:
    return [delta for path in segments(folder) for delta in decode_deltas(path.read_bytes())[0]]


async def test_a_second_is_shipped_when_it_is_over(tmp_path: Path) -> None:
    clock = VirtualClock(START_US + 400_000)
    recorder = a_recorder(tmp_path, clock)
    series = a_series(recorder, instances=4)
    task = asyncio.ensure_future(recorder.run())
    for status, error in ((200, False), (404, True), (503, True), (0, True)):
        series.concurrent += 1
        series.observe(status, 1_000 if status else -1, 50, error)
        series.concurrent -= 1
    await clock.advance(0.7)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (delta,) = spooled(tmp_path)
    assert (delta.router, delta.boot_id, delta.sequence, delta.at_us) == ("router-0", "boot-1", 1, START_US)
    (got,) = delta.variants
    assert (got.account, got.region, got.endpoint, got.endpoint_uid, got.variant) == (
        "123456789012",
        "us-east-1",
        "Churn",
        "01E",
        "AllTraffic",
    )
    assert (got.invocations, got.per_instance) == (4, 1.0)
    assert (got.errors_4xx, got.errors_5xx, got.model_errors) == (1, 1, 3)
    assert got.model is not None
    assert got.overhead is not None
    assert (got.model.count, got.model.sum_us, got.model.min_us, got.model.max_us) == (3, 3_000, 1_000, 1_000)
    assert (got.overhead.count, got.overhead.sum_us) == (4, 200)
    assert (got.ticks, got.concurrent_sum, got.concurrent_min, got.concurrent_max) == (1, 0, 0, 1)


async def test_what_came_after_the_last_tick_is_shipped_at_the_end(tmp_path: Path) -> None:
    clock = VirtualClock(START_US)
    recorder = a_recorder(tmp_path, clock)
    series = a_series(recorder)
    task = asyncio.ensure_future(recorder.run())
    await clock.advance(3.5)
    series.observe(200, 10, 10, False)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(d.sequence, sum(v.invocations for v in d.variants)) for d in spooled(tmp_path)] == [(1, 0), (2, 1)]


async def test_an_idle_variant_reports_zeros_at_once_and_then_each_ten_seconds(tmp_path: Path) -> None:
    clock = VirtualClock(START_US)
    recorder = a_recorder(tmp_path, clock)
    a_series(recorder)
    task = asyncio.ensure_future(recorder.run())
    await clock.advance(3 * IDLE_TICKS_MAX + 1.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    deltas = spooled(tmp_path)
    assert [(delta.at_us - START_US) // 1_000_000 for delta in deltas] == [0, 10, 20, 30]
    assert [delta.variants[0].ticks for delta in deltas] == [1, 10, 10, 10]
    assert {(d.variants[0].invocations, d.variants[0].concurrent_max, d.variants[0].model) for d in deltas} == {
        (0, 0, None)
    }


def test_a_retired_series_ships_its_last_requests_and_is_forgotten(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path, VirtualClock())
    kept, gone = a_series(recorder, "A"), a_series(recorder, "B")
    recorder.ship()
    gone.concurrent += 1
    recorder.retain([kept])
    recorder.ship()
    gone.observe(200, 5, 5, False)
    gone.concurrent -= 1
    recorder.ship()
    for _ in range(2 * IDLE_TICKS_MAX):
        recorder.ship()
    assert [(v.invocations, v.concurrent_max) for d in spooled(tmp_path) for v in d.variants if v.variant == "B"] == [
        (0, 0),
        (0, 1),
        (1, 1),
    ]
    assert a_series(recorder, "A") is kept
    assert a_series(recorder, "B") is not gone


def test_each_request_counts_for_the_instances_of_its_time(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path, VirtualClock())
    series = a_series(recorder, instances=1)
    series.observe(200, 1, 1, False)
    assert a_series(recorder, instances=4) is series
    series.observe(200, 1, 1, False)
    series.observe(200, 1, 1, False)
    taken = series.take()
    assert taken is not None
    assert taken.per_instance == pytest.approx(1.5)


@given(st.lists(st.lists(st.sampled_from("+-"), max_size=30), min_size=1, max_size=5))
def test_the_extremes_of_concurrency_are_exact(seconds: list[list[str]]) -> None:
    series = Series("1", "r", "e", "u", variant="v", instances=1)
    for steps in seconds:
        seen = [series.concurrent]
        for step in steps:
            if step == "+":
                series.concurrent += 1
            elif series.concurrent:
                series.observe(200, 1, 1, False)
                series.concurrent -= 1
            seen.append(series.concurrent)
        taken = series.take()
        if taken is None:
            assert max(seen) == 0
            continue
        assert (taken.concurrent_min, taken.concurrent_max, taken.concurrent_sum) == (min(seen), max(seen), seen[-1])


@given(st.lists(st.integers(0, 90_000_000), min_size=1, max_size=50))
def test_the_hot_path_fills_the_same_buckets_as_the_sketch(durations_us: list[int]) -> None:
    series, sketch = Series("1", "r", "e", "u", variant="v", instances=1), Sketch()
    for us in durations_us:
        series.observe(200, us, us, False)
        sketch.observe(us)
    taken = series.take()
    assert taken is not None
    assert taken.model == taken.overhead
    assert taken.model is not None
    assert taken.model.buckets == sketch.counts


def test_a_disk_that_refuses_stops_no_router(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    recorder = a_recorder(tmp_path / "file" / "router-0", VirtualClock())
    a_series(recorder).observe(200, 1, 1, False)
    recorder.ship()
    assert recorder.lost.deltas == 1


def test_the_router_loads_nothing_heavy_for_it() -> None:
    code = "import sys, clary.dataplane.router; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "sqlalchemy", "sqlite3", "structlog", "botocore", "starlette", "orjson", "psutil", "httpx"}
    assert not (heavy | {"google", "opentelemetry", "prometheus_client"}) & set(loaded)


def test_spans_give_way_to_metrics_while_nobody_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clary.telemetry.recorder.SPANS_SPOOL_BYTES_MAX", 50)
    recorder = a_recorder(tmp_path, VirtualClock())
    series = a_series(recorder)
    for _ in range(3):
        series.observe(200, 1, 1, False)
        recorder.span(SPAN)
        recorder.ship()
    deltas = spooled(tmp_path)
    assert [len(delta.variants) for delta in deltas] == [1, 1, 1]
    assert [(len(delta.spans), delta.spans_lost) for delta in deltas] == [(1, 0), (0, 1), (0, 1)]


class EarlyClock(VirtualClock):
    """Timers fire 10 ms before their time, as those of an event loop that counts in milliseconds may."""

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s - 0.01 if delay_s > 0.02 else delay_s)


async def test_an_early_timer_cuts_no_second_in_two(tmp_path: Path) -> None:
    clock = EarlyClock(START_US)
    recorder = a_recorder(tmp_path, clock)
    series = a_series(recorder)
    series.concurrent = 1
    task = asyncio.ensure_future(recorder.run())
    await clock.advance(4.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(delta.at_us - START_US) // 1_000_000 for delta in spooled(tmp_path)] == [0, 1, 2, 3, 4]
