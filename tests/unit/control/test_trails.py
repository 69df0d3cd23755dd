"""Deliveries of trails: each event once, whatever fails, and nothing of others."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clary.control import trails
from clary.control.desk import Deed
from clary.control.trail_delivery import Delivery, DeliveryWorld
from clary.control.trail_records import record_of_invocation
from clary.domain.errors import AlreadyExists, LimitExceeded, NotFound
from clary.domain.principal import Scope
from clary.domain.trails import DATA, FieldSelector, Selector, TrailSpec
from clary.kit.threads import Threads
from clary.store.records import record
from clary.telemetry.invocations import FOLDER, Invocation, InvocationWriter
from tests.support.hosting import CALLER, SCOPE, Host

CALLS = Selector("", (FieldSelector("eventCategory", (DATA,)),))
ONE = Invocation(10**15, *(SCOPE.account, SCOPE.region), "Churn", "q", "arn:x", "K", "a", "::1", 200, stream=False)


class Buckets:
    """Objects by key."""

    def __init__(self) -> None:
        self.kept: dict[str, list[Any]] = {}
        self.puts = 0
        self.broken = False

    def put(self, bucket: str, key: str, source: Iterable[bytes]) -> None:
        self.puts += 1
        if self.broken:
            raise NotFound("bucket", bucket, bucket)
        self.kept[f"{bucket}/{key}"] = json.loads(gzip.decompress(b"".join(source)))["Records"]

    @property
    def events(self) -> list[str]:
        return [one["eventName"] for records in self.kept.values() for one in records]


class Rig:
    def __init__(self, folder: Path) -> None:
        self.host = Host(folder)
        self.buckets = Buckets()
        self.recorded: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        self.spool = folder / "spool"
        self.ready = asyncio.Event()

        async def tell(recorded: tuple[str, ...]) -> None:
            await self.recorded.put(recorded)

        self.world = DeliveryWorld(
            self.host.store, self.host.clock, self.buckets, Threads("t", 1), self.spool, self.ready, tell
        )
        self.delivery = Delivery(self.world)

    async def trail(self, name: str = "t-1", *selectors: Selector) -> None:
        await trails.create(self.host.desk, CALLER, name, TrailSpec("b"))
        if selectors:
            await trails.select_events(self.host.desk, CALLER, name, selectors)
        await trails.switch(self.host.desk, CALLER, name, on=True)

    async def change(self, action: str) -> None:
        deed = Deed(action, "u", "arn:aws:sagemaker:r:a:model/m", self.host.clock.now_us(), "model")
        await self.host.store.write(lambda connection: record(connection, CALLER, deed))

    async def deliver(self) -> None:
        await self.delivery.deliver([one for one in await trails.listed(self.host.desk, SCOPE) if one.is_logging])

    def invoke(self, *calls: Invocation) -> None:
        writer = InvocationWriter(self.spool / "router-0", self.host.clock)
        for one in calls:
            writer.keep(one)
        writer.step()
        writer._writer.close()

    def segments(self) -> int:
        return len(list(self.spool.glob(f"*/{FOLDER}/*")))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.host.close()


async def test_changes_are_delivered_once(rig: Rig) -> None:
    await rig.change("Before")
    await rig.trail()
    await rig.change("CreateModel")
    await rig.deliver()
    await rig.deliver()
    await rig.change("DeleteModel")
    await rig.deliver()
    assert rig.buckets.events == ["CreateModel", "DeleteModel"]
    assert rig.buckets.puts == 2
    (key, _) = rig.buckets.kept
    assert key.startswith(f"b/AWSLogs/{SCOPE.account}/CloudTrail/{SCOPE.region}/20")
    await trails.switch(rig.host.desk, CALLER, "t-1", on=False)
    await rig.change("CreateModel")
    await rig.deliver()
    assert rig.buckets.puts == 2


async def test_what_cannot_be_delivered_waits(rig: Rig) -> None:
    await rig.trail("t-1", CALLS)
    rig.buckets.broken = True
    rig.invoke(ONE)
    await rig.deliver()
    found = await trails.found(rig.host.desk, SCOPE, "t-1")
    assert found.delivery_error.startswith("NotFound")
    assert rig.segments() == 1
    rig.buckets.broken = False
    await rig.deliver()
    found = await trails.found(rig.host.desk, SCOPE, "t-1")
    assert (found.delivery_error, found.delivered_us) == ("", rig.host.clock.now_us())
    assert rig.buckets.events == ["InvokeEndpoint"]
    assert rig.segments() == 0


async def test_what_is_delivered_again_is_the_same_object(rig: Rig) -> None:
    await rig.trail("t-1", CALLS)
    await rig.trail("t-2", CALLS)
    rig.invoke(ONE, replace_(ONE, account="210987654321"), replace_(ONE, region="eu-west-3"))
    trail = await trails.found(rig.host.desk, SCOPE, "t-1")
    for _ in range(2):
        rig.delivery._put(trail, [record_of_invocation(ONE)])
    await rig.deliver()
    assert len(rig.buckets.kept) == 1
    assert rig.buckets.events == ["InvokeEndpoint"]


def replace_(one: Invocation, **changed: str) -> Invocation:
    import msgspec

    return msgspec.structs.replace(one, **changed)


async def test_a_segment_that_is_still_written_to_stays(rig: Rig) -> None:
    await rig.trail("t-1", CALLS)
    writer = InvocationWriter(rig.spool / "router-0", rig.host.clock)
    writer.keep(ONE)
    writer.step()
    await rig.deliver()
    assert (rig.buckets.events, rig.segments()) == ([], 1)
    writer._writer.close()
    await rig.deliver()
    assert (rig.buckets.events, rig.segments()) == (["InvokeEndpoint"], 0)


async def test_routers_are_told_who_asks_and_only_once_routes_are_known(rig: Rig) -> None:
    await rig.trail("t-1", CALLS)
    running = asyncio.create_task(rig.delivery.run())
    await rig.host.clock.advance(1)
    assert rig.recorded.empty()
    rig.ready.set()
    assert await rig.recorded.get() == (f"{SCOPE.account}/{SCOPE.region}",)
    await trails.switch(rig.host.desk, CALLER, "t-1", on=False)
    assert await rig.recorded.get() == ()
    running.cancel()


async def test_a_full_disk_makes_trails_wait_and_ends_nothing(rig: Rig) -> None:
    await rig.trail("t-1", CALLS)

    async def full(recorded: tuple[str, ...]) -> None:
        await rig.recorded.put(recorded)
        raise OSError(errno.ENOSPC, "no space")

    rig.ready.set()
    running = asyncio.create_task(Delivery(replace(rig.world, record=full)).run())
    assert await rig.recorded.get() == (f"{SCOPE.account}/{SCOPE.region}",)
    await rig.host.clock.advance(61)
    assert await rig.recorded.get() == (f"{SCOPE.account}/{SCOPE.region}",)
    running.cancel()


async def test_names_and_numbers_of_trails(rig: Rig) -> None:
    desk = rig.host.desk
    for number in range(trails.TRAILS_MAX):
        made = await trails.create(desk, CALLER, f"t-{number}", TrailSpec("b"))
        assert (await trails.found(desk, SCOPE, made.arn)).name == f"t-{number}"
    with pytest.raises(AlreadyExists):
        await trails.create(desk, CALLER, "t-0", TrailSpec("b"))
    with pytest.raises(LimitExceeded):
        await trails.create(desk, CALLER, "t-9", TrailSpec("b"))
    other = replace(CALLER, scope=Scope(SCOPE.account, "eu-west-3"))
    await trails.create(desk, other, "t-9", TrailSpec("b"))
    await trails.remove(desk, CALLER, "t-0")
    for work in (trails.remove, trails.found):
        with pytest.raises(NotFound):
            await work(desk, CALLER if work is trails.remove else SCOPE, "t-0")  # type: ignore[operator]
