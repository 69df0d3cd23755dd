"""Who is measured, how often, and under which names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from clary.control import endpoint_configs, endpoints
from clary.domain.endpoint import EndpointConfigSpec, MetricsConfig, VariantSpec
from clary.kit.threads import Threads
from clary.reconcile.utilization_loop import UtilizationLoop, UtilizationWorld
from clary.store.documents import pack
from clary.store.tables import training_jobs
from clary.telemetry.query import Metric, MetricFilter, list_metrics, read_points
from clary.telemetry.store import MetricStore
from clary.telemetry.totals import Totals
from clary.telemetry.utilization import ENDPOINTS, TRAINING_JOBS, Meter
from tests.support.hosting import CALLER, SCOPE, Host
from tests.unit.domain.test_training import SPEC

NAMED = (("EndpointName", "e"), ("VariantName", "A"))


class Watched:
    """A host, and the loop that measures what runs on it: this process stands for every replica."""

    def __init__(self, host: Host, metrics: MetricStore, threads: Threads) -> None:
        self.host = host
        self.metrics = metrics
        self.pids: dict[str, int] = {}
        self.totals = Totals()
        self.loop = UtilizationLoop(
            UtilizationWorld(host.store, metrics, host.clock, threads, self.processes, Meter(host.home), self.totals)
        )

    def processes(self) -> Mapping[str, int]:
        return self.pids

    async def deploy(self, metrics: MetricsConfig | None) -> None:
        await self.host.model("m", self.host.source.put("models", "m.tar.gz", b"m"))
        config = EndpointConfigSpec((VariantSpec("A", "m", 1, "ml.m5.large"),), metrics=metrics)
        await endpoint_configs.create(self.host.desk, CALLER, "c", config, {})
        async with self.host.reconciling():
            await endpoints.create(self.host.desk, CALLER, "e", "c", {})
            await self.host.until_status("e", "InService")
        self.pids = dict.fromkeys(self.host.placement.observed(), os.getpid())

    def instants(self, metric: str, dimensions: tuple[tuple[str, str], ...] = NAMED) -> list[int]:
        wanted = Metric(ENDPOINTS, metric, dimensions)
        return [p.at_s for p in self.metrics.read(lambda db: read_points(db, SCOPE, wanted, (1, 0, 2**40)))]

    def listed(self) -> list[Metric]:
        return self.metrics.read(lambda db: list_metrics(db, SCOPE, MetricFilter(), None, 100))


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    host, metrics, threads = Host(tmp_path), MetricStore(tmp_path / "telemetry.db"), Threads("test", 1)
    yield Watched(host, metrics, threads)
    host.close()
    metrics.close()
    threads.close()


async def test_replicas_are_measured_every_ten_seconds(watched: Watched) -> None:
    await watched.deploy(None)
    at_s = watched.host.clock.now_us() // 1_000_000 // 60 * 60
    for later_s in range(0, 30, 10):
        await watched.loop.step(at_s + later_s)
    assert watched.instants("MemoryUtilization") == [at_s, at_s + 10, at_s + 20]
    assert watched.instants("DiskUtilization") == [at_s, at_s + 10, at_s + 20]
    assert {metric.dimensions for metric in watched.listed()} == {NAMED}
    (usage,) = watched.totals.view(at_s * 1_000_000).usage
    assert (usage.subject.uid, usage.at_s) == (next(iter(watched.pids)), at_s + 20)
    watched.pids = {"another": os.getpid()}
    await watched.loop.step(at_s + 30)
    assert watched.totals.view(at_s * 1_000_000).usage == ()


async def test_metrics_config_says_how_often_and_whether_by_instance(watched: Watched) -> None:
    await watched.deploy(MetricsConfig(enhanced=True, publish_s=30))
    at_s = watched.host.clock.now_us() // 1_000_000 // 60 * 60
    for later_s in range(0, 70, 10):
        await watched.loop.step(at_s + later_s)
    assert watched.instants("MemoryUtilization") == [at_s, at_s + 30, at_s + 60]
    (uid,) = watched.pids
    by_instance = (NAMED[0], ("InstanceId", uid), NAMED[1])
    assert watched.instants("MemoryUtilization", by_instance) == [at_s, at_s + 30, at_s + 60]


async def test_it_wakes_at_whole_multiples(watched: Watched) -> None:
    await watched.deploy(None)
    task = asyncio.create_task(watched.loop.run())
    try:
        await watched.host.until(lambda: len(watched.instants("MemoryUtilization")) >= 2, step_s=1.0)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert {at_s % 10 for at_s in watched.instants("MemoryUtilization")} == {0}


async def test_a_training_job_is_measured_as_its_host(watched: Watched) -> None:
    now_us = watched.host.clock.now_us()

    def add(connection: Connection) -> None:
        connection.execute(
            insert(training_jobs).values(
                uid="j1",
                account=SCOPE.account,
                region=SCOPE.region,
                name="job",
                name_key="job",
                created_us=now_us,
                modified_us=now_us,
                spec=pack(SPEC),
            )
        )

    await watched.host.store.write(add)
    watched.pids = {"j1": os.getpid()}
    await watched.loop.step(now_us // 1_000_000)
    assert set(watched.listed()) == {
        Metric(TRAINING_JOBS, metric, (("Host", "job/algo-1"),)) for metric in ("MemoryUtilization", "DiskUtilization")
    }
