"""Dynamic labels: `p99 is ${LAST}`, `${PROP('Dim.VariantName')}` ("Use dynamic labels", CloudWatch user guide).

How numbers and times are written is ours: the guide shows neither form in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from clary.domain.errors import Invalid, NotServed
from clary.telemetry.expressions import Series

DYNAMIC_MAX = 6
"""Dynamic values in one label."""

_DYNAMIC = re.compile(r"\$\{([^}]*)\}")
_PROPERTY = re.compile(r"PROP\('([^']*)'\)")
_ZONE = re.compile(r"([+-])(\d\d)(\d\d)")


def _number(value: float) -> str:
    return f"{value:.6g}"


_VALUES: dict[str, Callable[[list[float]], float]] = {
    "AVG": lambda values: sum(values) / len(values),
    "FIRST": lambda values: values[0],
    "LAST": lambda values: values[-1],
    "MAX": max,
    "MIN": min,
    "SUM": sum,
}
_TIMES = {"FIRST_TIME": "FIRST", "LAST_TIME": "LAST", "MAX_TIME": "MAX", "MIN_TIME": "MIN"}
_RANGES = {"MIN_MAX_RANGE": ("MIN", "MAX"), "FIRST_LAST_RANGE": ("FIRST", "LAST")}


def check_label(label: str) -> None:
    """Invalid for a label whose dynamic parts cannot be; NotServed for those that Clary has not."""
    names = _DYNAMIC.findall(label)
    if len(names) > DYNAMIC_MAX:
        raise Invalid(f"a label has at most {DYNAMIC_MAX} dynamic values, not {len(names)}")
    for name in names:
        known = name in _VALUES or name in _TIMES or name in _RANGES or name in ("LABEL", "DATAPOINT_COUNT")
        if not known and not _PROPERTY.fullmatch(name):
            raise NotServed(
                f"The dynamic label ${{{name}}}",
                f"Use {', '.join((*_VALUES, *_TIMES, *_RANGES, 'DATAPOINT_COUNT', 'LABEL'))} or PROP('...').",
            )


def zone_of(text: str) -> timezone:
    """`+0130`; Invalid for another form."""
    found = _ZONE.fullmatch(text)
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise Invalid(f"The time zone {text!r} must be + or - with four digits, such as +0130.")
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-ahead if found[1] == "-" else ahead)


def rendered(label: str, one: Series, zone: timezone) -> str:
    """The label of a series, whose points are in order of time. A value that it has none for is written `-`."""

    def put(found: re.Match[str]) -> str:
        name = found[1]
        property = _PROPERTY.fullmatch(name)
        if property is not None:
            return one.properties.get(property[1], "-")
        if name == "LABEL":
            return one.label
        values = list(one.points.values())
        if name == "DATAPOINT_COUNT":
            return str(len(values))
        if not values:
            return "-"
        if name in _RANGES:
            low, high = _RANGES[name]
            return f"{_number(_VALUES[low](values))} - {_number(_VALUES[high](values))}"
        if name in _TIMES:
            value = _VALUES[_TIMES[name]](values)
            times = list(one.points)
            at = times[-1] if name == "LAST_TIME" else times[values.index(value)]
            return f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M:%S}"
        return _number(_VALUES[name](values))

    return _DYNAMIC.sub(put, label)
