"""Traffic over time: described in words, or recorded in a CSV file."""

from __future__ import annotations

import csv
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clary.domain.durations import DURATION, in_seconds
from clary.domain.errors import Invalid

DAY_S = 86_400
SPAN_S_MAX = 14 * DAY_S
"""The longest span that is simulated."""
EXAMPLES = "'steady 50', 'step 100 500 at 10m', 'ramp 20 400 over 30m', 'spike 50 800 at 10m for 2m', 'day 20..600'"
_RATE = r"(\d+(?:\.\d+)?)"
_SHAPES = {
    "steady": re.compile(rf"(?:steady\s+)?{_RATE}"),
    "step": re.compile(rf"step\s+{_RATE}\s+{_RATE}\s+at\s+{DURATION}"),
    "ramp": re.compile(rf"ramp\s+{_RATE}\s+{_RATE}\s+over\s+{DURATION}"),
    "spike": re.compile(rf"spike\s+{_RATE}\s+{_RATE}\s+at\s+{DURATION}\s+for\s+{DURATION}"),
    "day": re.compile(rf"day\s+{_RATE}\s*\.\.\s*{_RATE}"),
}


@dataclass(frozen=True)
class Traffic:
    """Requests a second over time, in straight lines between points."""

    times_s: Sequence[float]
    """Seconds from the start, ascending; two equal ones are a jump."""
    rates: Sequence[float]
    """Requests a second at these."""

    @property
    def span_s(self) -> int:
        """Up to the last point."""
        return math.ceil(self.times_s[-1])

    def rate(self, at_s: float) -> float:
        """Requests a second at an instant; beyond the last point it stays as it is there."""
        after = bisect_right(self.times_s, at_s)
        if after == 0:
            return self.rates[0]
        if after == len(self.times_s):
            return self.rates[-1]
        since_s, until_s = self.times_s[after - 1], self.times_s[after]
        share = (at_s - since_s) / (until_s - since_s)
        return self.rates[after - 1] + share * (self.rates[after] - self.rates[after - 1])


def described(text: str) -> Traffic:
    """Traffic in words. Raises Invalid, with examples."""
    words = " ".join(text.lower().split())
    for shape, pattern in _SHAPES.items():
        found = pattern.fullmatch(words)
        if found is not None:
            return _drawn(shape, [part for part in found.groups() if part is not None])
    raise Invalid(f"The traffic {text!r} cannot be read; examples: {EXAMPLES}, or the path of a CSV file.")


def _drawn(shape: str, parts: Sequence[str]) -> Traffic:
    low = float(parts[0])
    if shape == "steady":
        return Traffic((0.0,), (low,))
    high = float(parts[1])
    if shape == "day":
        # Least at four in the morning, most twelve hours later; a point each ten minutes.
        times = [600.0 * number for number in range(DAY_S // 600 + 1)]
        swing = [(1 - math.cos(2 * math.pi * (at_s / DAY_S - 4 / 24))) / 2 for at_s in times]
        return Traffic(times, [low + (high - low) * share for share in swing])
    at_s = in_seconds(parts[2], parts[3])
    if shape == "ramp":
        return Traffic((0.0, at_s), (low, high))
    if shape == "step":
        return Traffic((0.0, at_s, at_s), (low, low, high))
    until_s = at_s + in_seconds(parts[4], parts[5])
    return Traffic((0.0, at_s, at_s, until_s, until_s), (low, low, high, high, low))


def recorded(path: Path) -> Traffic:
    """Traffic of a CSV file: time (seconds, or ISO 8601) and requests a second, a header or none. Raises Invalid."""
    try:
        with path.open(newline="", encoding="utf-8") as source:
            rows = [row for row in csv.reader(source) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"{path} cannot be read as CSV: {error}.") from None
    if rows and _instant(rows[0][0]) is None:
        rows = rows[1:]
    times: list[float] = []
    rates: list[float] = []
    for number, row in enumerate(rows, 1):
        at_s, rate = _instant(row[0]), _number(row[1]) if len(row) > 1 else None
        if at_s is None or rate is None or rate < 0:
            raise Invalid(f"{path}: row {number} is {','.join(row)!r}; a time and requests a second are expected.")
        if times and at_s < times[-1]:
            raise Invalid(f"{path}: row {number} is earlier than the row before it.")
        times.append(at_s)
        rates.append(rate)
    if not times:
        raise Invalid(f"{path} holds no row.")
    if times[-1] - times[0] > SPAN_S_MAX:
        raise Invalid(f"{path} spans more than {SPAN_S_MAX // DAY_S} days.")
    return Traffic([at_s - times[0] for at_s in times], rates)


def _instant(text: str) -> float | None:
    number = _number(text)
    if number is not None:
        return number
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
