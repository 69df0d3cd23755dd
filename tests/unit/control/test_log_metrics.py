"""Metrics of logs: each line counts once, whatever is killed, forgotten, begun anew or too much at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clary.control.log_groups import TRAINING, LogKeeper, Source
from clary.control.log_metrics import LogMetrics, MeterOptions
from clary.kit.threads import Threads
from clary.telemetry.emf import Place
from clary.telemetry.log_groups_own import LogFilter, PutEvent
from clary.telemetry.store import MetricStore
from tests.support.hosting import SCOPE, Host

PLACE = (SCOPE.account, SCOPE.region)


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.host = Host(folder)
        self.threads = Threads("test", 2)
        self.keeper = LogKeeper(self.host.desk, folder / "logs", self.threads, self.host.clock)
        self.store = MetricStore(folder / "telemetry.db")
        self.path = self.keeper.own.path_of(*PLACE, "/mine", "s")
        self.keeper.own.change(*PLACE, "/mine", 1, lambda own: own.streams.update(s=1))

    def meter(self, **options: Any) -> LogMetrics:
        return LogMetrics(self.keeper, self.store, self.host.clock, self.threads, MeterOptions(**options))

    async def begun(self, **options: Any) -> LogMetrics:
        """As a control that starts: with the marks that are written."""
        meter = self.meter(**options)
        meter._at = self.store.log_marks()
        return meter

    def put(self, *values: float, back_s: int = 0) -> None:
        at_ms = self.host.clock.now_us() // 1000 - back_s * 1000
        directive = {"Namespace": "N", "Dimensions": [[]], "Metrics": [{"Name": "v"}]}
        told = {"_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]}}
        self.keeper.own.put(self.path, [PutEvent(at_ms, at_ms, json.dumps({**told, "v": v})) for v in values])

    def total(self) -> tuple[float, float]:
        def work(db: sqlite3.Connection) -> Any:
            return db.execute("SELECT sum(sum), sum(count) FROM point WHERE resolution = 3600").fetchone()

        total, count = self.store.read(work)
        return total or 0, count or 0


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    fixture.store.close()
    fixture.host.close()


async def test_a_restart_counts_nothing_twice(at: Fixture) -> None:
    at.put(1, 2)
    meter = await at.begun()
    assert not await meter.step()
    assert at.total() == (3, 2)
    await meter.step()
    for value in (4, 8):
        meter = await at.begun()
        at.put(value)
        await meter.step()
        await meter.step()
    assert at.total() == (15, 4)


async def test_a_backlog_takes_several_steps_and_all_of_it_counts(at: Fixture) -> None:
    for _ in range(20):
        at.put(*[1.0] * 10)
    other = at.keeper.own.path_of(*PLACE, "/mine", "t")
    at.path, first = other, at.path
    at.put(*[1.0] * 10)
    assert first.stat().st_size > 20_000
    meter, steps = await at.begun(piece_bytes=2_000, step_bytes=3_000), 1
    while await meter.step():
        steps += 1
        meter = await at.begun(piece_bytes=2_000, step_bytes=3_000)  # killed after every step
    assert steps > 5
    assert at.total() == (210, 210)


async def test_what_cannot_be_stored_waits_in_the_log(at: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    at.put(1)
    meter = await at.begun()

    def full(*_: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(at.store, "put_logs", full)
        with pytest.raises(sqlite3.OperationalError):
            await meter.step()
    await meter.step()
    assert at.total() == (1, 1)


async def test_a_store_begun_anew_is_filled_from_the_logs(at: Fixture, tmp_path: Path) -> None:
    at.put(1, 2)
    await (await at.begun()).step()
    at.store.close()
    at.store = MetricStore(tmp_path / "another.db")
    await (await at.begun()).step()
    assert at.total() == (3, 2)


async def test_marks_of_logs_that_are_gone_are_forgotten(at: Fixture) -> None:
    at.put(1)
    meter = await at.begun()
    await meter.step()
    (name,) = at.store.log_marks()
    assert name.startswith("groups/")
    at.keeper.own.remove(*PLACE, "/mine")
    await at.host.clock.advance(61)
    await meter.step()
    assert at.store.log_marks() == {}
    at.keeper.own.change(*PLACE, "/mine", 1, lambda own: own.streams.update(s=1))
    at.put(2)
    await meter.step()
    assert at.total() == (3, 2)


async def test_lines_without_metrics_cost_a_write_a_minute(at: Fixture) -> None:
    meter = await at.begun()
    await meter.step()
    at.keeper.own.put(at.path, [PutEvent(1, 1, "plain")])
    await meter.step()
    assert at.store.log_marks() == {}
    await at.host.clock.advance(61)
    await meter.step()
    assert list(at.store.log_marks().values()) == [at.path.stat().st_size]


async def test_points_that_are_too_old_or_too_many_are_left_out(
    at: Fixture, capsys: pytest.CaptureFixture[str]
) -> None:
    at.put(1, back_s=15 * 86_400)
    at.put(2, back_s=13 * 86_400)
    await (await at.begun()).step()
    assert at.total() == (2, 1)
    assert "too_old=1" in capsys.readouterr().out


def rows(at: Fixture) -> dict[str, tuple[float, float]]:
    """Sum and count by metric and dimensions."""

    def work(db: sqlite3.Connection) -> Any:
        query = (
            "SELECT metric || dimensions, sum(sum), sum(count) FROM point JOIN series ON series.id = series "
            "WHERE resolution = 60 GROUP BY 1"
        )
        return {name: (total, count) for name, total, count in db.execute(query)}

    found: dict[str, tuple[float, float]] = at.store.read(work)
    return found


async def test_metric_filters_make_metrics_of_lines_that_come_after_them(at: Fixture) -> None:
    now_ms = at.host.clock.now_us() // 1000

    def put(*messages: str) -> None:
        at.keeper.own.put(at.path, [PutEvent(now_ms, at.host.clock.now_us() // 1000, text) for text in messages])

    put('{"latency": 1000}')
    await at.host.clock.advance(60)
    created_us = at.host.clock.now_us()
    filters = {
        "errors": LogFilter("ERROR", created_us, "N", "errors", "1", default=0.0),
        "latency": LogFilter(
            "{ $.latency = * }", created_us, "N", "latency", "$.latency", dimensions={"Path": "$.path"}
        ),
        "broken": LogFilter("{ (", created_us, "N", "broken", "1"),
    }
    at.keeper.own.change(*PLACE, "/mine", 1, lambda own: own.filters.update(filters))
    put("ERROR 1", '{"latency": 5, "path": "/a"}', '{"latency": 7, "path": "/b"}', '{"latency": "x", "path": "/a"}')
    put('{"latency": 9}', '{"latency": 11, "path": "/a"}')
    await (await at.begun()).step()
    assert rows(at) == {
        "errors[]": (1, 6),
        'latency[["Path","/a"]]': (16, 2),
        'latency[["Path","/b"]]': (7, 1),
    }


async def test_lines_of_a_model_have_the_time_at_which_they_came(at: Fixture, tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "training" / "J"
    folder.mkdir(parents=True)
    log = folder / "algo-1.log"
    source = Source("training/J/algo-1.log", log, Place(*PLACE), at.keeper.own.folder_of(*PLACE, TRAINING), put=False)
    one = LogFilter("loss", 0, "N", "loss", "1")
    at.keeper.own.change(*PLACE, TRAINING, 1, lambda own: own.filters.update(loss=one))
    began_s = at.host.clock.now_us() // 1_000_000
    for _ in range(3):
        with log.open("a") as out:
            out.write("loss 1\nother\n")
        at.keeper.times.look([log], at.host.clock.now_us())
        await at.host.clock.advance(100)
    meter = await at.begun()
    meter._take([source], at.host.clock.now_us())

    def work(db: sqlite3.Connection) -> Any:
        return [row[0] for row in db.execute("SELECT at FROM point WHERE resolution = 1 ORDER BY at")]

    assert at.store.read(work) == [began_s, began_s + 100, began_s + 200]
