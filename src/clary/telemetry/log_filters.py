"""Metric filters applied to lines: which metric a line gives. Pure.

A line that fits gives the filter's value, a number or what a selector finds in the line; one that does not gives the
default, where there is one. A line in which a selector finds no number, or a dimension no text, gives nothing.
"Creating metrics from log events using filters" (CloudWatch Logs user guide).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from clary.telemetry.custom import VALUE_MAX, cell_of
from clary.telemetry.emf import DIMENSION_VALUE_CHARS_MAX, Place
from clary.telemetry.log_groups_own import LogFilter
from clary.telemetry.log_pattern import BadPattern, Pattern, compile_pattern
from clary.telemetry.log_pattern_tests import number_of
from clary.telemetry.points import Sample, SeriesKey


class Filters:
    """Remembers patterns that were read."""

    def __init__(self, compiled: Callable[[str], Pattern] = compile_pattern) -> None:
        self._compile = compiled
        self._patterns: dict[str, Pattern | None] = {}

    def samples_of(self, one: LogFilter, message: str, at_s: int, place: Place) -> Iterator[Sample]:
        """At most one sample."""
        pattern = self._pattern(one.pattern)
        if pattern is None:
            return
        if not pattern(message):
            if one.default is not None:
                yield _sample(one, (), one.default, at_s, place)
            return
        found = pattern.extract(message, one.value) if one.value.startswith("$") else one.value
        value = number_of(found)
        dimensions = [(name, pattern.extract(message, selector)) for name, selector in sorted(one.dimensions.items())]
        if value is None or not -VALUE_MAX <= value <= VALUE_MAX:
            return
        known = tuple((name, text) for name, text in dimensions if text)
        if len(known) == len(dimensions) and all(len(text) <= DIMENSION_VALUE_CHARS_MAX for _, text in known):
            yield _sample(one, known, value, at_s, place)

    def _pattern(self, text: str) -> Pattern | None:
        if text not in self._patterns:
            if len(self._patterns) >= 1000:
                self._patterns.clear()
            try:
                self._patterns[text] = self._compile(text)
            except BadPattern:
                self._patterns[text] = None
        return self._patterns[text]


def _sample(one: LogFilter, dimensions: tuple[tuple[str, str], ...], value: float, at_s: int, place: Place) -> Sample:
    key = SeriesKey(place.account, place.region, one.namespace, one.metric, dimensions, one.unit)
    return Sample(key, at_s, cell_of([value]))
