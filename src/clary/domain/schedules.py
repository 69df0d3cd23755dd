"""Schedules of scheduled actions: `at(...)`, `rate(...)` and `cron(...)` as Application Auto Scaling writes them. Pure.

Cron has AWS's six fields - minutes, hours, day of month, month, day of week (1 is Sunday), year - with `?`, `L`, `W`
and `#`; exactly one of the two days is `?`. (The kept libraries read five fields with other numbers for days, so this
parser is Clary's own.)

Local times of `at` and `cron` are of the action's time zone. A time that a clock change leaves out comes when the clock
has jumped; one that it repeats comes once, the first time.
"""

from __future__ import annotations

import calendar
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Union
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from clary.domain.errors import Invalid
from clary.kit.instants import MICROS

YEARS_AHEAD = 41
"""How far a cron is looked into: its rarest day, a 29 February of a given weekday, comes after 40 years at most."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_RATE = re.compile(r"rate\(([1-9]\d{0,8}) (minutes?|hours?|days?)\)")
_CRON = re.compile(r"cron\(([^()]*)\)")
_UNITS_S = {"minute": 60, "hour": 3600, "day": 86400}
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate(("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"), 1)}


@dataclass(frozen=True)
class At:
    """Once, at a local time."""

    local: datetime


@dataclass(frozen=True)
class Rate:
    """Every `every_s` seconds, counted from the start or the creation of the action."""

    every_s: int


@dataclass(frozen=True)
class Cron:
    """Local times; days are tested one by one."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    month_days: str
    """As given, for `L` and `W`; `?` where the day of the week decides."""
    months: frozenset[int]
    week_days: str
    years: frozenset[int]

    def on(self, day: date) -> bool:
        """Whether it comes on this day."""
        if day.month not in self.months or day.year not in self.years:
            return False
        if self.week_days == "?":
            return any(_month_day(item, day) for item in self.month_days.split(","))
        return any(_week_day(item, day) for item in self.week_days.split(","))


Schedule = Union[At, Rate, Cron]


@dataclass(frozen=True)
class Times:
    """When a scheduled action comes. Instants in UTC microseconds."""

    schedule: str
    time_zone: str = ""
    """IANA name; empty: UTC."""
    start_us: int | None = None
    """Not before this instant; a rate counts from it."""
    end_us: int | None = None
    """Not after this instant."""


def check(times: Times) -> None:
    """Raise Invalid for what cannot be read or never comes within its own bounds."""
    parse(times.schedule)
    zone_of(times.time_zone)
    if times.start_us is not None and times.end_us is not None and times.end_us < times.start_us:
        raise Invalid("EndTime is before StartTime.")


@functools.lru_cache(maxsize=4096)
def next_due(times: Times, anchor_us: int, after_us: int) -> int | None:
    """The first instant after `after_us`, None where none follows. `anchor_us`: when the action was made."""
    schedule = parse(times.schedule)
    if times.start_us is not None:
        after_us = max(after_us, times.start_us - 1)
    found = _next(schedule, zone_of(times.time_zone), times.start_us or anchor_us, after_us)
    return None if found is None or (times.end_us is not None and found > times.end_us) else found


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Schedule:
    """The schedule of an expression; Invalid, which names what is wrong."""
    if matched := _AT.fullmatch(text):
        try:
            return At(datetime.fromisoformat(matched[1]))
        except ValueError as error:
            raise Invalid(f"Schedule '{text}' is not a date and time: {error}.") from None
    if matched := _RATE.fullmatch(text):
        return Rate(int(matched[1]) * _UNITS_S[matched[2].rstrip("s")])
    if matched := _CRON.fullmatch(text):
        return _cron(matched[1].split(), text)
    raise Invalid(
        f"Schedule '{text}' is none of at(yyyy-mm-ddThh:mm:ss), rate(value unit) and cron(fields): "
        "value is a positive integer, unit is minute(s), hour(s) or day(s), and cron has six fields."
    )


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that IANA name, UTC for an empty one; Invalid."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(f"Timezone '{name}' is not a time zone that this machine knows (IANA names).") from None


