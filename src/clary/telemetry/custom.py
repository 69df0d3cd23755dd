"""What somebody publishes (PutMetricData, embedded metrics): in which namespaces, and its values as cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clary.telemetry.points import Cell
from clary.telemetry.sketch import Sketch

OWN_NAMESPACES = frozenset(
    f"/aws/sagemaker/{kind}" for kind in ("Endpoints", "TrainingJobs", "ProcessingJobs", "TransformJobs")
)
"""Namespaces of Clary's own metrics, besides those in `AWS/`."""
VALUE_MAX = 2.0**360
"""Values lie between minus this and this (API reference, PutMetricData)."""


def is_reserved(namespace: str) -> bool:
    """Whether a namespace is the server's: users publish elsewhere, so that their series never keep its own out."""
    return namespace.upper().startswith("AWS/") or namespace in OWN_NAMESPACES


def cell_of(values: Sequence[float], counts: Sequence[float] | None = None) -> Cell:
    """Values and how often each occurred, once where that is not said. There is at least one, and every one is finite.

    Percentiles are kept unless a value is negative or a count is no whole number.
    """
    times = counts or [1.0] * len(values)
    sketch: Sketch | None = None
    if min(values) >= 0 and all(count == int(count) for count in times):
        sketch = Sketch()
        for value, count in zip(values, times, strict=True):
            sketch.observe(value, int(count))
    total = math.fsum(value * count for value, count in zip(values, times, strict=True))
    return Cell(math.fsum(times), total, min(values), max(values), sketch)


def cell_of_statistics(count: float, total: float, least: float, most: float) -> Cell:
    """A statistic set, whose values are unknown: percentiles only where all values must be the same one."""
    if least == most and least >= 0 and count == int(count):
        sketch = Sketch()
        sketch.observe(least, int(count))
        return Cell(count, total, least, most, sketch)
    return Cell(count, total, least, most)
