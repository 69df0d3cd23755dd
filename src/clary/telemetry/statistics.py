"""Statistics over stored metrics: the rules of CloudWatch's read operations, without its wire.

Rules of rounding, periods and retention: API reference, GetMetricStatistics and GetMetricData. Alarms and scaling read
through the same functions.
"""

from __future__ import annotations

import math
import re
import sqlite3
from dataclasses import dataclass
from typing import Literal, assert_never

from clary.domain.errors import NotServed
from clary.domain.principal import Scope
from clary.telemetry.points import Cell
from clary.telemetry.query import Metric, Point, read_points, resolution_for
from clary.telemetry.store import RETENTION_S

SHORT_PERIODS_S = frozenset({1, 5, 10, 20, 30})

Name = Literal["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
_NAMES: dict[str, Name] = {
    "SampleCount": "SampleCount",
    "Average": "Average",
    "Sum": "Sum",
    "Minimum": "Minimum",
    "Maximum": "Maximum",
}
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100(?:\.0{1,10})?)")
_NOT_SERVED = re.compile(r"(?:tm|wm|tc|ts|pr)[(\d].*|iqm|IQM")


@dataclass(frozen=True)
class Percentile:
    """`p99`: `fraction` is 0.99."""

    fraction: float


Stat = Name | Percentile


@dataclass(frozen=True)
class Window:
    """Periods of `period_s` from `start_s` (inclusive) to `end_s` (exclusive), UTC seconds."""

    start_s: int
    end_s: int
    period_s: int


@dataclass(frozen=True)
class Question:
    """One metric over one window."""

    metric: Metric
    window: Window
    unit: str | None = None
    """Only points in this unit, never converted; None takes any."""
    percentiles: bool = False
    """Whether `value` will be asked for a percentile: sketches are read then only."""


def is_period(period_s: int) -> bool:
    """1, 5, 10, 20, 30 or a multiple of 60 seconds."""
    return period_s in SHORT_PERIODS_S or (period_s > 0 and period_s % 60 == 0)


def window(start_s: float, end_s: float, period_s: int, now_s: float) -> Window:
    """The window that is looked at: its start is rounded down, by its age, or to the period below a minute.

    Younger than 15 days: to 60 s; than 63 days: to 300 s; else to 3600 s. Below a minute the end is rounded down too.
    """
    if period_s < 60:
        return Window(_down(start_s, period_s), _down(end_s, period_s), period_s)
    age_s = now_s - start_s
    grid_s = 60 if age_s < RETENTION_S[60] else 300 if age_s < RETENTION_S[300] else 3600
    return Window(_down(start_s, grid_s), math.ceil(end_s), period_s)


def parse_stat(text: str) -> Stat | None:
    """The statistic of that name; None for none. NotServed for the extended ones that are not percentiles."""
    if name := _NAMES.get(text):
        return name
    if matched := _PERCENTILE.fullmatch(text):
        return Percentile(float(matched[1]) / 100)
    if _NOT_SERVED.fullmatch(text):
        raise NotServed(f"The statistic {text}", f"Use {', '.join(_NAMES)} or a percentile such as p99.")
    return None


def value(stat: Stat, cell: Cell) -> float | None:
    """The statistic of a cell; None for a percentile where some of its values are known by sums and extremes only.

    Nor are there percentiles where a value is negative (user guide, "Percentiles"). They are within 1 %
    (telemetry.sketch), and exact where all values are equal. A counter that stood still has zeros, not nothing.
    """
    least, most = cell.min or 0.0, cell.max or 0.0
    match stat:
        case "SampleCount":
            return cell.count
        case "Average":
            return cell.average
        case "Sum":
            return cell.sum
        case "Minimum":
            return least
        case "Maximum":
            return most
        case Percentile(fraction):
            if least == most:
                return least
            if cell.sketch is None or least < 0 or cell.sketch.count != cell.count:
                return None
            return most if fraction >= 1 else min(max(cell.sketch.quantile(fraction), least), most)
        case _:
            assert_never(stat)


def points_of(db: sqlite3.Connection, scope: Scope, question: Question) -> list[Point]:
    """The points of a question, a period each, in order of time; several at one time, by unit, where units differ."""
    seen = question.window
    span = (resolution_for(seen.period_s, seen.start_s), seen.start_s, seen.end_s)
    return _periods(read_points(db, scope, question.metric, span, sketches=question.percentiles), question)


def moments_of(db: sqlite3.Connection, scope: Scope, question: Question, stat: Stat) -> dict[int, tuple[float, Cell]]:
    """A statistic and what it is of, by time (UTC seconds), in order of time.

    Where one moment has points of several units, the first by name that has the statistic counts, for whoever asks.
    """
    found: dict[int, tuple[float, Cell]] = {}
    for point in points_of(db, scope, question):
        if point.at_s not in found and (number := value(stat, point.cell)) is not None:
            found[point.at_s] = number, point.cell
    return found


def _periods(points: list[Point], question: Question) -> list[Point]:
    """Points of a roll-up, gathered into the periods asked for."""
    start_s, period_s = question.window.start_s, question.window.period_s
    gathered: dict[tuple[int, str], Cell] = {}
    for point in points:
        if question.unit in (None, point.unit):
            at_s = start_s + (point.at_s - start_s) // period_s * period_s
            gathered.setdefault((at_s, point.unit), Cell()).merge(point.cell)
    return [Point(at_s, unit, gathered[at_s, unit]) for at_s, unit in sorted(gathered)]


def _down(at_s: float, grid_s: int) -> int:
    return math.floor(at_s / grid_s) * grid_s
