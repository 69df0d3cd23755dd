"""The functions of metric math, each as "Using metric math" in CloudWatch's user guide has it.

A function takes terms that were evaluated and the window. Where that page is silent: MIN, MAX and STDDEV over an array
take the series that have a point at that time, while SUM and AVG count a missing one as 0 (the page says so of AVG);
AVG, MIN, MAX and STDDEV of a series without points have no value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clary.telemetry.expressions.errors import BadExpression
from clary.telemetry.expressions.series import Array, Series, Term, Value, check_periods, derived, each, kept
from clary.telemetry.statistics import Window

MADE_MAX = 504_000
"""Points that FILL, TIME_SERIES and their kin make at once."""

Argument = Term | str
"""`str`: a word in capitals, such as REPEAT."""


@dataclass(frozen=True)
class Call:
    """One use of a function. What an argument must be is refused by name where it is not: BadExpression."""

    name: str
    arguments: Sequence[Argument]
    window: Window

    def count(self, least: int, most: int | None = None) -> None:
        """How many arguments there must be."""
        given, most = len(self.arguments), least if most is None else most
        if not least <= given <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise BadExpression(f"{self.name} takes {wanted} argument{'' if wanted == '1' else 's'}, not {given}")

    def series(self) -> Series:
        one = self.arguments[0]
        if not isinstance(one, Series):
            raise BadExpression(f"{self.name} takes a time series")
        return one

    def series_or_array(self) -> Value:
        one = self.arguments[0]
        if not isinstance(one, (Series, tuple)):
            raise BadExpression(f"{self.name} takes a time series or an array of time series")
        return one

    def array(self) -> Array:
        one = self.arguments[0]
        if not isinstance(one, tuple):
            raise BadExpression(f"{self.name} takes an array of time series")
        return one

    def scalar(self, at: int) -> float:
        one = self.arguments[at]
        if not isinstance(one, (int, float)):
            raise BadExpression(f"{self.name} takes a number as argument {at + 1}")
        return one

    def whole(self, at: int, least: int) -> int:
        number = self.scalar(at)
        if not (number >= least and number == number // 1):
            raise BadExpression(f"{self.name} takes a whole number from {least} on as argument {at + 1}")
        return int(min(number, 1e9))

    def word(self, at: int, allowed: Sequence[str]) -> str:
        one = self.arguments[at]
        if not isinstance(one, str) or one not in allowed:
            raise BadExpression(f"{self.name} takes one of {', '.join(allowed)} as argument {at + 1}")
        return one


Function = Callable[[Call], Term]


# -- one value at a time -----------------------------------------------------------------------------------------------


def pointwise(rule: Callable[[float], float]) -> Function:
    """A function of each value by itself."""

    def of(value: float) -> float:
        try:
            return rule(value)
        except (ValueError, OverflowError):
            return math.nan

    def function(call: Call) -> Term:
        call.count(1)
        term = call.series_or_array()
        return each(lambda one: derived(one, ((at, of(value)) for at, value in one.points.items())), term)

    return function


# -- from one value to the next ----------------------------------------------------------------------------------------


def stepwise(rule: Callable[[float, float], float]) -> Function:
    """A function of the seconds and the difference since the point before; the first point has none."""

    def steps(one: Series) -> Iterator[tuple[int, float]]:
        points = list(one.points.items())
        for (at_before, before), (at, value) in itertools.pairwise(points):
            yield at, rule(at - at_before, value - before)

    def function(call: Call) -> Term:
        call.count(1)
        return each(lambda one: derived(one, steps(one)), call.series_or_array())

    return function


def running_sum(call: Call) -> Term:
    call.count(1)

    def sums(one: Series) -> Iterator[tuple[int, float]]:
        total = 0.0
        for at, value in one.points.items():
            total += value
            yield at, total

    return each(lambda one: derived(one, sums(one)), call.series_or_array())


# -- many values to one ------------------------------------------------------------------------------------------------


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _deviation(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(_mean([(value - mean) * (value - mean) for value in values])) if values else math.nan


REDUCTIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "AVG": _mean,
    "MAX": lambda values: max(values, default=math.nan),
    "MIN": lambda values: min(values, default=math.nan),
    "STDDEV": _deviation,
    "SUM": math.fsum,
    "DATAPOINT_COUNT": lambda values: float(len(values)),
}
"""Over all values of a series, or over those of an array's series at one time. STDDEV is the population's."""


def _reduced(name: str, values: Sequence[float]) -> float:
    try:
        return REDUCTIONS[name](values)
    except (OverflowError, ValueError):
        # Too large for a number, or the difference of two that are.
        return math.nan


def reduction(call: Call) -> Term:
    """AVG and its kin: a number of a series, a series of an array."""
    call.count(1)
    term = call.series_or_array()
    if isinstance(term, Series):
        return _reduced(call.name, list(term.points.values()))
    period_s = check_periods(term) or call.window.period_s
    by_time: dict[int, list[float]] = {}
    for one in term:
        for at, value in one.points.items():
            by_time.setdefault(at, []).append(value)
    # The mean counts a missing point as 0, and so does the sum.
    share = len(term) if call.name == "AVG" else 0

    def reduced(values: list[float]) -> float:
        return _reduced("SUM", values) / share if share else _reduced(call.name, values)

    return Series(kept((at, reduced(by_time[at])) for at in sorted(by_time)), period_s)


# -- filling and making ------------------------------------------------------------------------------------------------


def _times(window: Window, period_s: int, series: int = 1) -> range:
    """The periods of the window; BadExpression where that many points in so many series are too many."""
    times = range(window.start_s, window.end_s, period_s)
    if len(times) * series > MADE_MAX:
        raise BadExpression(
            f"It would make {len(times) * series} data points, and may make {MADE_MAX}; ask for a longer period or a "
            "shorter time range"
        )
    return times


def fill(call: Call) -> Term:
    """Points for the periods of the window that have none: a number, another series', the last one, or between two."""
    call.count(2)
    term, filler = call.series_or_array(), call.arguments[1]
    if isinstance(filler, tuple):
        raise BadExpression("FILL takes a number, a time series, REPEAT or LINEAR as its filler")
    if isinstance(filler, str):
        call.word(1, ("REPEAT", "LINEAR"))

    members = (term,) if isinstance(term, Series) else term
    if members:
        _times(call.window, min(one.period_s for one in members), len(members))

    def missing(one: Series) -> Iterator[tuple[int, float]]:
        if isinstance(filler, str):
            yield from _repeated(one, call.window) if filler == "REPEAT" else _between(one)
            return
        for at in _times(call.window, one.period_s):
            if isinstance(filler, Series):
                if at in filler.points:
                    yield at, filler.points[at]
            else:
                yield at, filler

    return each(lambda one: derived(one, sorted((dict(missing(one)) | dict(one.points)).items())), term)


