"""Rollouts by hand: what may be asked of one, and when; each is in the audit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from clary.control import endpoint_changes, rollouts
from clary.control.rollouts import Guard
from clary.domain.alarms import Comparison, MetricAlarm, MetricQuery, MetricStat, initial_state
from clary.domain.endpoint import Revision, VariantSpec
from clary.domain.errors import Invalid, NotFound
from clary.domain.rollout import FRESH_US, LOOK_US, BlueGreen, CapacitySize, Deployment, Progress, Shift, Unit
from clary.domain.versions import Fleet
from clary.reconcile.actions import Rules
from clary.reconcile.loop import LoopOptions
from clary.store.alarm_history import Item, append
from clary.store.alarms import put
from clary.store.tables import audit
from tests.support.hosting import CALLER, Host
from tests.support.placement import starting

CANARY = Deployment(BlueGreen(Shift.CANARY, 3600, canary=CapacitySize(Unit.PERCENT, 25)))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, options=LoopOptions(rules=Rules(drain_us=0)))
    yield host
    host.close()


async def updating(host: Host, deployment: Deployment = CANARY) -> None:
    await host.endpoint("e")
    await host.until_status("e", "InService")
    await host.config("two", VariantSpec("AllTraffic", "e", 1, "ml.m5.large"))
    host.placement.become = starting
    await endpoint_changes.update_endpoint(host.desk, CALLER, "e", "two", guard=Guard(deployment))


async def baking(host: Host) -> rollouts.Rollout:
    await host.until(lambda: len(host.placement.states) == 2)
    host.placement.turn_all_ready()
    await host.until(lambda: len(host.snapshot.endpoints[0].variants) == 2)
    while True:
        found = await rollouts.under_way(host.desk, CALLER, "e")
        assert found is not None
        if found.stage == "baking":
            return found
        await host.clock.advance(0.1)


async def test_how_far_a_rollout_is(host: Host) -> None:
    async with host.reconciling():
        await updating(host)
        found = await rollouts.under_way(host.desk, CALLER, "e")
        assert found is not None
        assert (found.stage, found.share("AllTraffic"), found.bake_left_s) == ("starting", 0.0, 0.0)
        found = await baking(host)
        assert (found.share("AllTraffic"), len(found.steps), found.old.version, found.new.version) == (0.25, 2, 1, 2)
        assert 3500 < found.bake_left_s <= 3600


def test_a_bake_counts_only_while_it_is_watched() -> None:
    def under_way(looked_us: int | None, **evaluated_us: int | None) -> rollouts.Rollout:
        states = {name: replace(initial_state("a", name, 0), evaluated_us=at) for name, at in evaluated_us.items()}
        guarded = replace(CANARY, alarms=("one", "two") if states else ())
        fleet = Fleet(1, 1, Revision("e", ()))
        return rollouts.Rollout("e", fleet, fleet, guarded, (), Progress(0, 0, looked_us=looked_us), states)

    now_us = 10 * FRESH_US
    assert rollouts.counts(under_way(now_us), now_us)
    assert not rollouts.counts(under_way(None), now_us)
    assert not rollouts.counts(under_way(now_us - 3 * LOOK_US), now_us), "nobody looks"
    assert rollouts.counts(under_way(now_us, one=now_us, two=now_us - FRESH_US), now_us)
    assert not rollouts.counts(under_way(now_us, one=now_us, two=now_us - FRESH_US - 1), now_us), "not evaluated"
    assert not rollouts.counts(under_way(now_us, one=now_us, two=None), now_us), "never evaluated"
    assert not rollouts.counts(under_way(now_us, one=now_us), now_us), "one is gone"


async def test_an_endpoint_and_its_rollout_are_told_of_one_instant(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = host.store.read
    monkeypatch.setattr(host.store, "read", lambda work: reads.append(work) or read(work))
    await host.endpoint("e")
    reads.clear()
    found, rollout, versions = await endpoint_changes.standing(host.desk, CALLER, "e")
    assert (found.record.name, rollout, [version.number for version in versions], len(reads)) == ("e", None, [1], 1)


async def test_an_alarm_that_went_off_and_on_again_unseen_gives_the_traffic_back(host: Host) -> None:
    watched = MetricAlarm(
        (MetricQuery("m1", MetricStat("shop", "load", (), 60, "Sum")),), 1, 1.0, Comparison.GREATER, missing=None
    )

    def changed(connection: Connection, *values: str) -> None:
        at_us = host.clock.now_us()
        items = [
            Item(CALLER.scope, "p99", "metric", at_us, "StateUpdate", f"Alarm updated {how}", "{}") for how in values
        ]
        append(connection, *items)

    def known(connection: Connection) -> None:
        put(connection, CALLER.scope, "p99", watched, "alarm", host.clock.now_us())
        changed(connection, "from OK to ALARM", "from ALARM to OK")

    await host.store.write(known)
    await host.clock.advance(1)
    async with host.reconciling():
        await updating(host, replace(CANARY, alarms=("p99",)))
        await baking(host)
        await host.clock.advance(60)
        assert await rollouts.under_way(host.desk, CALLER, "e") is not None, "what was before the update is over"
        await host.store.write(lambda connection: changed(connection, "from OK to ALARM", "from ALARM to OK"))
        told = await host.until_status("e", "InService")
    assert told.record.failure_reason.startswith("The alarm p99 was in ALARM.")


async def test_a_bake_is_ended_and_a_rollout_taken_back_by_hand(host: Host) -> None:
    async with host.reconciling():
        await updating(host)
        with pytest.raises(Invalid, match="does not bake now, it is starting"):
            await rollouts.promote(host.desk, CALLER, "e")
        await baking(host)
        assert await rollouts.promote(host.desk, CALLER, "e") == 1
        await host.until(lambda: [v.share for v in host.snapshot.endpoints[0].variants] == [0.0, 1.0])
        assert await endpoint_changes.roll_back(host.desk, CALLER, "e") == 1
        found = await host.until_status("e", "InService")
        assert (found.revision.config_name, found.record.failure_reason) == (
            "e",
            "The deployment was rolled back by hand.",
        )
    actions = await host.store.read(lambda connection: connection.execute(select(audit.c.action)).scalars().all())
    assert actions[-3:] == ["UpdateEndpoint", "PromoteEndpoint", "RollbackEndpoint"]


async def test_nothing_can_be_asked_of_a_rollout_that_is_not_under_way(host: Host) -> None:
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
    assert await rollouts.under_way(host.desk, CALLER, "e") is None
    for ask in (rollouts.abort, rollouts.promote):
        with pytest.raises(Invalid, match="No guarded rollout of endpoint e is under way"):
            await ask(host.desk, CALLER, "e")
        with pytest.raises(NotFound):
            await ask(host.desk, CALLER, "other")
