"""Steps of a rollout: shares, replicas and bakes; limits are tested on the wire."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.rollout import BlueGreen, CapacitySize, Deployment, Rolling, Shift, Unit, steps_of
from tests.support.plans import fleet


def percent(value: int) -> CapacitySize:
    return CapacitySize(Unit.PERCENT, value)


def instances(value: int) -> CapacitySize:
    return CapacitySize(Unit.INSTANCES, value)


def canary(size: CapacitySize, termination_wait_s: int = 0) -> Deployment:
    return Deployment(BlueGreen(Shift.CANARY, 60, canary=size, termination_wait_s=termination_wait_s))


def linear(size: CapacitySize) -> Deployment:
    return Deployment(BlueGreen(Shift.LINEAR, 60, linear=size))


def rolling(size: CapacitySize) -> Deployment:
    return Deployment(rolling=Rolling(size, 60))


SHARES: dict[str, tuple[Deployment, int, list[str]]] = {
    "nothing said": (Deployment(), 1, ["1"]),
    "all at once": (Deployment(BlueGreen(Shift.ALL_AT_ONCE, 60)), 1, ["1"]),
    "a canary of one replica is a share of its traffic": (canary(percent(10)), 1, ["1/10", "1"]),
    "a canary of so many of them": (canary(instances(1)), 4, ["1/4", "1"]),
    "a termination wait is one more bake": (canary(percent(10), 30), 1, ["1/10", "1", "1"]),
    "linear": (linear(percent(25)), 1, ["1/4", "1/2", "3/4", "1"]),
    "linear in thirds, exactly as asked": (linear(percent(33)), 1, ["33/100", "33/50", "99/100", "1"]),
    "linear by replicas": (linear(instances(1)), 3, ["1/3", "2/3", "1"]),
    "rolling by replicas": (rolling(instances(2)), 5, ["2/5", "4/5", "1"]),
    "a batch is rounded down": (rolling(percent(50)), 5, ["2/5", "4/5", "1"]),
    "and at least one": (rolling(percent(5)), 3, ["1/3", "2/3", "1"]),
    "rolling of one is one batch": (rolling(percent(50)), 1, ["1"]),
}


@pytest.mark.parametrize("case", SHARES)
def test_the_share_of_each_step(case: str) -> None:
    deployment, count, shares = SHARES[case]
    assert [step.share("A") for step in steps_of(deployment, fleet(count).revision)] == list(map(Fraction, shares))


def test_only_a_rolling_update_starts_and_ends_replicas_in_batches() -> None:
    steps = steps_of(rolling(instances(2)), fleet(5).revision)
    assert [(step.counts["A"], step.kept_of("A", 5)) for step in steps] == [(2, 5), (4, 3), (5, 1)]
    steps = steps_of(linear(percent(50)), fleet(5).revision)
    assert [(step.counts["A"], step.kept_of("A", 5)) for step in steps] == [(5, 5), (5, 5)]


def test_variants_of_other_sizes_go_together_and_the_slowest_says_when_all_is_done() -> None:
    steps = steps_of(rolling(instances(1)), fleet(2, 1).revision)
    assert [(step.share("A"), step.share("B")) for step in steps] == [(Fraction(1, 2), 1), (1, 1)]
    assert steps[0].share("gone") == Fraction(1, 2), "a variant that is no more goes with the slowest"
    assert steps[1].kept_of("gone", 3) == 2


DEPLOYMENTS = st.one_of(
    st.builds(lambda v: canary(percent(v)), st.integers(1, 50)),
    st.builds(lambda v: linear(percent(v)), st.integers(10, 50)),
    st.builds(lambda v: rolling(percent(v)), st.integers(5, 50)),
)


@given(DEPLOYMENTS, st.lists(st.integers(1, 40), min_size=1, max_size=3))
def test_steps_only_ever_move_traffic_to_the_new_fleet_until_it_has_all(
    deployment: Deployment, counts: list[int]
) -> None:
    steps = steps_of(deployment, fleet(*counts).revision)
    assert steps[-1].full
    for name, count in zip("ABCD", counts, strict=False):
        shares = [step.share(name) for step in steps]
        assert shares == sorted(shares)
        assert shares[0] > 0
        for step, before in zip(steps, [Fraction(0), *shares], strict=False):
            assert step.kept_of(name, count) + Fraction(0) >= count * (1 - before), "as many as the traffic left to it"
            assert step.counts[name] >= count * step.share(name)
