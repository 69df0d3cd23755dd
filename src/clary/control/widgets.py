"""Metric widgets: the JSON of GetMetricWidgetImage and of dashboards' metric widgets, found right and read.

After "GetMetricWidgetImage: Metric Widget Structure and Syntax" in CloudWatch's API reference. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from clary.domain.errors import Invalid, NotServed
from clary.telemetry import expressions
from clary.telemetry.expressions import BadExpression, Expression
from clary.telemetry.labels import check_label, zone_of
from clary.telemetry.query import Metric
from clary.telemetry.statistics import Stat, is_period, parse_stat

METRICS_MAX = 100
PIXELS_MAX = 2000
BODY_CHARS_MAX = 100 * 1024
VIEWS = ("timeSeries", "singleValue", "bar")
POSITIONS = ("bottom", "right", "hidden")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}|#[0-9a-fA-F]{3}")
_DURATION = re.compile(
    r"-P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)
_KNOWN = frozenset(
    (
        *("metrics", "annotations", "end", "height", "legend", "liveData", "period", "region", "stacked", "start"),
        *("stat", "theme", "timezone", "title", "view", "width", "yAxis"),
    )
)
_RENDERING = frozenset(
    ("accountId", "color", "expression", "id", "label", "period", "region", "stat", "visible", "yAxis")
)

Json = Mapping[str, Any]
"""An object of a user's JSON, before it is read."""


@dataclass(frozen=True)
class Line:
    """One entry of `metrics`."""

    id: str
    metric: Metric | None
    """None: an expression."""
    expression: Expression | None
    stat: Stat
    period_s: int
    label: str | None
    colour: str | None
    visible: bool
    right: bool
    """On the right axis."""


@dataclass(frozen=True)
class Mark:
    """An annotation. `values`: one number or two that bound a band; of a vertical one in UTC seconds."""

    values: tuple[float, ...]
    label: str
    colour: str | None
    fill: str
    """none, above and below of a horizontal one, before and after of a vertical one."""
    right: bool = False


@dataclass(frozen=True)
class Axis:
    """`yAxis.left` or `.right`."""

    label: str = ""
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Widget:
    """A widget that was found right."""

    lines: tuple[Line, ...]
    start_s: float
    end_s: float
    zone: timezone
    width: int = 600
    height: int = 400
    title: str = ""
    view: str = "timeSeries"
    stacked: bool = False
    legend: str = "bottom"
    live: bool = False
    """Whether a period that has not ended is shown."""
    dark: bool = False
    left: Axis = field(default_factory=Axis)
    right: Axis = field(default_factory=Axis)
    horizontal: tuple[Mark, ...] = ()
    vertical: tuple[Mark, ...] = ()


def read_widget(given: Json, now: datetime, region: str) -> Widget:
    """A widget of its JSON. Invalid names what is wrong; NotServed what CloudWatch has and Clary has not."""
    for name in given:
        if name not in _KNOWN:
            raise Invalid(f"{name!r} is not a field of a metric widget")
    if given.get("region", region) != region:
        raise Invalid(f"region must be {region}: the image is of the region that is asked")
    start, end = (_time(given, name, default, now) for name, default in (("start", "-PT3H"), ("end", "-PT0H")))
    if start >= end:
        raise Invalid("start must be before end")
    view = _choice(given, "view", VIEWS, "timeSeries", others=("gauge", "pie", "table", "text"))
    zone_text = _text(given, "timezone") or "+0000"
    marks = given.get("annotations") or {}
    if not isinstance(marks, dict):
        raise Invalid("annotations must be an object")
    for name in marks:
        if name == "alarms":
            raise NotServed("The annotation of an alarm", "Give its threshold as a horizontal annotation.")
        if name not in ("horizontal", "vertical"):
            raise Invalid(f"annotations.{name} is not known; there are horizontal and vertical")
    axes = given.get("yAxis") or {}
    if not isinstance(axes, dict) or set(axes) - {"left", "right"}:
        raise Invalid("yAxis must be an object with left and right")
    legend = given.get("legend") or {}
    if not isinstance(legend, dict) or set(legend) - {"position"}:
        raise Invalid("legend must be an object with position")
    return Widget(
        lines=tuple(read_lines(given, region)),
        start_s=start.timestamp(),
        end_s=end.timestamp(),
        zone=zone_of(zone_text),
        width=_whole(given, "width", 600, 1, PIXELS_MAX),
        height=_whole(given, "height", 400, 1, PIXELS_MAX),
        title=_text(given, "title"),
        view=view,
        stacked=_flag(given, "stacked"),
        legend=_choice(legend, "position", POSITIONS, "bottom"),
        live=_flag(given, "liveData"),
        dark=_choice(given, "theme", ("light", "dark"), "light") == "dark",
        left=_axis(axes.get("left"), "left"),
        right=_axis(axes.get("right"), "right"),
        horizontal=tuple(_marks(marks, "horizontal", ("none", "above", "below"), _number)),
        vertical=tuple(_marks(marks, "vertical", ("none", "before", "after"), _instant)),
    )


