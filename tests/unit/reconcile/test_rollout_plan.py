"""The plan of a guarded rollout: whole ways of it in a made-up world, then properties over whole lives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.domain.rollout import BlueGreen, CapacitySize, Deployment, Rolling, Shift, Unit
from clary.kit.clock import MICROS
from clary.reconcile.actions import WakeAt
from clary.reconcile.endpoint import plan
from clary.reconcile.facts import Watched
from clary.reconcile.rollout import BY_HAND, in_service
from tests.support.plans import (
    DEAD,
    FAILED,
    GONE,
    IN_SERVICE,
    NOW,
    READY,
    ROLLBACK_FAILED,
    RULES,
    STARTING,
    UPDATING,
    fleet,
    want,
)
from tests.support.plans import World as Plain

HOUR_S = 3600
ALARM = "p99"
QUIET, LOUD = Watched(False, NOW), Watched(True, NOW)


def percent(value: int) -> CapacitySize:
    return CapacitySize(Unit.PERCENT, value)


def canary(
    wait_s: int = 60,
    size: int = 10,
    termination_wait_s: int = 0,
    timeout_s: int | None = None,
    alarms: tuple[str, ...] = (ALARM,),
) -> Deployment:
    policy = BlueGreen(Shift.CANARY, wait_s, percent(size), None, termination_wait_s, timeout_s)
    return Deployment(policy, alarms=alarms)


def rolling(wait_s: int = 60, back: CapacitySize | None = None) -> Deployment:
    return Deployment(rolling=Rolling(CapacitySize(Unit.INSTANCES, 1), wait_s, rollback_batch=back), alarms=(ALARM,))


class World(Plain):
    """With what a rollout may meet."""

    def update(self, deployment: Deployment | None, *counts: int, bad: bool = False) -> None:
        """Want the next version."""
        generation = self.wanted.target.generation + 1
        if bad:
            self.bad.add(generation)
        target = replace(fleet(*counts, version=generation), deployment=deployment)
        self.wanted = replace(self.wanted, target=target, aborted=False, promoted_step=0)

    @property
    def shares(self) -> list[float]:
        """Of each routed fleet of the first variant, the old one first."""
        assert self.route is not None
        return [variant.share for variant in self.route.variants if variant.name == "A"]

    def baking(self, share: float) -> None:
        """Until the new fleet bakes with this share."""
        for _ in range(1000):
            self.settle(obey=False)
            progress = self.rollouts.get(self.wanted.target.generation)
            if progress is not None and progress.reached_us is not None and self.shares[-1] == share:
                return
            if not self.processes():
                self.pass_us(RULES.look_us // 2)
        raise AssertionError(f"never bakes with {share}")

    def kill(self, version: int) -> None:
        """A process of a version ends by itself; the agent starts it again."""
        uid = min(uid for uid, r in self.replicas.items() if r.generation == version and r.live)
        self.change(uid, phase=STARTING, restarts=self.replicas[uid].restarts + 1)
        self.settle(obey=False)


def served(*counts: int) -> World:
    """In service, with an alarm that is quiet."""
    world = World(want(*counts), alarms={ALARM: QUIET})
    world.settle()
    assert world.status is IN_SERVICE
    return world


def version(world: World) -> int:
    assert world.route is not None
    return world.route.version


def test_an_hour_of_canary() -> None:
    world = served(1)
    world.update(canary(HOUR_S, termination_wait_s=600), 1)
    world.baking(0.1)
    began_us = world.elapsed_us
    world.settle()
    assert (world.status, version(world)) == (IN_SERVICE, 2)
    lasted_s = (world.elapsed_us - began_us) / MICROS
    assert 2 * HOUR_S + 600 <= lasted_s < 2 * HOUR_S + 700
    assert len(world.replicas) == 1


def test_a_bake_without_alarms_lasts_exactly_as_long_as_it_must() -> None:
    world = served(1)
    world.update(canary(60, alarms=()), 1)
    world.baking(0.1)
    began_us = world.elapsed_us
    world.settle()
    assert (version(world), world.elapsed_us - began_us) == (2, 120 * MICROS + RULES.drain_us)


def test_an_alarm_after_most_of_an_hour_gives_the_traffic_back() -> None:
    world = served(2)
    world.update(canary(HOUR_S), 2)
    world.baking(0.1)
    for _ in range(HOUR_S // 10 - 10):
        world.pass_us(10 * MICROS)
        world.settle(obey=False)
    assert world.shares == [0.9, 0.1]
    world.alarms[ALARM] = replace(world.alarms[ALARM], alarm=True)
    world.settle(obey=False)
    assert (world.status, world.shares, version(world)) == (IN_SERVICE, [1.0], 1)
    world.settle()
    assert [r.generation for r in world.replicas.values()] == [1, 1]


def test_an_alarm_in_the_termination_wait_gives_everything_back() -> None:
    world = served(1)
    world.update(canary(0, termination_wait_s=60), 1)
    world.baking(1.0)
    assert world.shares == [0.0, 1.0]
    world.alarms[ALARM] = LOUD
    world.settle()
    assert (world.status, version(world)) == (IN_SERVICE, 1)


def test_an_alarm_that_nobody_saw_gives_the_traffic_back() -> None:
    world = served(1)
    world.update(canary(60), 1)
    world.baking(0.1)
    world.alarms[ALARM] = replace(QUIET, tripped=True)
    world.settle()
    assert (world.status, version(world)) == (IN_SERVICE, 1)
    assert world.rollouts[2].reason == "The alarm p99 was in ALARM. The endpoint goes on as it was before the update."


def test_an_alarm_before_the_first_shift_moves_nothing() -> None:
    world = served(1)
    world.alarms[ALARM] = LOUD
    world.update(canary(), 1)
    world.settle()
    assert (world.status, version(world), world.rollouts[2].taken) == (IN_SERVICE, 1, 0)


@pytest.mark.parametrize("stale", [QUIET, Watched(False, None), None])
def test_a_bake_does_not_count_while_an_alarm_cannot_be_evaluated(stale: Watched | None) -> None:
    world = served(1)
    world.update(canary(60), 1)
    world.baking(0.1)
    alarm = world.alarms.pop(ALARM)
    if stale is not None:
        world.alarms[ALARM] = stale
    for _ in range(100):
        world.pass_us(10 * MICROS, evaluated=False)
        world.settle(obey=False)
    assert world.shares == [0.9, 0.1], "a thousand seconds of a bake of sixty"
    world.alarms[ALARM] = replace(alarm, evaluated_us=world.now_us)
    world.settle()
    assert version(world) == 2


@pytest.mark.parametrize("steps_s", [(HOUR_S,), (-HOUR_S,), (-5, HOUR_S), (HOUR_S, -HOUR_S)])
def test_a_clock_that_steps_never_shortens_a_bake(steps_s: tuple[int, ...]) -> None:
    world = served(1)
    world.update(canary(60), 1)
    world.baking(0.1)
    for step_s in steps_s:
        world.pass_us(7 * MICROS)
        world.settle(obey=False)
        world.now_us += step_s * MICROS
        world.pass_us(0)
        world.settle(obey=False)
        assert world.shares == [0.9, 0.1]
    world.settle()  # and checks that the bake lasted
    assert version(world) == 2


def test_the_first_death_begins_the_bake_anew_the_second_ends_the_rollout() -> None:
    world = served(1)
    world.update(canary(60), 1)
    world.baking(0.1)
    for _ in range(5):
        world.pass_us(10 * MICROS)
        world.settle(obey=False)
    world.kill(2)
    progress = world.rollouts[2]
    assert (progress.deaths, progress.baked_us, progress.looked_us) == (1, 0, None)
    world.processes()
    for _ in range(4):
        world.pass_us(10 * MICROS)
        world.settle(obey=False)
    assert world.shares == [0.9, 0.1], "fifty seconds before it do not count"
    world.kill(2)
    assert (world.status, version(world)) == (IN_SERVICE, 1)
    assert world.rollouts[2].reason.startswith("Processes of the new fleet ended 2 times during the deployment.")


def test_a_model_that_does_not_load_leaves_the_old_fleet_as_it_was() -> None:
    world = served(1)
    world.update(canary(), 1, bad=True)
    world.settle()
    assert (world.status, version(world), world.rollouts[2].taken) == (IN_SERVICE, 1, 0)


def test_too_long() -> None:
    world = served(1)
    world.update(canary(400, timeout_s=900), 1)
    world.baking(0.1)
    for _ in range(100):
        world.pass_us(10 * MICROS, evaluated=False)
        world.settle(obey=False)
    assert (world.status, version(world)) == (IN_SERVICE, 1)
    assert "within 900 s (MaximumExecutionTimeoutInSeconds)" in world.rollouts[2].reason


def test_by_hand() -> None:
    world = served(1)
    world.update(canary(HOUR_S), 1)
    world.baking(0.1)
    world.wanted = replace(world.wanted, promoted_step=1)
    world.settle(obey=False)
    assert world.shares == [0.0, 1.0]
    world.wanted = replace(world.wanted, aborted=True)
    world.settle(obey=False)
    assert (world.status, version(world), world.rollouts[2].reason) == (IN_SERVICE, 1, BY_HAND)


def test_by_hand_many_bakes_end_one_after_the_other() -> None:
    world = served(1)
    world.update(canary(HOUR_S), 1)
    world.baking(0.1)
    world.wanted = replace(world.wanted, promoted_step=2)
    world.settle(obey=False)
    assert (world.status, version(world)) == (IN_SERVICE, 2)


def test_rolling_never_runs_more_than_a_batch_too_many() -> None:
    world = served(3)
    world.update(rolling(30), 3)
    most, fewest_old = 0, 3
    for share in (1 / 3, 2 / 3, 1.0):
        world.baking(share)
        most = max(most, len([r for r in world.replicas.values() if r.live]))
        fewest_old = min(fewest_old, len([r for r in world.replicas.values() if r.live and r.generation == 1]))
    assert (most, fewest_old) == (4, 1)
    world.settle()
    assert (world.status, version(world)) == (IN_SERVICE, 2)


@pytest.mark.parametrize("back", [None, CapacitySize(Unit.INSTANCES, 1)])
def test_rolling_back_starts_again_what_was_ended(back: CapacitySize | None) -> None:
    world = served(4)
    world.update(rolling(30, back), 4)
    world.baking(3 / 4)
    assert world.shares == [1 / 4, 3 / 4]
    world.alarms[ALARM] = LOUD
    world.settle(obey=False)
    assert world.shares == [1 / 4, 3 / 4], "the old fleet has room for no more yet"
    seen = []
    for _ in range(20):
        if world.status is not UPDATING:
            break
        world.processes()
        world.settle(obey=False)
        seen.append(world.shares[0])
    assert seen == ([1.0] if back is None else [1 / 2, 3 / 4, 1.0])[-len(seen) :]
    world.settle()
    assert (world.status, version(world)) == (IN_SERVICE, 1)
    assert [r.generation for r in world.replicas.values()] == [1] * 4


def test_a_rolling_update_that_cannot_be_taken_back_leaves_a_mix_until_the_next_update() -> None:
    world = served(3)
    world.update(rolling(30), 3)
    world.baking(2 / 3)
    world.alarms[ALARM] = LOUD
    world.bad.add(1)  # the old model was lost
    world.settle()
    assert (world.status, version(world)) == (ROLLBACK_FAILED, 1)
    assert world.shares == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert sorted(r.generation for r in world.replicas.values()) == [1, 1, 2, 2]
    # An update that fails leaves the mix as it is, one that does not ends it.
    world.alarms[ALARM] = QUIET
    world.update(None, 3, bad=True)
    world.settle()
    assert (world.status, version(world)) == (ROLLBACK_FAILED, 1)
    world.update(rolling(30), 3)
    world.settle()
    assert (world.status, version(world), world.wanted.mixed) == (IN_SERVICE, 4, None)
    assert [r.generation for r in world.replicas.values()] == [4] * 3


def test_an_old_fleet_that_scaled_to_zero_can_be_gone_back_to() -> None:
    world = served(0, 1)
    for deployment in (rolling(30), canary(30)):
        world.update(deployment, 2, 1)
        world.baking(0.1 if deployment.blue_green else 1 / 2)
        world.wanted = replace(world.wanted, aborted=True)
        world.settle()
        assert (world.status, version(world)) == (IN_SERVICE, 1)


def test_a_mix_can_be_deleted() -> None:
    world = served(3)
    world.update(rolling(30), 3)
    world.baking(2 / 3)
    world.alarms[ALARM] = LOUD
    world.bad.add(1)
    world.settle()
    world.wanted = replace(world.wanted, deleting=True)
    world.settle()
    assert world.forgotten


DEPLOYMENTS = st.one_of(
    st.none(),
    st.just(Deployment()),
    st.builds(
        canary,
        st.sampled_from([0, 15, 40]),
        st.integers(1, 50),
        st.sampled_from([0, 25]),
        st.none(),
        st.sampled_from([(), (ALARM,)]),
    ),
    st.builds(lambda size: Deployment(BlueGreen(Shift.LINEAR, 20, linear=percent(size)), alarms=(ALARM,)),
              st.integers(10, 50)),
    st.builds(rolling, st.sampled_from([0, 20]), st.sampled_from([None, percent(25)])),
)  # fmt: skip
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.integers(0, 9), st.sampled_from([STARTING, READY, DEAD])),
        st.tuples(st.just("end"), st.integers(0, 9), st.none()),
        st.tuples(st.just("crash"), st.integers(0, 9), st.none()),
        st.tuples(st.just("obey"), st.none(), st.none()),
        st.tuples(st.just("pass"), st.integers(1, 30), st.booleans()),
        st.tuples(st.just("step"), st.sampled_from([-1000, -10, -1, 100, 5000]), st.none()),
        st.tuples(st.just("update"), st.integers(1, 3), st.tuples(DEPLOYMENTS, st.booleans())),
        st.tuples(st.just("alarm"), st.booleans(), st.none()),
        st.tuples(st.just("abort"), st.none(), st.none()),
        st.tuples(st.just("promote"), st.none(), st.none()),
        st.tuples(st.just("rot"), st.none(), st.none()),
        st.tuples(st.just("killed"), st.integers(1, 6), st.none()),
        st.tuples(st.just("plan"), st.none(), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=2), DEPLOYMENTS, EVENTS)
def test_rollouts_converge_and_harm_nobody(
    counts: list[int], first: Deployment | None, events: list[tuple[str, Any, Any]]
) -> None:
    world = served(*counts)
    world.update(first, *counts[::-1])
    for kind, number, more in events:
        happen(world, kind, number, more)
    world.bad.clear()
    world.alarms = {ALARM: replace(QUIET, evaluated_us=world.now_us)}
    world.settle()
    assert plan(world.wanted, world.have(), world.now_us, RULES) == []
    assert world.status in (IN_SERVICE, ROLLBACK_FAILED)
    live = list(world.replicas.values())
    for part in in_service(world.wanted, world.have()):
        for variant in part.fleet.revision.variants:
            mine = [r for r in live if r.variant_uid == variant.uid]
            assert len(mine) == part.count(variant), "every fleet that was started serves or is gone"
            assert all(r.phase is READY and r.live for r in mine)
            live = [r for r in live if r not in mine]
    assert live == []


def happen(world: World, kind: str, number: Any, more: Any) -> None:
    uids = sorted(world.replicas)
    match kind:
        case "turn" if uids:
            uid = uids[number % len(uids)]
            if world.replicas[uid].phase is not GONE:
                world.change(uid, phase=more)
        case "crash" if uids:
            uid = uids[number % len(uids)]
            if world.replicas[uid].phase is READY:
                world.change(uid, phase=STARTING, restarts=world.replicas[uid].restarts + 1)
        case "end":
            stopped = [uid for uid in uids if world.replicas[uid].stopping_us is not None]
            for uid in stopped[:1]:
                world.change(uid, phase=GONE)
        case "obey":
            world.processes()
        case "pass":
            world.pass_us(number * MICROS, evaluated=more)
        case "step":
            world.now_us += number * MICROS
        case "update" if world.status in (IN_SERVICE, ROLLBACK_FAILED):
            deployment, bad = more
            world.update(deployment, number, 4 - number, bad=bad)
        case "alarm":
            world.alarms = {ALARM: Watched(number, world.now_us)}
        case "abort" if world.status is UPDATING:
            world.wanted = replace(world.wanted, aborted=True)
        case "promote" if world.status is UPDATING and world.rollouts.get(world.wanted.target.generation):
            world.wanted = replace(world.wanted, promoted_step=world.rollouts[world.wanted.target.generation].step)
        case "rot" if world.wanted.base is not None:
            world.bad.add(world.wanted.base.generation)
        case "killed":
            # Control dies after so many actions; what comes next plans from what it left.
            for action in plan(world.wanted, world.have(), world.now_us, RULES)[:number]:
                if not isinstance(action, WakeAt):
                    world.apply(action)
        case _:
            world.settle(obey=False)
    assert world.status is not FAILED, "what serves never fails for an update"
