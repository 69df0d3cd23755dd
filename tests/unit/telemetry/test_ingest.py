"""Spools are taken whole, once, and in bounded steps, whoever is killed when."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.domain.principal import Scope
from clary.kit.clock import VirtualClock
from clary.kit.threads import Threads
from clary.telemetry.delta import Delta, encode_delta
from clary.telemetry.ingest import Ingest, IngestOptions
from clary.telemetry.points import SAGEMAKER
from clary.telemetry.query import Metric, read_points
from clary.telemetry.recorder import Recorder
from clary.telemetry.spool import SpoolOptions, SpoolWriter, segments
from clary.telemetry.store import MetricStore

NOW_US = 1_700_000_000 * 1_000_000
DIMENSIONS = (("EndpointName", "Churn"), ("VariantName", "A"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetricStore]:
    made = MetricStore(tmp_path / "telemetry.db")
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads("test", 1)
    yield made
    made.close()


def invocations(store: MetricStore) -> float:
    metric = Metric(SAGEMAKER, "Invocations", DIMENSIONS)
    points = store.read(lambda db: read_points(db, Scope("1", "r"), metric, (60, 0, 2**40)))
    return sum(point.cell.sum for point in points)


def fill(folder: Path, seconds: int, options: SpoolOptions | None = None, boot_id: str = "b") -> Recorder:
    """A recorder that shipped one invocation in each of so many seconds."""
    recorder = Recorder(folder.name, boot_id, folder, VirtualClock(NOW_US), options)
    series = recorder.series("1", "r", "Churn", "u", "A", 1)
    for _ in range(seconds):
        series.observe(200, 100, 10, False)
        recorder.ship()
    return recorder


def test_live_segments_are_tailed_and_finished_ones_deleted(
    tmp_path: Path, store: MetricStore, threads: Threads
) -> None:
    ingest = Ingest(store, tmp_path / "spool", VirtualClock(), threads)
    assert not ingest.step(NOW_US)
    folder = tmp_path / "spool" / "router-0"
    recorder = fill(folder, 3)
    ingest.step(NOW_US)
    assert invocations(store) == 3
    recorder.series("1", "r", "Churn", "u", "A", 1).observe(200, 1, 1, False)
    recorder.ship()
    assert len(segments(folder)) == 1
    ingest.step(NOW_US)
    assert invocations(store) == 4
    recorder.close()
    ingest.step(NOW_US)
    assert segments(folder) == []
    fill(folder, 2, boot_id="next life").close()
    ingest.step(NOW_US)
    assert invocations(store) == 6


def test_a_torn_tail_waits_for_a_live_writer_and_is_dropped_after_a_dead_one(
    tmp_path: Path, store: MetricStore, threads: Threads
) -> None:
    ingest = Ingest(store, tmp_path / "spool", VirtualClock(), threads)
    writer = SpoolWriter(tmp_path / "spool" / "router-0")
    record = encode_delta(Delta("router-0", "b", 1, NOW_US, ()))
    writer.append(record[:7])
    ingest.step(NOW_US)
    writer.append(record[7:])
    writer.append(record[:5])
    ingest.step(NOW_US)
    assert store.read(lambda db: db.execute("SELECT sequence FROM taken").fetchall()) == [(1,)]
    assert len(segments(tmp_path / "spool" / "router-0")) == 1
    writer.close()
    ingest.step(NOW_US)
    assert segments(tmp_path / "spool" / "router-0") == []


def test_a_backlog_is_taken_in_bounded_steps(tmp_path: Path, store: MetricStore, threads: Threads) -> None:
    fill(tmp_path / "spool" / "router-0", 10, SpoolOptions(segment_bytes=1))
    ingest = Ingest(store, tmp_path / "spool", VirtualClock(), threads, IngestOptions(step_segments_max=3))
    seen = []
    while ingest.step(NOW_US):
        seen.append(invocations(store))
    assert seen == [3, 6, 9]
    assert invocations(store) == 10


def test_a_restart_after_the_commit_takes_nothing_twice(
    tmp_path: Path, store: MetricStore, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "spool" / "router-0", 5).close()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Ingest(store, tmp_path / "spool", VirtualClock(), threads).step(NOW_US)
    assert invocations(store) == 5
    Ingest(store, tmp_path / "spool", VirtualClock(), threads).step(NOW_US)
    assert invocations(store) == 5
    assert segments(tmp_path / "spool" / "router-0") == []


async def test_the_loop_takes_each_second_and_outlives_a_full_disk(
    tmp_path: Path, store: MetricStore, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock(NOW_US)
    steps: asyncio.Queue[bool] = asyncio.Queue()
    ingest = Ingest(store, tmp_path / "spool", clock, threads)
    real_step = ingest.step
    full = True

    def step(now_us: int) -> bool:
        try:
            if full:
                raise OSError(28, "No space left on device")
            return real_step(now_us)
        finally:
            loop.call_soon_threadsafe(steps.put_nowait, True)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(ingest, "step", step)
    fill(tmp_path / "spool" / "router-0", 5)
    task = asyncio.ensure_future(ingest.run())
    for _ in range(2):
        while steps.empty():
            await clock.advance(0.1)
        await steps.get()
    assert invocations(store) == 0
    full = False
    while not invocations(store):
        await clock.advance(0.1)
    assert invocations(store) == 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


KILLED = """
import sys
from pathlib import Path
from clary.kit.clock import SystemClock
from clary.kit.threads import Threads
from clary.telemetry.ingest import Ingest, IngestOptions
from clary.telemetry.store import MetricStore
home = Path(sys.argv[1])
ingest = Ingest(MetricStore(home / "telemetry.db"), home / "spool", SystemClock(), Threads("t", 1),
                IngestOptions(step_segments_max=2, prune_steps=3))
more = True
while more:
    more = ingest.step(1_700_000_000_000_000)
    print("step", flush=True)
print("done", flush=True)
"""


def test_kill_9_at_any_moment_counts_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    seconds = 400
    fill(tmp_path / "spool" / "router-0", seconds, SpoolOptions(segment_bytes=300)).close()
    waits = iter((1, 2, 5, 9, 3))
    lives = 0
    while True:
        lives += 1
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            wait = next(waits, None)
            for number, line in enumerate(process.stdout, 1):
                if line == "done\n":
                    assert process.wait() == 0
                if number == wait:
                    os.kill(process.pid, signal.SIGKILL)
                    break
            else:
                break
    assert lives == 6
    store = MetricStore(tmp_path / "telemetry.db")
    assert invocations(store) == seconds
    assert segments(tmp_path / "spool" / "router-0") == []
    store.close()
