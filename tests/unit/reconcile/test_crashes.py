"""Control is killed at every write it makes, before and after the commit: whoever comes next finishes the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from clary.control import endpoint_changes, endpoints
from clary.control.rollouts import Guard
from clary.domain.endpoint import VariantSpec
from clary.domain.rollout import BlueGreen, CapacitySize, Deployment, Shift, Unit
from clary.reconcile.actions import Rules
from clary.reconcile.loop import LoopOptions
from clary.store.tables import endpoints as endpoints_table
from clary.store.tables import pins, replicas, revisions
from tests.support.hosting import CALLER, Host

WRITES_MAX = 40


class Killer:
    """Lets `writes` writes of reconcile pass; the next one is its last, done or not."""

    def __init__(self, host: Host, writes: int, *, committed: bool) -> None:
        self.left = writes
        self.committed = committed
        self.died = asyncio.Event()
        self._write = host.store.write
        host.store.write = self.write  # type: ignore[method-assign]

    async def write(self, work: Callable[[Connection], Any]) -> Any:
        self.left -= 1
        if self.left < 0:
            if self.left == -1 and self.committed:
                await self._write(work)
            self.died.set()
            # The dead do nothing more.
            await asyncio.Event().wait()
        return await self._write(work)

    def restore(self, host: Host) -> None:
        host.store.write = self._write  # type: ignore[method-assign]


async def killed_once(host: Host, writes: int, *, committed: bool, work: Callable[[], Any]) -> bool:
    """Run reconcile until its last write or until `work` is done; whether it died."""
    killer = Killer(host, writes, committed=committed)
    try:
        async with host.reconciling():
            done, died = asyncio.ensure_future(work()), asyncio.ensure_future(killer.died.wait())
            await asyncio.wait({done, died}, return_when=asyncio.FIRST_COMPLETED)
            for task in (done, died):
                task.cancel()
            await asyncio.gather(done, died, return_exceptions=True)
    finally:
        killer.restore(host)
    return killer.died.is_set()


@pytest.mark.parametrize("committed", [False, True])
async def test_a_create_that_is_killed_anywhere_comes_into_service(tmp_path: Path, committed: bool) -> None:
    for writes in range(WRITES_MAX):
        host = Host(tmp_path / str(writes), options=LoopOptions(rules=Rules(drain_us=0)))
        await host.endpoint("e", replicas=2)
        died = await killed_once(
            host, writes, committed=committed, work=lambda host=host: host.until_status("e", "InService")
        )
        async with host.reconciling():
            found = await host.until_status("e", "InService")
            assert found.ready == {"AllTraffic": 2}
            assert len(host.placement.specs) == 2, "no replica runs that nobody knows"
        host.close()
        if not died:
            assert writes > 3
            return
    raise AssertionError("a create takes more writes than it should")


@pytest.mark.slow
@pytest.mark.parametrize("committed", [False, True])
async def test_a_rollout_that_is_killed_anywhere_comes_to_its_end(tmp_path: Path, committed: bool) -> None:
    policy = BlueGreen(Shift.CANARY, 1, canary=CapacitySize(Unit.PERCENT, 10))
    for writes in range(WRITES_MAX):
        host = Host(tmp_path / str(writes), options=LoopOptions(rules=Rules(drain_us=0)))
        await host.endpoint("e")
        async with host.reconciling():
            await host.until_status("e", "InService")
        await host.config("two", VariantSpec("AllTraffic", "e", 1, "ml.m5.large"))
        guard = Guard(Deployment(policy))
        await endpoint_changes.update_endpoint(host.desk, CALLER, "e", "two", guard=guard)
        died = await killed_once(
            host, writes, committed=committed, work=lambda host=host: host.until_status("e", "InService")
        )
        async with host.reconciling():
            await host.until_status("e", "InService")
            await host.until(lambda host=host: len(host.placement.specs) == 1)
            (variant,) = host.snapshot.endpoints[0].variants
            assert (variant.config, variant.share) == ("two", 1.0)
        host.close()
        if not died:
            assert writes > 5
            return
    raise AssertionError("a rollout takes more writes than it should")


@pytest.mark.parametrize("committed", [False, True])
async def test_a_delete_that_is_killed_anywhere_leaves_nothing(tmp_path: Path, committed: bool) -> None:
    for writes in range(WRITES_MAX):
        host = Host(tmp_path / str(writes), options=LoopOptions(rules=Rules(drain_us=0)))
        await host.endpoint("e", replicas=2)
        async with host.reconciling():
            await host.until_status("e", "InService")
        await endpoints.remove(host.desk, CALLER, "e")
        died = await killed_once(host, writes, committed=committed, work=lambda host=host: host.until_gone("e"))
        async with host.reconciling():
            await host.until_gone("e")
            await host.until(lambda host=host: host.snapshot.endpoints == ())
            assert host.placement.specs == {}
            await host.until(lambda host=host: not list((host.home / "artifacts").iterdir()))
        for table in (endpoints_table, revisions, replicas, pins):
            count = await host.store.read(lambda c, t=table: c.execute(select(func.count()).select_from(t)).scalar())
            assert count == 0
        host.close()
        if not died:
            assert writes > 3
            return
    raise AssertionError("a delete takes more writes than it should")
