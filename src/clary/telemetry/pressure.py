"""How many requests each variant had in each of the last seconds: what scaling without configuration goes by.

Kept in memory, fed with the deltas that the metric store took for the first time, bounded by what is routed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from clary.kit.clock import MICROS
from clary.telemetry.delta import Delta

KEPT_S = 30
"""Seconds that are kept of a variant. An idle one tells of its zeros every ten."""
FORGET_S = 600
"""A variant that has been silent for so long is routed no more."""


@dataclass(frozen=True)
class Second:
    """One second of one variant, over all routers."""

    at_s: int
    """Its start, UTC seconds."""
    load: float
    """Requests at the model or waiting for it, on average."""
    calls: int
    """Requests that ended."""


class Pressure:
    """The last seconds of every variant, by endpoint uid and variant name. Used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[tuple[str, str], dict[int, Second]] = {}

    def add(self, deltas: Iterable[Delta]) -> None:
        """Count what routers told."""
        with self._lock:
            newest_s = 0
            for delta in deltas:
                at_s = delta.at_us // MICROS
                newest_s = max(newest_s, at_s)
                for told in delta.variants:
                    if told.replica:
                        continue  # the variant's own holds it too
                    seconds = self._seconds.setdefault((told.endpoint_uid, told.variant), {})
                    old = seconds.get(at_s) or Second(at_s, 0.0, 0)
                    seconds[at_s] = Second(at_s, old.load + told.load, old.calls + told.invocations)
            self._forget(newest_s)

    def of(self, endpoint_uid: str, variant: str) -> tuple[Second, ...]:
        """What was told of a variant, the oldest second first; a second that is absent had nothing to tell."""
        with self._lock:
            seconds = self._seconds.get((endpoint_uid, variant), {})
            return tuple(seconds[at_s] for at_s in sorted(seconds))

    def _forget(self, newest_s: int) -> None:
        for key, seconds in list(self._seconds.items()):
            last_s = max(seconds)
            if last_s < newest_s - FORGET_S:
                del self._seconds[key]
            elif len(seconds) > KEPT_S:
                self._seconds[key] = {at_s: one for at_s, one in seconds.items() if at_s > last_s - KEPT_S}
