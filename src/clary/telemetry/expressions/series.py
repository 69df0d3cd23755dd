"""What metric math works with: time series, arrays of them and scalars, and the rules by which they combine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from clary.telemetry.expressions.errors import BadExpression

Points = Mapping[int, float]


@dataclass(frozen=True)
class Series:
    """A time series. A period without a point has none in it: it is sparse."""

    points: Points
    """Values by UTC seconds at which their periods begin, in ascending order; every one is finite."""
    period_s: int
    label: str = ""
    """Of the metric that it comes from: arrays keep their members' labels."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Of the metric that it comes from, by the names that labels call them: MetricName, Dim.EndpointName, ..."""
    stored: bool = False
    """A metric itself, not the result of an expression: METRICS() and PERIOD() take no other."""


Array = tuple[Series, ...]
Value = Series | Array
"""What an expression results in."""
Term = float | Series | Array
"""What a part of one results in. A scalar that is NaN has no value: a point that it takes part in is dropped."""


def kept(points: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Points without those that have no value: a division by zero drops its point, as does any other nonsense."""
    return {at_s: value for at_s, value in points if math.isfinite(value)}


def derived(one: Series, points: Iterable[tuple[int, float]]) -> Series:
    """A result that stands for `one`: its label and period with other points."""
    return replace(one, points=kept(points), stored=False)


def each(rule: Callable[[Series], Series], term: Series | Array) -> Value:
    """A rule for one series applied to it, or to each of an array."""
    return rule(term) if isinstance(term, Series) else tuple(rule(one) for one in term)


def combined(rule: Callable[[float, float], float], one: Term, two: Term, name: str) -> Term:
    """An operator. Of two series, where only one has a point, the other counts as 0; BadExpression for two arrays."""
    if isinstance(one, tuple) and isinstance(two, tuple):
        raise BadExpression(f"The operator {name} cannot combine two arrays of time series")
    if isinstance(one, tuple):
        return tuple(_combined_series(rule, member, two, member) for member in one if not isinstance(two, tuple))
    if isinstance(two, tuple):
        return tuple(_combined_series(rule, one, member, member) for member in two)
    if isinstance(one, Series):
        return _combined_series(rule, one, two, one)
    return _combined_series(rule, one, two, two) if isinstance(two, Series) else calculated(rule, one, two)


def calculated(rule: Callable[[float, float], float], one: float, two: float) -> float:
    """A rule of two numbers; NaN where it has no value."""
    try:
        value = rule(one, two)
    except (ArithmeticError, ValueError):
        return math.nan
    return value if isinstance(value, (int, float)) else math.nan


def _combined_series(
    rule: Callable[[float, float], float], one: float | Series, two: float | Series, leading: Series
) -> Series:
    times: Iterable[int]
    if isinstance(one, Series) and isinstance(two, Series):
        check_periods((one, two))
        left, right = one.points, two.points
        times = sorted({*left, *right}) if left.keys() != right.keys() else left
        return derived(leading, ((at, calculated(rule, left.get(at, 0.0), right.get(at, 0.0))) for at in times))
    if isinstance(one, Series):
        assert not isinstance(two, Series)
        return derived(leading, ((at, calculated(rule, value, two)) for at, value in one.points.items()))
    assert isinstance(two, Series)
    return derived(leading, ((at, calculated(rule, one, value)) for at, value in two.points.items()))


def check_periods(members: Iterable[Series]) -> int | None:
    """The period that all have; None of none. BadExpression where they differ: their points would not meet."""
    periods = {one.period_s for one in members}
    if len(periods) > 1:
        found = " and ".join(map(str, sorted(periods)))
        raise BadExpression(
            f"It combines metrics with periods of {found} seconds, which Clary does not serve. Give all one period"
        )
    return next(iter(periods), None)