def read_lines(given: Json, region: str) -> Iterator[Line]:
    """The entries of `metrics`, with `.` and `...` filled in from the one before."""
    entries = given.get("metrics")
    if not isinstance(entries, list) or not 1 <= len(entries) <= METRICS_MAX:
        raise Invalid(f"metrics must be an array of 1 to {METRICS_MAX} metrics and expressions")
    before: list[str] = []
    taken: set[str] = set()
    defaults = {name: given[name] for name in ("stat", "period") if name in given}
    lines = []
    for number, entry in enumerate(entries):
        path = f"metrics[{number}]"
        if not isinstance(entry, list) or not entry:
            raise Invalid(f"{path} must be an array")
        rendering: Json = entry[-1] if isinstance(entry[-1], dict) else {}
        names = list(entry[:-1] if isinstance(entry[-1], dict) else entry)
        if names:
            names = before = _filled(names, before, path)
        line = _line(names, {**defaults, **rendering}, path, number, region)
        if line.id in taken:
            raise Invalid(f"{path}: the id {line.id!r} is given twice")
        taken.add(line.id)
        lines.append(line)
    try:
        expressions.check(
            {line.id for line in lines if line.metric is not None},
            {line.id: line.expression for line in lines if line.expression is not None},
        )
    except BadExpression as error:
        raise Invalid(f"metrics: {error.message}") from None
    yield from lines


def _filled(names: Sequence[Any], before: Sequence[str], path: str) -> list[str]:
    """`.` stands for what was at its place in the entry before, a leading `...` for all that is not given again."""
    if names[0] == "...":
        rest = names[1:]
        if not before or len(rest) > len(before):
            raise Invalid(f"{path}: '...' has no entry before it to take from")
        names = [*before[: len(before) - len(rest)], *rest]
    filled = []
    for at, name in enumerate(names):
        if name == ".":
            if at >= len(before):
                raise Invalid(f"{path}: '.' at {at} has nothing before it to take")
            name = before[at]  # noqa: PLW2901 - the place's own name
        if not isinstance(name, str) or not name:
            raise Invalid(f"{path} must hold texts: namespace, metric, then names and values of dimensions")
        filled.append(name)
    if len(filled) < 2 or len(filled) % 2:
        raise Invalid(f"{path} must hold a namespace, a metric, and then pairs of dimension and value")
    return filled


def _line(names: Sequence[str], given: Json, path: str, number: int, region: str) -> Line:
    for name in given:
        if name not in _RENDERING:
            raise Invalid(f"{path}: {name!r} is not a property of a metric")
    if given.get("region", region) != region:
        raise NotServed("A metric of another region in one widget", f"Ask the region {given['region']} itself.")
    if "accountId" in given:
        raise NotServed("A metric of another account", "Leave accountId out.")
    text = given.get("expression")
    if (text is None) == (not names):
        raise Invalid(f"{path} must hold either a metric or an expression")
    id = _text(given, "id") or f"line_{number}"
    if not re.fullmatch(r"[a-z][a-zA-Z0-9_]*", id):
        raise Invalid(f"{path}: the id {id!r} must begin with a small letter and hold letters, digits and _")
    stat = parse_stat(_text(given, "stat") or "Average")
    if stat is None:
        raise Invalid(f"{path}: stat {given['stat']!r} is not a valid statistic")
    period_s = _whole(given, "period", 300, 1, 86400 * 455)
    if not is_period(period_s):
        raise Invalid(f"{path}: period must be 1, 5, 10, 20, 30 or a multiple of 60")
    label = given.get("label")
    if label is not None:
        check_label(_text(given, "label"))
    return Line(
        id=id,
        metric=_metric(names) if names else None,
        expression=None if text is None else _compiled(text, path),
        stat=stat,
        period_s=period_s,
        label=label,
        colour=_colour(given),
        visible=_flag(given, "visible", default=True),
        right=_choice(given, "yAxis", ("left", "right"), "left") == "right",
    )