def _repeated(one: Series, window: Window) -> Iterator[tuple[int, float]]:
    last: float | None = None
    for at in _times(window, one.period_s):
        last = one.points.get(at, last)
        if last is not None:
            yield at, last


def _between(one: Series) -> Iterator[tuple[int, float]]:
    """On the line between the ends of each gap; nothing before the first point and after the last."""
    points = list(one.points.items())
    for (start, low), (end, high) in itertools.pairwise(points):
        for at in range(start + one.period_s, end, one.period_s):
            yield at, low + (high - low) * (at - start) / (end - start)


def time_series(call: Call) -> Term:
    call.count(1)
    value = call.scalar(0)
    return Series(kept((at, value) for at in _times(call.window, call.window.period_s)), call.window.period_s)


def calendar(rule: Callable[[datetime], float]) -> Function:
    """A number of each period's time (UTC) in the window, with or without a point of the series."""

    def function(call: Call) -> Term:
        call.count(1)
        one = call.series()
        times = _times(call.window, one.period_s)
        return derived(one, ((at, rule(datetime.fromtimestamp(at, UTC))) for at in times))

    return function


# -- choosing ----------------------------------------------------------------------------------------------------------


def if_(call: Call) -> Term:
    """IF(condition, then, else): a true condition takes a missing value of `then` as 0, a false one drops the point."""
    call.count(2, 3)
    if any(isinstance(one, (tuple, str)) for one in call.arguments):
        raise BadExpression("IF takes time series and numbers")
    condition, then, *rest = (one for one in call.arguments if isinstance(one, (Series, float, int)))
    otherwise = rest[0] if rest else None
    check_periods([one for one in (condition, then, otherwise) if isinstance(one, Series)])
    if not isinstance(condition, Series):
        chosen = then if condition else otherwise
        return Series({}, call.window.period_s) if chosen is None else chosen

    def points() -> Iterator[tuple[int, float]]:
        for at, met in condition.points.items():
            if met:
                yield at, then.points.get(at, 0.0) if isinstance(then, Series) else then
            elif isinstance(otherwise, Series):
                if at in otherwise.points:
                    yield at, otherwise.points[at]
            elif otherwise is not None:
                yield at, otherwise

    leading = next((one for one in (then, otherwise, condition) if isinstance(one, Series)), condition)
    return derived(leading, points())


