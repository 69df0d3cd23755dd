"""StateReason and StateReasonData of alarms.

Words: the user guide's "Alarm events and EventBridge", and public reports for what it lacks: missing data
(`no datapoints were received`, `missing datapoints were treated as`), many points (`The most recent datapoints which
crossed the threshold`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from clary.domain.alarms import AlarmValue, Comparison, MetricAlarm, Missing, stamp
from clary.kit.clock import MICROS
from clary.reconcile.alarms import Datapoint, Verdict

SHOWN_MAX = 5
"""Data points named in a reason; of more the most recent."""
RECENT_MAX = 60
"""Data points in the reason's data, whose text the API limits to 4000 characters."""

_WORDS = {
    Comparison.GREATER: "greater than",
    Comparison.GREATER_OR_EQUAL: "greater than or equal to",
    Comparison.LESS: "less than",
    Comparison.LESS_OR_EQUAL: "less than or equal to",
}
_TREATED = {Missing.BREACHING: "Breaching", Missing.NOT_BREACHING: "NonBreaching", Missing.IGNORE: "Ignored"}


def reason_of(alarm: MetricAlarm, verdict: Verdict) -> str:
    """Why the data gives the verdict's state."""
    assert verdict.value is not None, "a state that stays has the reason it had"
    periods = alarm.evaluation_periods
    if verdict.value is AlarmValue.INSUFFICIENT_DATA:
        return f"Insufficient Data: {_count(verdict.filled, 'datapoint')} {_were(verdict.filled)} unknown."
    if not verdict.used:
        text = f"no datapoints were received for {_count(periods, 'period')} and {_missing(alarm, verdict.filled)}"
        return f"Threshold Crossed: {text}."
    alarming = verdict.value is AlarmValue.ALARM
    crossed = [point for point in verdict.used if alarm.breaches(point.value) is alarming]
    # Filled-in points alone decided: all that is real stood on the other side.
    shown = crossed or list(verdict.used)
    real = alarming if crossed else not alarming
    text = (
        f"{_points(alarm, shown)} {_were(len(shown))} {'' if real else 'not '}{_WORDS[alarm.comparison]} the threshold"
    )
    text = f"{text} ({float(alarm.threshold)!r})"
    if len(shown) > SHOWN_MAX:
        listed = ", ".join(_shown(point) for point in shown[:SHOWN_MAX])
        text = f"{text}. The most recent datapoints which crossed the threshold: [{listed}]"
    if verdict.filled and alarm.missing in (Missing.BREACHING, Missing.NOT_BREACHING):
        text = f"{text} and {_missing(alarm, verdict.filled)}"
    if alarm.datapoints_to_alarm is not None:
        least = alarm.breaching_min if alarming else periods - alarm.breaching_min + 1
        change = "OK -> ALARM" if alarming else "ALARM -> OK"
        text = f"{text} (minimum {_count(least, 'datapoint')} for {change} transition)"
    return f"Threshold Crossed: {text}."


def reason_data_of(alarm: MetricAlarm, verdict: Verdict, now_us: int) -> str:
    """The same as JSON: `recentDatapoints` with the oldest first, `evaluatedDatapoints` with the newest first."""
    watched = alarm.watched.stat
    recent = list(verdict.used[:RECENT_MAX])
    data: dict[str, Any] = {"version": "1.0", "queryDate": stamp(now_us)}
    if recent:
        data["startDate"] = stamp(recent[-1].at_s * MICROS)
    if watched is not None:
        if watched.unit:
            data["unit"] = watched.unit
        data["statistic"] = watched.stat
    data |= {
        "period": alarm.period_s,
        "recentDatapoints": [point.value for point in reversed(recent)],
        "threshold": float(alarm.threshold),
        "evaluatedDatapoints": [_evaluated(point) for point in recent[: RECENT_MAX // 3]],
    }
    return json.dumps(data, separators=(",", ":"))


def _evaluated(point: Datapoint) -> dict[str, Any]:
    samples = {} if point.samples is None else {"sampleCount": point.samples}
    return {"timestamp": stamp(point.at_s * MICROS), **samples, "value": point.value}


def _points(alarm: MetricAlarm, shown: Sequence[Datapoint]) -> str:
    if alarm.datapoints_to_alarm is None:
        counted = _count(len(shown), "datapoint")
    else:
        counted = f"{len(shown)} out of the last {_count(alarm.evaluation_periods, 'datapoint', always=True)}"
    if len(shown) > SHOWN_MAX:
        return counted
    return f"{counted} [{', '.join(_shown(point) for point in shown)}]"


def _shown(point: Datapoint) -> str:
    return f"{point.value!r} ({datetime.fromtimestamp(point.at_s, UTC):%d/%m/%y %H:%M:%S})"


def _missing(alarm: MetricAlarm, count: int) -> str:
    treated = _TREATED.get(alarm.missing or Missing.MISSING, "Missing")
    return f"{_count(count, 'missing datapoint')} {_were(count)} treated as [{treated}]"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _count(count: int, noun: str, *, always: bool = False) -> str:
    return f"{count} {noun}{'' if count == 1 and not always else 's'}"
