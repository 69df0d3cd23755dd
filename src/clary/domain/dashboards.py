"""Dashboards: what their JSON must be ("Dashboard Body Structure and Syntax", CloudWatch API reference). Pure.

A fault is an error where the dashboard cannot be stored, and a warning where a part of it may not be shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
WIDGETS_MAX = 500
METRICS_MAX = 500
"""In one widget."""
KINDS = ("alarm", "custom", "explorer", "log", "metric", "text")

_BODY = frozenset({"widgets", "start", "end", "periodOverride", "variables"})
_WIDGET = frozenset({"type", "x", "y", "width", "height", "properties"})
_GRID = {"x": (0, 23), "y": (0, 10_000), "width": (1, 24), "height": (1, 1000)}
_VIEWS = ("bar", "gauge", "pie", "singleValue", "table", "text", "timeSeries")


@dataclass(frozen=True)
class Fault:
    """Something that is wrong."""

    path: str
    """`/widgets/0/properties/metrics`; empty for the whole."""
    message: str
    error: bool
    """False: a warning."""


def _no_json(constant: str) -> float:
    """NaN and Infinity, which Python would take; ValueError."""
    raise ValueError(constant)


def faults(body: str) -> list[Fault]:
    """All that is wrong with a dashboard's body, in its order."""
    try:
        document = json.loads(body, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return [Fault("", "The field DashboardBody must be a valid JSON object", error=True)]
    if not isinstance(document, dict):
        return [Fault("", "The field DashboardBody must be a valid JSON object", error=True)]
    return list(_body(document))


def _body(document: dict[str, Any]) -> Iterator[Fault]:
    yield from _unknown(document, _BODY, "")
    if document.get("periodOverride", "auto") not in ("auto", "inherit"):
        yield Fault("/periodOverride", "Should be equal to one of: auto, inherit", error=True)
    if "end" in document and "start" not in document:
        yield Fault("/end", "Should have property start when property end is present", error=True)
    for name in ("start", "end"):
        if not isinstance(document.get(name, ""), str):
            yield Fault(f"/{name}", "Should be a string", error=True)
    widgets = document.get("widgets")
    if not isinstance(widgets, list):
        yield Fault("/widgets", "Should be an array" if "widgets" in document else "Should have property widgets", True)
        return
    if len(widgets) > WIDGETS_MAX:
        yield Fault("/widgets", f"Should NOT have more than {WIDGETS_MAX} items", error=True)
        return
    for number, widget in enumerate(widgets):
        yield from _widget(widget, f"/widgets/{number}")


def _widget(widget: Any, path: str) -> Iterator[Fault]:
    if not isinstance(widget, dict):
        yield Fault(path, "Should be an object", error=True)
        return
    yield from _unknown(widget, _WIDGET, path)
    for name, (low, high) in _GRID.items():
        value = widget.get(name, low)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            yield Fault(f"{path}/{name}", f"Should be an integer from {low} to {high}", error=True)
    if ("x" in widget) != ("y" in widget):
        yield Fault(path, "Should have both properties x and y, or neither", error=True)
    kind, properties = widget.get("type"), widget.get("properties")
    if kind not in KINDS:
        yield Fault(f"{path}/type", f"Should be equal to one of: {', '.join(KINDS)}", error=True)
        return
    if not isinstance(properties, dict):
        yield Fault(f"{path}/properties", "Should be an object", error=True)
        return
    inner = f"{path}/properties"
    if kind == "metric":
        yield from _metric(properties, inner)
    needs = {"text": ("markdown", str), "alarm": ("alarms", list), "log": ("query", str), "custom": ("endpoint", str)}
    if kind in needs:
        name, form = needs[kind]
        if name not in properties:
            yield Fault(inner, f"Should have required property '{name}'", error=True)
        elif not isinstance(properties[name], form):
            yield Fault(f"{inner}/{name}", f"Should be {'a string' if form is str else 'an array'}", error=True)
    if kind not in ("metric", "text"):
        yield Fault(path, f"Clary keeps a widget of the type {kind} and has nothing to show it with", error=False)


def _metric(properties: dict[str, Any], path: str) -> Iterator[Fault]:
    metrics, marks = properties.get("metrics"), properties.get("annotations")
    alarms = isinstance(marks, dict) and bool(marks.get("alarms"))
    if metrics is None and not alarms:
        yield Fault(path, "Should have required property 'metrics', or alarms in 'annotations'", error=True)
    elif metrics is not None and not (isinstance(metrics, list) and 1 <= len(metrics) <= METRICS_MAX):
        yield Fault(f"{path}/metrics", f"Should be an array of 1 to {METRICS_MAX} items", error=True)
    elif metrics is not None:
        for number, one in enumerate(metrics):
            if not isinstance(one, list) or not one:
                yield Fault(f"{path}/metrics/{number}", "Should be an array with at least 1 item", error=True)
    if "region" not in properties:
        yield Fault(path, "Should have required property 'region'", error=True)
    if properties.get("view", "timeSeries") not in _VIEWS:
        yield Fault(f"{path}/view", f"Should be equal to one of: {', '.join(_VIEWS)}", error=True)


def _unknown(given: dict[str, Any], known: frozenset[str], path: str) -> Iterator[Fault]:
    for name in given:
        if name not in known:
            # JSON may hold half a character (\ud800), which no answer can.
            shown = name.encode("utf-8", "replace").decode()
            yield Fault(f"{path}/{shown}", "Is not a property that a dashboard has", error=False)
