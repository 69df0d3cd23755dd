"""Autoscaling with no configuration: so many requests at once for each replica, and nothing else to be said.

Clary's own, beside the documented Application Auto Scaling (domain/scaling.py); docs/how-to/scale.md is its page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from clary.domain.endpoint import INSTANCES_MAX
from clary.domain.errors import Invalid

CONCURRENCY = 4
"""Requests at once for a replica, waiting ones included, where nobody says: one that is computed and a few that go
together next."""
WINDOW_S = 60
CONCURRENCY_MAX = 10_000
WINDOW_S_MIN, WINDOW_S_MAX = 5, 3_600
"""At least longer than what scaling out looks back at: what it added is not taken away for want of a look."""
SPARE = 0.9
"""Replicas go only where the rest would be used up to this share: a load at the border of two counts moves none."""
STEP_OUT = 4
"""A variant grows at most so many times at once; from none or one, to as many."""
STEP_IN = 2
"""It shrinks by at most half at once, and by one."""


@dataclass(frozen=True)
class AutoScale:
    """How a variant is scaled."""

    concurrency: int = CONCURRENCY
    least: int = 1
    """0: it ends when nobody asks, and starts again with the next request."""
    most: int | None = None
    """None: as many as there are cores, which are the limit in any case."""
    window_s: int = WINDOW_S
    """Replicas go when no second of the last so many needed them."""


@dataclass(frozen=True)
class Limits:
    """The bounds in force on a machine."""

    least: int
    most: int


def limits_of(spec: AutoScale, cores: int) -> Limits:
    """The bounds on a machine with so many cores: more replicas than those would wait for each other."""
    most = max(1, min(cores if spec.most is None else spec.most, cores, INSTANCES_MAX))
    return Limits(min(spec.least, most), most)


def check_auto_scale(spec: AutoScale, cores: int) -> None:
    """Raise Invalid for what cannot be; `most` above the cores can, and is cut (`limits_of`)."""
    if not 1 <= spec.concurrency <= CONCURRENCY_MAX:
        raise Invalid(f"The concurrency is {spec.concurrency}; 1 to {CONCURRENCY_MAX} requests are allowed.")
    if not WINDOW_S_MIN <= spec.window_s <= WINDOW_S_MAX:
        raise Invalid(f"The window is {spec.window_s} s; {WINDOW_S_MIN} to {WINDOW_S_MAX} are allowed.")
    if spec.most is not None and not 1 <= spec.most <= INSTANCES_MAX:
        raise Invalid(f"The maximum is {spec.most}; 1 to {INSTANCES_MAX} replicas are allowed.")
    if spec.least < 0 or (spec.most is not None and spec.least > spec.most):
        raise Invalid(f"The minimum is {spec.least}; it cannot be negative, nor above the maximum.")
    if spec.least > max(1, cores):
        raise Invalid(
            f"The minimum is {spec.least}, and this machine has {cores} cores: more replicas would not serve more. "
            f"Give a minimum of at most {cores}."
        )


def needed(spec: AutoScale, load: float, share: float = 1.0) -> int:
    """Replicas for so many requests at once, each used up to `share` of its concurrency."""
    return max(0, math.ceil(min(load, 1e9) / (spec.concurrency * share) - 1e-9))


def grown(count: int, wanted: int) -> int:
    """The next count on the way out to `wanted`."""
    return min(wanted, STEP_OUT * max(1, count))


def shrunk(count: int, wanted: int) -> int:
    """The next count on the way in to `wanted`."""
    return max(wanted, count - max(1, count // STEP_IN))
