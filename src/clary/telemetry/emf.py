"""CloudWatch's embedded metric format: metrics within a line of a log. Pure.

A line is a JSON object whose member `_aws` says which of its other members are metrics and which are dimensions:

    {"_aws": {"Timestamp": 1924387200123, "CloudWatchMetrics": [{"Namespace": "Serving", "Dimensions": [["Endpoint"]],
     "Metrics": [{"Name": "Latency", "Unit": "Milliseconds"}]}]}, "Endpoint": "churn", "Latency": [12.5, 14]}

A directive that breaks a rule gives no metrics and the line stays a line; a metric whose member is missing or no number
is left out alone. Rules and limits: "Specification: Embedded metric format" (CloudWatch user guide).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import msgspec

from clary.telemetry.custom import VALUE_MAX, cell_of, is_reserved
from clary.telemetry.points import Cell, Dimensions, Sample, SeriesKey

LINE_BYTES_MAX = 256 << 10
DIRECTIVES_MAX = 100
METRICS_MAX = 100
DIMENSIONS_MAX = 30
SETS_MAX = 100
VALUES_MAX = 100
NAME_CHARS_MAX = 1024
NAMESPACE_CHARS_MAX = 255
DIMENSION_NAME_CHARS_MAX = 250
DIMENSION_VALUE_CHARS_MAX = 1024
_PREFIXES = ("", "Kilo", "Mega", "Giga", "Tera")
_COUNTED = ("Count", *((prefix + unit).capitalize() for prefix in _PREFIXES for unit in ("bytes", "bits")))
UNITS = frozenset(
    {"Seconds", "Microseconds", "Milliseconds", "Percent", "None", *_COUNTED, *(f"{unit}/Second" for unit in _COUNTED)}
)
"""StandardUnit of PutMetricData."""
_MARK = b'"CloudWatchMetrics"'


@dataclass(frozen=True)
class Place:
    """Whose log it is."""

    account: str
    region: str


def samples_of(line: bytes, place: Place) -> list[Sample]:
    """The metrics of one line; none where it is not of the format."""
    if _MARK not in line or len(line) > LINE_BYTES_MAX:
        return []
    try:
        root = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    told = root.get("_aws") if isinstance(root, dict) else None
    if not isinstance(told, dict):
        return []
    at_ms, directives = told.get("Timestamp"), told.get("CloudWatchMetrics")
    if not _is_number(at_ms) or at_ms < 0 or not isinstance(directives, list) or len(directives) > DIRECTIVES_MAX:
        return []
    return [sample for one in directives for sample in _directive(one, root, int(at_ms) // 1000, place)]


def _directive(told: Any, root: dict[str, Any], at_s: int, place: Place) -> Iterator[Sample]:
    if not isinstance(told, dict):
        return
    namespace, metrics = told.get("Namespace"), told.get("Metrics")
    sets = _dimension_sets(told.get("Dimensions"), root)
    if not _is_text(namespace, NAMESPACE_CHARS_MAX) or is_reserved(namespace) or sets is None:
        return
    if not isinstance(metrics, list) or len(metrics) > METRICS_MAX:
        return
    for metric in metrics:
        found = _metric(metric, root)
        if found is None:
            continue
        name, unit, cell = found
        for dimensions in sets:
            key = SeriesKey(place.account, place.region, namespace, name, dimensions, unit)
            # A cell of its own each: the store may merge into it.
            yield Sample(key, at_s, Cell(cell.count, cell.sum, cell.min, cell.max, cell.sketch))


def _dimension_sets(told: Any, root: dict[str, Any]) -> list[Dimensions] | None:
    """The sets with their values, each sorted by name and given once; None where a rule is broken."""
    if not isinstance(told, list) or len(told) > SETS_MAX:
        return None
    found: dict[Dimensions, None] = {}
    for names in told or [[]]:
        if not isinstance(names, list) or len(names) > DIMENSIONS_MAX:
            return None
        for name in names:
            if not _is_text(name, DIMENSION_NAME_CHARS_MAX):
                return None
            if not _is_text(root.get(name), DIMENSION_VALUE_CHARS_MAX):
                return None
        found[tuple((name, root[name]) for name in sorted(set(names)))] = None
    return list(found)


def _metric(told: Any, root: dict[str, Any]) -> tuple[str, str, Cell] | None:
    if not isinstance(told, dict) or not _is_text(told.get("Name"), NAME_CHARS_MAX):
        return None
    name, unit = told["Name"], told.get("Unit", "None")
    if not isinstance(unit, str) or unit not in UNITS or told.get("StorageResolution", 60) not in (1, 60):
        return None
    given = root.get(name)
    listed = given if isinstance(given, list) else [given]
    values = [float(value) for value in listed if _is_number(value)]
    if not 0 < len(values) <= VALUES_MAX or len(values) < len(listed):
        return None
    return name, unit, cell_of(values)


def _is_text(value: Any, chars_max: int) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= chars_max and value.strip() != "" and value.isprintable()


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= VALUE_MAX
