"""Measures what replicas and trainings take of the machine, each as often as its endpoint's MetricsConfig says."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from clary.kit.clock import MICROS, Clock
from clary.kit.threads import Threads
from clary.reconcile.rows import NotedReplica, wished_replicas
from clary.store.base import Store
from clary.store.training import TrainingJob, unfinished
from clary.telemetry.store import MetricStore
from clary.telemetry.totals import Totals
from clary.telemetry.utilization import ENDPOINTS, TRAINING_JOBS, Meter, Subject

TICK_S = 10
"""The shortest interval of MetricsConfig, of which all others are multiples; also what is used where none is given:
points then show within seconds, where the hosted service has one a minute."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class UtilizationWorld:
    """What the loop works with."""

    store: Store
    metrics: MetricStore
    clock: Clock
    threads: Threads
    processes: Callable[[], Mapping[str, int]]
    """pid of what runs, by the uid of the replica or job."""
    meter: Meter
    totals: Totals


class UtilizationLoop:
    """Runs as one task: `await UtilizationLoop(world).run()`; it never returns."""

    def __init__(self, world: UtilizationWorld) -> None:
        self._world = world

    async def run(self) -> None:
        """Measure at every multiple of TICK_S of the wall clock; cancel to stop."""
        clock = self._world.clock
        while True:
            now_us = clock.now_us()
            await clock.sleep(TICK_S - now_us % (TICK_S * MICROS) / MICROS)
            # A timer may fire a little early.
            tick = round(clock.now_us() / MICROS / TICK_S)
            try:
                await self.step(tick * TICK_S)
            except (OSError, sqlite3.Error) as error:
                _log.warning("utilisation could not be measured", error=str(error))

    async def step(self, at_s: int) -> None:
        """Measure what is due at this instant, a multiple of TICK_S."""
        world = self._world
        pids = world.processes()
        if not pids:
            return

        def read(connection: Connection) -> tuple[Sequence[NotedReplica], Sequence[TrainingJob]]:
            return wished_replicas(connection), unfinished(connection)

        replicas, jobs = await world.store.read(read)
        due = [one for one in replicas if one.uid in pids and is_due(one, at_s)]
        subjects = [
            *(_of_replica(one, pids[one.uid]) for one in due),
            *(_of_job(job, pids[job.uid]) for job in jobs if job.uid in pids),
        ]

        usage = await world.threads.run(lambda: world.meter.measure(subjects, at_s, world.clock.monotonic_s()))
        world.totals.use(usage, pids)
        samples = [sample for one in usage for sample in one.samples()]
        if samples:
            now_us = world.clock.now_us()
            refused = await world.threads.run(lambda: world.metrics.put(samples, now_us))
            if refused:
                world.totals.lose(samples=refused)
                _log.warning("some utilisation metrics were refused", samples=refused)


def is_due(replica: NotedReplica, at_s: int) -> bool:
    """Whether a replica is measured at this instant."""
    return at_s % (replica.revision.metrics.publish_s or TICK_S) == 0


def _of_replica(replica: NotedReplica, pid: int) -> Subject:
    endpoint = replica.endpoint
    named = (("EndpointName", endpoint.name), ("VariantName", replica.variant))
    by_instance = (named[0], ("InstanceId", replica.uid), named[1])
    return Subject(
        pid=pid,
        uid=replica.uid,
        account=endpoint.scope.account,
        region=endpoint.scope.region,
        namespace=ENDPOINTS,
        dimensions=(named, by_instance) if replica.revision.metrics.enhanced else (named,),
        resource=endpoint.uid,
    )


def _of_job(job: TrainingJob, pid: int) -> Subject:
    return Subject(
        pid=pid,
        uid=job.uid,
        account=job.scope.account,
        region=job.scope.region,
        namespace=TRAINING_JOBS,
        dimensions=((("Host", f"{job.name}/algo-1"),),),
        resource=job.uid,
    )
