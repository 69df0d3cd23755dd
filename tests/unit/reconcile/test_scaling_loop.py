"""Scaling whole: control, alarms, scaling and reconcile over real stores, under a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from clary.control import endpoints, scaling
from clary.control.endpoint_changes import rescale, update_endpoint
from clary.control.scaling import Registration, Resource
from clary.domain.endpoint import Desired, VariantSpec
from clary.domain.errors import Invalid
from clary.domain.scaling import ScheduledSpec, TargetTracking
from clary.domain.schedules import Times
from clary.kit.clock import MICROS
from clary.kit.ids import SystemIds
from clary.kit.threads import Threads
from clary.placement.base import ReplicaSpec, ReplicaState
from clary.reconcile.actions import Rules
from clary.reconcile.alarm_loop import AlarmLoop, AlarmWorld
from clary.reconcile.loop import LoopOptions
from clary.reconcile.scaling_loop import ScalingLoop, ScalingWorld
from clary.store.alarms import alarms_of
from clary.store.scaling_activities import Activity
from clary.store.scaling_pages import Page
from clary.telemetry.points import Cell, Sample, SeriesKey
from clary.telemetry.store import MetricStore
from tests.support.hosting import CALLER, SCOPE, Host
from tests.support.placement import ready, starting
from tests.unit.reconcile.test_crashes import killed_once

RESOURCE = Resource("endpoint/e/variant/AllTraffic")
INVOCATIONS = TargetTracking(70.0, "SageMakerVariantInvocationsPerInstance")
CONCURRENCY = TargetTracking(5.0, "SageMakerVariantConcurrentRequestsPerModelHighResolution", scale_in_cooldown_s=60)


@dataclass
class Yard:
    """A host whose metrics are what the test says."""

    host: Host
    metrics: MetricStore
    threads: Threads

    def loops(self) -> tuple[AlarmLoop, ScalingLoop]:
        """New ones each time, as after a kill: all that they know is in the stores."""
        at = (self.host.store, self.metrics, self.threads, self.host.clock, SystemIds())
        return AlarmLoop(AlarmWorld(*at)), ScalingLoop(ScalingWorld(*at))

    async def counts(self) -> tuple[int, int]:
        found = await endpoints.describe(self.host.desk, CALLER, "e")
        return found.revision.variants[0].instance_count, found.ready.get("AllTraffic", 0)

    async def period(self, seconds: int, metric: str, value: Callable[[int], float]) -> None:
        """A period passes in which the metric was `value(instances)`; then everybody looks."""
        clock = self.host.clock
        now_s = clock.now_us() // MICROS
        end_s = (now_s // seconds + 1) * seconds
        _, instances = await self.counts()
        number = value(max(1, instances))
        key = SeriesKey(
            SCOPE.account, SCOPE.region, "AWS/SageMaker", metric,
            (("EndpointName", "e"), ("VariantName", "AllTraffic")), "None",
        )  # fmt: skip
        self.metrics.put([Sample(key, end_s - 5, Cell(1.0, number, number, number))], clock.now_us())
        await clock.advance(end_s + 3 - now_s)
        await self.look()

    async def look(self) -> None:
        for _ in range(3):
            alarms, scaler = self.loops()
            await alarms.step()
            await scaler.step()
        await self.settle()

    async def settle(self) -> None:
        """Until the replicas are as many as are wanted, or as many as placement gives."""
        async for _ in self.host._steps(0.01):
            wanted, there = await self.counts()
            if wanted == there or self.host.placement.become is starting:
                break
        await self.loops()[1].step()

    async def activities(self, **more: bool) -> list[Activity]:
        found, _ = await scaling.activities(
            self.host.desk, CALLER, Page(50, resource_ids=[RESOURCE.id]), not_scaled=more.get("not_scaled", False)
        )
        return found


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    host = Host(tmp_path, options=LoopOptions(rules=Rules(drain_us=0)))
    metrics, threads = MetricStore(tmp_path / "telemetry.db"), Threads("yard", 1)
    await host.endpoint("e")
    async with host.reconciling():
        await host.until_status("e", "InService")
        await scaling.register(host.desk, CALLER, RESOURCE, Registration(1, 5))
        yield Yard(host, metrics, threads)
    threads.close()
    metrics.close()
    host.close()


async def test_an_hour_with_the_services_timing(yard: Yard) -> None:
    """Out after three minutes above, in after fifteen below, one at a time with five minutes between."""
    await scaling.put_policy(yard.host.desk, CALLER, RESOURCE, "p", INVOCATIONS)
    load, seen = 30.0, []
    for minute in range(70):
        load = 30.0 if minute < 2 else 200.0 if minute < 20 else 0.0
        await yard.period(60, "InvocationsPerInstance", lambda instances, load=load: load / instances)  # type: ignore[misc]
        seen.append((await yard.counts())[0])
    assert seen[:7] == [1, 1, 1, 1, 3, 3, 3]
    assert seen[5:33] == [3] * 28
    into = [minute for minute, (one, other) in enumerate(pairwise(seen), 1) if other < one]
    assert [seen[minute] for minute in into] == [2, 1]
    assert into[0] == 34
    assert into[1] - into[0] in (5, 6)
    done = await yard.activities()
    assert [activity.count for activity in done] == [1, 2, 3]
    assert {activity.status for activity in done} == {"Successful"}


async def test_no_data_scales_nothing(yard: Yard) -> None:
    await scaling.put_policy(yard.host.desk, CALLER, RESOURCE, "p", INVOCATIONS)
    for _ in range(4):
        await yard.period(60, "InvocationsPerInstance", lambda instances: 300.0 / instances)
    assert await yard.counts() == (5, 5)
    for _ in range(40):
        await yard.host.clock.advance(60)
        await yard.look()
    assert await yard.counts() == (5, 5)


async def test_concurrency_is_of_the_variant_and_its_target_of_an_instance(yard: Yard) -> None:
    await scaling.put_policy(yard.host.desk, CALLER, RESOURCE, "p", CONCURRENCY)
    for _ in range(4):
        await yard.period(10, "ConcurrentRequestsPerModel", lambda _: 18.0)
    assert await yard.counts() == (4, 4)
    thresholds = [alarm.spec.threshold for alarm in await yard.host.store.read(alarms_of)]  # type: ignore[union-attr]
    assert sorted(thresholds) == [18.0, 20.0]
    for _ in range(40):
        await yard.period(10, "ConcurrentRequestsPerModel", lambda _: 18.0)
    assert await yard.counts() == (4, 4)


async def test_an_update_is_waited_for_and_its_count_is_the_new_one(yard: Yard) -> None:
    host = yard.host
    await scaling.put_policy(host.desk, CALLER, RESOURCE, "p", INVOCATIONS)
    await host.model("next", host.source.put("models", "next.tar.gz", b"next"))
    await host.config("next", VariantSpec("AllTraffic", "next", 2, "ml.m5.large"))
    host.placement.become = starting
    await update_endpoint(host.desk, CALLER, "e", "next")
    for _ in range(4):
        await yard.period(60, "InvocationsPerInstance", lambda _: 300.0)
    refused = (await yard.activities())[0]
    assert refused.status == "Failed"
    assert "Cannot update in-progress endpoint" in refused.text.message
    assert len(await yard.activities()) == 1
    host.placement.become = ready
    host.placement.turn_all_ready()
    await host.until_status("e", "InService")
    assert (await yard.counts())[0] == 2
    await yard.period(60, "InvocationsPerInstance", lambda _: 300.0)
    assert (await yard.counts())[0] == 5
    await host.config("other", VariantSpec("AllTraffic", "next", 2, "ml.m5.xlarge"))
    with pytest.raises(Invalid, match="must be deregistered"):
        await update_endpoint(host.desk, CALLER, "e", "other")
    await rescale(host.desk, CALLER, "e", [Desired("AllTraffic", weight=2.0)])
    await host.until_status("e", "InService")
    assert (await yard.counts())[0] == 5


async def test_replicas_that_never_come_leave_an_unfulfilled_activity(yard: Yard) -> None:
    def become(spec: ReplicaSpec) -> ReplicaState:
        return starting(spec)

    yard.host.placement.become = become
    await scaling.register(yard.host.desk, CALLER, RESOURCE, Registration(min_capacity=2))
    await yard.loops()[1].step()
    assert [(a.status, a.text.cause) for a in await yard.activities()] == [
        ("InProgress", "minimum capacity was set to 2")
    ]
    await yard.host.until(lambda: len(yard.host.placement.specs) == 2)
    # A request counts for the one instance that bears it.
    assert yard.host.snapshot.endpoints[0].variants[0].instances == 1
    await yard.host.clock.advance(901)
    await yard.loops()[1].step()
    assert [a.status for a in await yard.activities()] == ["Unfulfilled"]


async def test_a_schedule_runs_once_though_nobody_looked_in_time(yard: Yard) -> None:
    spec = ScheduledSpec(Times("rate(5 minutes)"), 3, None)
    await scaling.put_action(yard.host.desk, CALLER, RESOURCE, "a", spec)
    await yard.host.clock.advance(3600)
    await yard.look()
    assert (await yard.counts())[0] == 3
    causes = [activity.text.cause for activity in await yard.activities()]
    assert causes.count("scheduled action name a was triggered") == 1
    # A registration that gives a bound takes the schedule's away, until the next time.
    await scaling.register(yard.host.desk, CALLER, RESOURCE, Registration(min_capacity=1, max_capacity=2))
    await yard.look()
    assert (await yard.counts())[0] == 2


@pytest.mark.parametrize("committed", [False, True])
async def test_a_kill_at_any_write_leaves_all_of_a_decision_or_nothing(tmp_path: Path, *, committed: bool) -> None:
    """Three replicas in the end, and one activity that says so, wherever control died on the way."""
    for writes in range(12):
        host = Host(tmp_path / str(writes), options=LoopOptions(rules=Rules(drain_us=0)))
        metrics, threads = MetricStore(host.home / "telemetry.db"), Threads("yard", 1)
        yard = Yard(host, metrics, threads)
        await host.endpoint("e")
        async with host.reconciling():
            await host.until_status("e", "InService")
        await scaling.register(host.desk, CALLER, RESOURCE, Registration(3, 5))

        async def scaled(yard: Yard = yard) -> None:
            while not any(activity.status == "Successful" for activity in await yard.activities()):
                await yard.loops()[1].step()
                await yard.host.clock.advance(0.1)
                await asyncio.sleep(0.001)

        died = await killed_once(host, writes, committed=committed, work=scaled)
        async with host.reconciling():
            await asyncio.wait_for(scaled(), 30)
            assert await yard.counts() == (3, 3)
        assert [(a.count, a.text.cause) for a in await yard.activities()] == [(3, "minimum capacity was set to 3")]
        threads.close()
        metrics.close()
        host.close()
        if not died:
            assert writes > 4
            return
    raise AssertionError("it never came to an end unkilled")
