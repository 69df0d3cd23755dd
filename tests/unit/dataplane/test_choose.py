"""Traffic follows the weights; work is spread."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from clary.dataplane.choose import cumulative, pick, share

WEIGHTS = st.lists(st.floats(0, 1000, allow_nan=False), min_size=1, max_size=10)


@given(WEIGHTS, st.floats(0, 1, exclude_max=True))
def test_a_variant_without_weight_is_never_picked(weights: list[float], draw: float) -> None:
    index = pick(cumulative(weights), draw)
    if sum(weights) > 0:
        assert weights[index] > 0
    else:
        assert index == -1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_draws_spread_evenly_give_each_variant_exactly_its_share(weights: list[int]) -> None:
    total = sum(weights)
    picked = Counter(pick(cumulative(weights), (n + 0.5) / total) for n in range(total))
    assert [picked[index] for index in range(len(weights))] == weights


def test_no_variants_no_choice() -> None:
    assert pick((), 0.5) == -1


@given(st.integers(1, 5000), st.integers(1, 16), st.integers(1, 256))
def test_what_waits_is_spread_evenly_over_idle_replicas(waiting: int, idle: int, batch_max: int) -> None:
    given_out = []
    left = waiting
    for count in range(idle, 0, -1):
        if left:
            given_out.append(share(left, count, batch_max))
            left -= given_out[-1]
    assert all(0 < part <= batch_max for part in given_out)
    assert max(given_out) - min(given_out) <= 1 or max(given_out) == batch_max
    assert left == 0 or left == waiting - idle * batch_max