def _next(schedule: Schedule, zone: ZoneInfo, anchor_us: int, after_us: int) -> int | None:
    if isinstance(schedule, At):
        at_us = _us(schedule.local, zone)
        return at_us if at_us > after_us else None
    if isinstance(schedule, Rate):
        every_us = schedule.every_s * MICROS
        return anchor_us + max(1, (after_us - anchor_us) // every_us + 1) * every_us
    for day in _days(schedule, _local_day(after_us, zone)):
        for hour in schedule.hours:
            for minute in schedule.minutes:
                at_us = _us(datetime(day.year, day.month, day.day, hour, minute), zone)
                if at_us > after_us:
                    return at_us
    return None


def _days(cron: Cron, first: date) -> Iterator[date]:
    """Its days from the day before `first` on: the two sides of a clock change may be of two days."""
    day = max(first, date(1970, 1, 2)) - timedelta(days=1)
    last = min(day.year + YEARS_AHEAD, max(cron.years))
    while day.year <= last:
        if cron.on(day):
            yield day
        day += timedelta(days=1)


def _local_day(at_us: int, zone: ZoneInfo) -> date:
    return (_EPOCH + timedelta(microseconds=max(0, at_us))).astimezone(zone).date()


def _us(local: datetime, zone: ZoneInfo) -> int:
    return (local.replace(tzinfo=zone) - _EPOCH) // timedelta(microseconds=1)


def _cron(fields: list[str], text: str) -> Cron:
    if len(fields) != 6:
        raise Invalid(f"Schedule '{text}' has {len(fields)} fields; cron takes six: minutes hours day-of-month month "
                      "day-of-week year.")  # fmt: skip
    minutes, hours, month_days, months, week_days, years = (field.upper() for field in fields)
    if (month_days == "?") == (week_days == "?"):
        raise Invalid(f"Schedule '{text}': exactly one of day-of-month and day-of-week is ?.")
    try:
        cron = Cron(
            minutes=tuple(sorted(_numbers(minutes, 0, 59, {}))),
            hours=tuple(sorted(_numbers(hours, 0, 23, {}))),
            month_days=month_days,
            months=frozenset(_numbers(months, 1, 12, _MONTHS)),
            week_days=week_days,
            years=frozenset(_numbers(years, 1970, 2199, {})),
        )
        # Whatever is wrong in a field of days shows on any day.
        for item in month_days.split(",") if week_days == "?" else ():
            _month_day(item, date(2000, 1, 1))
        for item in week_days.split(",") if month_days == "?" else ():
            _week_day(item, date(2000, 1, 1))
    except ValueError as error:
        raise Invalid(f"Schedule '{text}' cannot be read: {error}.") from None
    return cron


def _numbers(field: str, least: int, most: int, names: dict[str, int]) -> set[int]:
    """Every value of a field: `*`, `5`, `1-5`, `MON-FRI`, `*/15`, `10/5`, and lists of those; ValueError."""
    found: set[int] = set()
    for item in field.split(","):
        span, slash, step_text = item.partition("/")
        step = _number(step_text, 1, most, {}) if slash else 1
        if span == "*":
            low, high = least, most
        elif "-" in span:
            first, _, last = span.partition("-")
            low, high = _number(first, least, most, names), _number(last, least, most, names)
        else:
            low = _number(span, least, most, names)
            high = most if slash else low
        # A span of days or months may go over the end of the week or year: FRI-MON.
        wraps = low > high
        if wraps and not names:
            raise ValueError(f"{item!r} goes backwards")
        values = [*range(low, most + 1), *range(least, high + 1)] if wraps else list(range(low, high + 1))
        found.update(values[::step])
    return found


def _number(text: str, least: int, most: int, names: dict[str, int]) -> int:
    by_name = {name.upper(): number for name, number in names.items()}
    if text in by_name:
        return by_name[text]
    if not re.fullmatch(r"[0-9]{1,4}", text) or not least <= int(text) <= most:
        raise ValueError(f"{text!r} is not within {least} to {most}")
    return int(text)


def _month_day(item: str, day: date) -> bool:
    """`*`, `15`, `1-7`, `L` (the last), `L-3`, `LW` (the last Monday to Friday), `15W` (the one nearest to it)."""
    last = calendar.monthrange(day.year, day.month)[1]
    if item == "L":
        return day.day == last
    if item == "LW":
        return day == _nearest_weekday(date(day.year, day.month, last))
    if item.startswith("L-"):
        return day.day == last - _number(item[2:], 1, 30, {})
    if item.endswith("W"):
        number = _number(item[:-1], 1, 31, {})
        return number <= last and day == _nearest_weekday(date(day.year, day.month, number))
    return day.day in _numbers(item, 1, 31, {})


def _nearest_weekday(day: date) -> date:
    """Itself from Monday to Friday, else the nearest of those within its month."""
    if day.weekday() < 5:
        return day
    step = -1 if day.weekday() == 5 else 1
    found = day + timedelta(days=step)
    return found if found.month == day.month else day - timedelta(days=2 * step)


def _week_day(item: str, day: date) -> bool:
    """`*`, `2`, `MON-FRI`, `L` (Saturday), `6L` (the last Friday of the month), `6#3` (its third Friday)."""
    number = day.isoweekday() % 7 + 1
    if item == "L":
        return number == 7
    if item.endswith("L"):
        last = calendar.monthrange(day.year, day.month)[1]
        return number == _number(item[:-1], 1, 7, _DAYS) and day.day > last - 7
    if "#" in item:
        which, _, nth = item.partition("#")
        return (number, (day.day - 1) // 7 + 1) == (_number(which, 1, 7, _DAYS), _number(nth, 1, 5, {}))
    return number in _numbers(item, 1, 7, _DAYS)
