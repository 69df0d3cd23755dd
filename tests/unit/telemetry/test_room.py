"""A metric store that is full keeps the finest points for less time, and as long as it should once there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from clary.kit.clock import VirtualClock
from clary.kit.threads import Threads
from clary.telemetry.ingest import Ingest, IngestOptions
from clary.telemetry.points import SAGEMAKER, Cell, Sample, SeriesKey
from clary.telemetry.room import LEAST_S, Room
from clary.telemetry.store import RETENTION_S, MetricStore, StoreOptions
from clary.telemetry.totals import Totals

NOW_S = 1_700_000_000
MIB = 1 << 20


@given(st.lists(st.integers(0, 300), max_size=60))
def test_windows_stay_between_the_least_and_the_whole(used: list[int]) -> None:
    room = Room(RETENTION_S, 100)
    for used_bytes in used:
        before = dict(room.kept_s)
        assert room.settle(used_bytes) is (room.kept_s != before)
        for resolution_s, kept_s in room.kept_s.items():
            assert LEAST_S[resolution_s] <= kept_s <= RETENTION_S[resolution_s]


def test_the_finest_goes_first_and_comes_back_last() -> None:
    room = Room(RETENTION_S, 100)
    while room.kept_s[10] == RETENTION_S[10]:
        assert room.settle(101)
    assert room.kept_s[1] == LEAST_S[1]
    assert not room.settle(80), "between the two marks nothing moves"
    assert room.settle(1)
    assert room.kept_s[10] == RETENTION_S[10]
    while room.squeezed:
        assert room.settle(1)
    while room.settle(101):
        pass
    assert room.kept_s == LEAST_S


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads("test", 1)
    yield made
    made.close()


def samples(until_s: int) -> list[Sample]:
    """The last half hour of one series, each second."""
    key = SeriesKey("1", "r", SAGEMAKER, "Invocations", (("EndpointName", "e"),), "None", "u")
    return [Sample(key, at_s, Cell(1, 1, 1, 1)) for at_s in range(until_s - 1800, until_s)]


def test_a_full_store_says_what_it_drops(tmp_path: Path, threads: Threads) -> None:
    store, totals = MetricStore(tmp_path / "telemetry.db", StoreOptions(bytes_max=1)), Totals()
    ingest = Ingest(store, tmp_path, VirtualClock(NOW_S * 10**6), threads, IngestOptions(prune_steps=1), totals=totals)
    store.put(samples(NOW_S), NOW_S * 10**6)
    with structlog.testing.capture_logs() as logs:
        for _ in range(12):
            ingest.step(NOW_S * 10**6)
    assert store.read(lambda db: db.execute("SELECT count(*) FROM point WHERE resolution = 1").fetchone()[0]) == 300
    assert totals.view(NOW_S * 10**6).losses.points >= 1500
    assert logs
    assert logs[0]["kept_s"]["1 s"] == RETENTION_S[1] // 2
    # What is put later is kept for as long as there is room.
    store.put(samples(NOW_S), NOW_S * 10**6)
    assert store.read(lambda db: db.execute("SELECT count(*) FROM point WHERE resolution = 1").fetchone()[0]) == 300
    assert (
        store.read(lambda db: db.execute("SELECT sum(count) FROM point WHERE resolution = 3600").fetchone()[0]) == 3600
    )
    store.close()


def test_pages_that_were_freed_do_not_count(tmp_path: Path) -> None:
    store = MetricStore(tmp_path / "telemetry.db", StoreOptions(bytes_max=MIB // 4))
    store.put(samples(NOW_S), NOW_S * 10**6)
    assert store.prune(NOW_S * 10**6).kept_s is None
    store.close()
