"""Scaling with no configuration whole: control, its loop and reconcile over a real store, under a clock that moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clary.control import auto_scaling, endpoints, scaling
from clary.control.auto_scaling import Change
from clary.control.endpoint_changes import update_endpoint
from clary.control.scaling import Registration, Resource
from clary.domain.errors import Invalid, NotFound
from clary.kit.clock import MICROS
from clary.kit.ids import SystemIds
from clary.reconcile.actions import Rules
from clary.reconcile.auto_scaling_loop import AutoScalingLoop, AutoScalingWorld
from clary.reconcile.loop import LoopOptions
from clary.store.scaling_pages import Page
from clary.telemetry.delta import Delta, VariantDelta
from clary.telemetry.pressure import Pressure
from tests.support.hosting import CALLER, Host
from tests.support.placement import starting

RESOURCE = Resource("endpoint/e/variant/AllTraffic")


class Yard:
    """A host whose load is what the test says."""

    def __init__(self, home: Path) -> None:
        self.host = Host(home, options=LoopOptions(rules=Rules(drain_us=0)))
        self.pressure = Pressure()
        self.loop = self.another()

    def another(self) -> AutoScalingLoop:
        """As after a kill of control."""
        return AutoScalingLoop(AutoScalingWorld(self.host.store, self.pressure, self.host.clock, SystemIds(), cores=4))

    async def counts(self) -> tuple[int, int]:
        found = await endpoints.describe(self.host.desk, CALLER, "e")
        return found.revision.variants[0].instance_count, found.ready.get("AllTraffic", 0)

    async def scale(self, **change: int) -> None:
        await auto_scaling.put(self.host.desk, CALLER, "e", "", Change(**change), 4)

    async def seconds(self, count: int, load: float) -> list[int]:
        """So many seconds of that load; what is wanted after each."""
        seen = []
        uid = (await endpoints.describe(self.host.desk, CALLER, "e")).record.uid
        for _ in range(count):
            at_us = self.host.clock.now_us() // MICROS * MICROS
            one = VariantDelta(
                "1", "r", "e", uid, "AllTraffic", round(load), 0.0, 0, 0, 0, None, None, 1, 0, 0, 0, load=load
            )
            self.pressure.add([Delta("router-0", "b", 1, at_us, (one,))])
            await self.host.clock.advance((at_us + MICROS + 400_000 - self.host.clock.now_us()) / MICROS)
            await self.loop.step()
            await self.settle()
            seen.append((await self.counts())[0])
        return seen

    async def settle(self) -> None:
        async for _ in self.host._steps(0.001):
            wanted, there = await self.counts()
            if wanted == there or self.host.placement.become is starting:
                return

    async def ask(self) -> None:
        """A request waits for the variant."""
        uid = (await endpoints.describe(self.host.desk, CALLER, "e")).record.uid
        self.loop.told(f"{uid}/AllTraffic".encode())
        await self.loop.wake()
        await self.settle()


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(tmp_path)
    await yard.host.endpoint("e")
    async with yard.host.reconciling():
        await yard.host.until_status("e", "InService")
        yield yard
    yard.host.close()


async def test_out_and_in_and_to_none_and_back(yard: Yard) -> None:
    await yard.scale(concurrency=2, least=0, window_s=10)
    assert await yard.seconds(4, 6.0) == [2, 3, 3, 3]
    into = await yard.seconds(45, 0.0)
    assert list(dict.fromkeys(into)) == [3, 2, 1, 0]
    found = await endpoints.describe(yard.host.desk, CALLER, "e")
    assert found.record.status.value == "InService"
    (route,) = yard.host.snapshot.endpoints
    assert route.variants[0].replicas == ()
    await yard.host.until(lambda: yard.host.placement.resting == ["AllTraffic"])
    await yard.ask()
    assert await yard.counts() == (1, 1)
    assert yard.host.placement.resting == []
    for nonsense in (b"", b"/", b"nobody/AllTraffic", b"\xff"):
        yard.loop.told(nonsense)
    await yard.loop.wake()
    await yard.ask()  # it has one
    assert await yard.counts() == (1, 1)


async def test_a_restart_takes_nothing_away_at_once(yard: Yard) -> None:
    await yard.scale(concurrency=2, window_s=10)
    await yard.seconds(5, 8.0)
    yard.loop = yard.another()
    assert await yard.seconds(9, 0.0) == [4] * 9
    assert (await yard.seconds(3, 0.0))[-1] == 2


async def test_an_update_begins_with_a_replica(yard: Yard) -> None:
    await yard.scale(least=0, window_s=5)
    await yard.seconds(8, 0.0)
    assert await yard.counts() == (0, 0)
    await update_endpoint(yard.host.desk, CALLER, "e", "e")
    await yard.host.until_status("e", "InService")
    await yard.settle()
    assert await yard.counts() == (1, 1)


async def test_one_scales_at_a_time(yard: Yard) -> None:
    desk = yard.host.desk
    await yard.scale(concurrency=2)
    await scaling.register(desk, CALLER, RESOURCE, Registration(0, 5))
    _, (shown,) = await auto_scaling.show(desk, CALLER, "E", 4)
    assert (shown.spec, shown.registered) == (None, True)
    with pytest.raises(Invalid, match="Deregister it first"):
        await yard.scale(concurrency=2)
    assert await yard.seconds(5, 50.0) == [1] * 5


async def test_a_documented_target_tells_of_the_replica(yard: Yard) -> None:
    await yard.scale(least=0, window_s=5)
    await yard.seconds(8, 0.0)
    await scaling.register(yard.host.desk, CALLER, RESOURCE, Registration(0, 5))
    await yard.ask()
    assert await yard.counts() == (1, 1)
    (activity,), _ = await scaling.activities(
        yard.host.desk, CALLER, Page(50, resource_ids=[RESOURCE.id]), not_scaled=False
    )
    assert (activity.count, activity.text.cause) == (1, "a request came while there was no instance")


async def test_what_is_asked_for(yard: Yard) -> None:
    desk = yard.host.desk
    await yard.scale(concurrency=2, most=64)
    name, (shown,) = await auto_scaling.show(desk, CALLER, "E", 4)
    assert shown.spec is not None
    assert shown.limits is not None
    assert (name, shown.spec.concurrency, shown.spec.most, shown.limits.most) == ("e", 2, 64, 4)
    await yard.scale(window_s=7)
    _, (shown,) = await auto_scaling.show(desk, CALLER, "e", 4)
    assert shown.spec is not None
    assert (shown.spec.concurrency, shown.spec.window_s) == (2, 7)
    for words, change in (("this machine has 4 cores", Change(least=5)), ("window", Change(window_s=1))):
        with pytest.raises(Invalid, match=words):
            await auto_scaling.put(desk, CALLER, "e", "", change, 4)
    with pytest.raises(Invalid, match="It has: AllTraffic"):
        await auto_scaling.put(desk, CALLER, "e", "other", Change(), 4)
    with pytest.raises(NotFound):
        await auto_scaling.put(desk, CALLER, "nobody", "", Change(), 4)
    await auto_scaling.off(desk, CALLER, "e", "alltraffic")
    _, (shown,) = await auto_scaling.show(desk, CALLER, "e", 4)
    assert shown.spec is None
    assert await yard.seconds(4, 50.0) == [1] * 4