# -- arrays ------------------------------------------------------------------------------------------------------------


def metric_count(call: Call) -> Term:
    call.count(1)
    return float(len(call.array()))


def remove_empty(call: Call) -> Term:
    call.count(1)
    return tuple(one for one in call.array() if one.points)


def end_of(last: bool) -> Function:
    def function(call: Call) -> Term:
        call.count(1)
        array = call.array()
        return array[-1 if last else 0] if array else Series({}, call.window.period_s)

    return function


def slice_(call: Call) -> Term:
    call.count(2, 3)
    start = call.whole(1, 0)
    return call.array()[start : call.whole(2, 0) if len(call.arguments) > 2 else None]


def sort(call: Call) -> Term:
    """SORT(array, AVG|MIN|MAX|SUM, ASC|DESC[, limit]); series without points come last."""
    call.count(3, 4)
    by = call.word(1, ("AVG", "MIN", "MAX", "SUM"))
    descending = call.word(2, ("ASC", "DESC")) == "DESC"
    limit = call.whole(3, 1) if len(call.arguments) > 3 else None

    def rank(one: Series) -> tuple[bool, float]:
        value = _reduced(by, list(one.points.values())) if one.points else 0.0
        return not one.points, -value if descending else value

    return tuple(sorted(call.array(), key=rank))[:limit]


def period(call: Call) -> Term:
    call.count(1)
    one = call.series()
    if not one.stored:
        raise BadExpression("PERIOD takes a metric, not the result of an expression")
    return float(one.period_s)


FUNCTIONS: dict[str, Function] = {
    "ABS": pointwise(abs),
    "CEIL": pointwise(lambda value: float(math.ceil(value))),
    "FLOOR": pointwise(lambda value: float(math.floor(value))),
    "LOG": pointwise(math.log),
    "LOG10": pointwise(math.log10),
    "DIFF": stepwise(lambda _, change: change),
    "DIFF_TIME": stepwise(lambda seconds, _: seconds),
    "RATE": stepwise(lambda seconds, change: change / seconds),
    "RUNNING_SUM": running_sum,
    **dict.fromkeys(REDUCTIONS, reduction),
    "FILL": fill,
    "TIME_SERIES": time_series,
    "MINUTE": calendar(lambda at: at.minute),
    "HOUR": calendar(lambda at: at.hour),
    "DAY": calendar(lambda at: at.isoweekday()),
    "DATE": calendar(lambda at: at.day),
    "MONTH": calendar(lambda at: at.month),
    "YEAR": calendar(lambda at: at.year),
    "EPOCH": calendar(lambda at: at.timestamp()),
    "IF": if_,
    "METRIC_COUNT": metric_count,
    "REMOVE_EMPTY": remove_empty,
    "FIRST": end_of(last=False),
    "LAST": end_of(last=True),
    "SLICE": slice_,
    "SORT": sort,
    "PERIOD": period,
}
"""All but METRICS and SEARCH, whose terms come from the request and the store."""
NOT_SERVED = {
    "ANOMALY_DETECTION_BAND": "Compare with a number, or with a statistic such as AVG(m1) + 2 * STDDEV(m1).",
    "INSIGHT_RULE_METRIC": "Contributor Insights is not part of Clary.",
    "SERVICE_QUOTA": "Clary has no usage metrics.",
    "DB_PERF_INSIGHTS": "It belongs to Amazon RDS.",
    "LAMBDA": "It calls a function of the hosted service.",
}
"""Functions that CloudWatch has and Clary has not, and what to do."""
WORDS = frozenset({"REPEAT", "LINEAR", "ASC", "DESC", "AVG", "MIN", "MAX", "SUM"})
"""Words that are arguments, not values."""
