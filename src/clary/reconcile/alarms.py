"""What state the data of a metric alarm gives. Pure.

The rules are the user guide's, "How alarm state is evaluated when data is missing" and "Avoiding premature transitions
to alarm state"; its tables are tests/unit/reconcile/test_alarms.py, cell by cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from clary.domain.alarms import AlarmValue, MetricAlarm, Missing, samples_min
from clary.kit.instants import MICROS

EXTRA_PERIODS = 2
"""Periods that are looked at besides N, so that real data can stand in for missing: the guide's example has 5 for 3."""


@dataclass(frozen=True)
class Datapoint:
    """The statistic of one period."""

    at_s: int
    """UTC seconds at which the period begins."""
    value: float
    samples: float | None = None
    """Values behind it; None for an expression."""


Datapoints = Sequence[Datapoint | None]
"""One a period, the newest first; None where nothing is known."""


@dataclass(frozen=True)
class Verdict:
    """What the data says."""

    value: AlarmValue | None
    """None: the state stays as it is."""
    used: Sequence[Datapoint]
    """The real points that it rests on, at most N, the newest first."""
    filled: int
    """Periods that were filled in by the rule for missing data."""


def judge(alarm: MetricAlarm, points: Datapoints) -> Verdict:
    """The verdict over the evaluation range: N + EXTRA_PERIODS points."""
    wanted = alarm.evaluation_periods
    real = [point for point in points if point is not None]
    used = real[:wanted]
    filled = wanted - len(used)
    return Verdict(None if _too_few_samples(alarm, used) else _value(alarm, points, used, filled), used, filled)


def _value(alarm: MetricAlarm, points: Datapoints, used: Sequence[Datapoint], filled: int) -> AlarmValue | None:
    breaching = sum(alarm.breaches(point.value) for point in used)
    if breaching >= alarm.breaching_min:
        return AlarmValue.ALARM
    if not filled:
        return AlarmValue.OK
    missing = alarm.missing or Missing.MISSING
    match missing:
        case Missing.BREACHING:
            return AlarmValue.ALARM if breaching + filled >= alarm.breaching_min else AlarmValue.OK
        case Missing.NOT_BREACHING:
            return AlarmValue.OK
        case Missing.MISSING | Missing.IGNORE:
            if breaching < len(used):
                return AlarmValue.OK
            if missing is Missing.IGNORE:
                return None
            # All that is known breaches. Where the oldest such point is M periods old, and so no newer one can undo it
            # in time, that is an alarm; before that it would be premature.
            age = next((age for age in range(len(points), 0, -1) if points[age - 1] is not None), 0)
            return AlarmValue.ALARM if age >= alarm.breaching_min else AlarmValue.INSUFFICIENT_DATA
        case _:
            assert_never(missing)


def _too_few_samples(alarm: MetricAlarm, used: Sequence[Datapoint]) -> bool:
    stat = alarm.watched.stat
    if not alarm.ignore_low_samples or stat is None or not used:
        return False
    return sum(point.samples or 0.0 for point in used) < samples_min(stat.stat)


def ticks(alarm: MetricAlarm, evaluated_us: int | None, now_s: int, ticks_max: int) -> list[int]:
    """Ends of evaluation windows (UTC seconds) that fell due since the last evaluation, the oldest first.

    At most the last `ticks_max`; none where the clock stands before the last evaluation, which is not done twice.
    """
    every_s = alarm.every_s
    last = now_s // every_s * every_s
    if evaluated_us is None:
        return [last]
    first = (evaluated_us // MICROS) // every_s * every_s + every_s
    return list(range(max(first, last - (ticks_max - 1) * every_s), last + 1, every_s))