def _metric(names: Sequence[str]) -> Metric:
    return Metric(names[0], names[1], tuple(sorted(zip(names[2::2], names[3::2], strict=True))))


def _compiled(text: Any, path: str) -> Expression:
    if not isinstance(text, str):
        raise Invalid(f"{path}: expression must be a text")
    try:
        return expressions.compile(text)
    except BadExpression as error:
        raise Invalid(f"{path}: {error.message}") from None


def _marks(given: Json, name: str, fills: Sequence[str], value: Callable[[Any, str], float]) -> Iterator[Mark]:
    entries = given.get(name) or []
    if not isinstance(entries, list):
        raise Invalid(f"annotations.{name} must be an array")
    for number, entry in enumerate(entries):
        path = f"annotations.{name}[{number}]"
        band = entry if isinstance(entry, list) else [entry]
        if not 1 <= len(band) <= 2 or not all(isinstance(one, dict) and "value" in one for one in band):
            raise Invalid(f"{path} must be an object with a value, or two of them")
        for one in band:
            if set(one) - {"value", "label", "color", "fill", "visible", "yAxis"}:
                raise Invalid(f"{path} may hold value, label, color, fill, visible and yAxis")
        first = band[0]
        mark = Mark(
            tuple(value(one["value"], path) for one in band),
            _text(first, "label"),
            _colour(first),
            _choice(first, "fill", fills, "none"),
            _choice(first, "yAxis", ("left", "right"), "left") == "right",
        )
        if _flag(first, "visible", default=True):
            yield mark


def _axis(given: Any, name: str) -> Axis:
    if given is None:
        return Axis()
    if not isinstance(given, dict) or set(given) - {"label", "min", "max", "showUnits"}:
        raise Invalid(f"yAxis.{name} may hold label, min, max and showUnits")
    _flag(given, "showUnits")  # Clary never writes units on an axis: a label says what is wanted.
    least, most = (
        None if given.get(bound) is None else _number(given[bound], f"yAxis.{name}.{bound}") for bound in ("min", "max")
    )
    if least is not None and most is not None and least >= most:
        raise Invalid(f"yAxis.{name}.min must be less than its max")
    return Axis(_text(given, "label"), least, most)


def _number(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
        raise Invalid(f"{path}: {value!r} is not a number")
    return float(value)


def _instant(value: Any, path: str) -> float:
    try:
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        raise Invalid(f"{path}: {value!r} is not a time such as 2031-01-05T08:00:00Z") from None


def _time(given: Json, name: str, default: str, now: datetime) -> datetime:
    text = _text(given, name) or default
    found = _DURATION.fullmatch(text)
    try:
        if found is not None and any(found.groups()):
            return now - timedelta(**{unit: int(count) for unit, count in found.groupdict().items() if count})
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(
            f"{name}: {text!r} is neither a time such as 2031-01-05T08:00:00Z nor one such as -PT3H"
        ) from None


def _colour(given: Json) -> str | None:
    text = _text(given, "color")
    if text and not _COLOUR.fullmatch(text):
        raise Invalid(f"color: {text!r} must be # with three or six hexadecimal digits")
    return text or None


def _text(given: Json, name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > 1024:
        raise Invalid(f"{name} must be a text of at most 1024 characters")
    return value


def _flag(given: Json, name: str, *, default: bool = False) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise Invalid(f"{name} must be true or false")
    return value


def _whole(given: Json, name: str, default: int, low: int, high: int) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Invalid(f"{name} must be a whole number from {low} to {high}")
    return value


def _choice(given: Json, name: str, allowed: Sequence[str], default: str, others: Sequence[str] = ()) -> str:
    value = given.get(name, default)
    if value in others:
        raise NotServed(f"The {name} {value!r} of a widget", f"There are {', '.join(allowed)}.")
    if value not in allowed:
        raise Invalid(f"{name} must be one of {', '.join(allowed)}")
    return str(value)
