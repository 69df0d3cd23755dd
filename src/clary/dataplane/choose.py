"""Which variant, and how much for which replica: pure rules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


def cumulative(weights: Sequence[float]) -> tuple[float, ...]:
    """Running sums of the variants' weights (API reference, ProductionVariant: InitialVariantWeight: traffic goes by
    the ratio of a weight to the sum of all)."""
    return tuple(accumulate(weights))


def pick(sums: Sequence[float], draw: float) -> int:
    """The variant that `draw`, uniform in [0, 1), falls on; -1 where no variant has weight.

    A variant of weight 0 is never picked.
    """
    if not sums or sums[-1] <= 0:
        return -1
    index = bisect_right(sums, draw * sums[-1])
    if index == len(sums):  # rounding alone: draw * total may round up to the total
        index = len(sums) - 1
        while index and sums[index] == sums[index - 1]:
            index -= 1
    return index


def share(waiting: int, idle: int, batch_max: int) -> int:
    """How many of `waiting` calls the first of `idle` replicas gets.

    Replicas that are busy get none, so the one with the least outstanding is always an idle one; among several idle
    ones what waits is spread evenly, so that none is left without work while another has a queue.
    """
    return min(batch_max, -(-waiting // idle))
