"""What was counted since control began: for Prometheus and OpenTelemetry, which want numbers that only grow.

Kept in memory, fed with the deltas that the metric store took for the first time. A variant of which nothing came for
FORGET_S is forgotten, so that names are bounded by what is routed.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from clary.kit.clock import MICROS
from clary.telemetry.delta import Delta, Latency, VariantDelta
from clary.telemetry.sketch import value_of
from clary.telemetry.utilization import Usage

FORGET_S = 600
"""Idle variants tell of their zeros every 10 s: one that has been silent for so long is routed no more."""
SHARE_S = 15
"""A router that has told nothing of a variant for so long has none of its requests."""
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of a histogram's buckets, in seconds; a last bucket takes the rest."""

_of_bucket: dict[int, int] = {}
"""Bucket of a sketch -> bucket of a histogram; a sketch has some thousand at most."""


@dataclass
class Histogram:
    """Durations. A value within 1 % of a bound may stand on its other side: a sketch knows it no better."""

    count: int = 0
    sum_us: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    """Not cumulated; the last one is above every bound."""

    def add(self, latency: Latency | None) -> None:
        """Count what a delta tells."""
        if latency is None:
            return
        self.count += latency.count
        self.sum_us += latency.sum_us
        for bucket, count in latency.buckets.items():
            index = _of_bucket.get(bucket)
            if index is None:
                index = _of_bucket[bucket] = bisect_left(BOUNDS_S, value_of(bucket) / MICROS)
            self.buckets[index] += count

    def copy(self) -> Histogram:
        """One that does not change any more."""
        return replace(self, buckets=list(self.buckets))


@dataclass(frozen=True, order=True)
class FleetKey:
    """Whose totals they are."""

    account: str
    region: str
    endpoint: str
    variant: str
    config: str


@dataclass
class FleetTotals:
    """One fleet of one variant since control began, or since it was first heard of."""

    since_us: int
    seen_us: int
    invocations: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    errors_model: int = 0
    streams: int = 0
    streams_broken: int = 0
    model: Histogram = field(default_factory=Histogram)
    overhead: Histogram = field(default_factory=Histogram)
    first_chunk: Histogram = field(default_factory=Histogram)
    concurrent: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By router: requests at the model or waiting for it at the end of a second, and that second's start (UTC us)."""

    def add(self, variant: VariantDelta, router: str, at_us: int) -> None:
        """Count what a delta tells."""
        self.seen_us = max(self.seen_us, at_us)
        self.invocations += variant.invocations
        self.errors_4xx += variant.errors_4xx
        self.errors_5xx += variant.errors_5xx
        self.errors_model += variant.model_errors
        self.streams += variant.streams
        self.streams_broken += variant.streams_broken
        self.model.add(variant.model)
        self.overhead.add(variant.overhead)
        self.first_chunk.add(variant.first_chunk)
        # A delta ends with the concurrency of its last second: the sum is of one sample.
        self.concurrent[router] = (variant.concurrent_sum, at_us)

    def concurrency(self, now_us: int) -> int:
        """Requests under way, over all routers that told lately."""
        since_us = now_us - SHARE_S * MICROS
        return sum(count for count, at_us in self.concurrent.values() if at_us >= since_us)

    def copy(self) -> FleetTotals:
        """One that does not change any more."""
        return replace(
            self,
            model=self.model.copy(),
            overhead=self.overhead.copy(),
            first_chunk=self.first_chunk.copy(),
            concurrent=dict(self.concurrent),
        )


@dataclass(frozen=True)
class Losses:
    """What did not get into the metrics, since control began."""

    deltas: int = 0
    """Seconds of routers."""
    samples: int = 0
    """Refused by the metric store."""
    spans: int = 0
    """Traced invocations."""
    points: int = 0
    """Deleted before their time: the store had reached its size."""


@dataclass(frozen=True)
class View:
    """Everything, at one moment."""

    now_us: int
    fleets: dict[FleetKey, FleetTotals]
    usage: Sequence[Usage]
    losses: Losses


class Totals:
    """Written by the loops that ingest and measure, read by whoever publishes; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fleets: dict[FleetKey, FleetTotals] = {}
        self._usage: dict[str, Usage] = {}
        self._losses = Losses()

    def add(self, deltas: Iterable[Delta]) -> None:
        """Count deltas, each once."""
        with self._lock:
            for delta in deltas:
                for variant in delta.variants:
                    if not variant.replica:
                        self._fleet(variant, delta.at_us).add(variant, delta.router, delta.at_us)

    def _fleet(self, variant: VariantDelta, at_us: int) -> FleetTotals:
        key = FleetKey(variant.account, variant.region, variant.endpoint, variant.variant, variant.config)
        known = self._fleets.get(key)
        if known is None:
            known = self._fleets[key] = FleetTotals(at_us, at_us)
        return known

    def lose(self, deltas: int = 0, samples: int = 0, spans: int = 0, points: int = 0) -> None:
        """Count what was lost."""
        with self._lock:
            was = self._losses
            self._losses = Losses(was.deltas + deltas, was.samples + samples, was.spans + spans, was.points + points)

    def use(self, usage: Iterable[Usage], running: Iterable[str]) -> None:
        """Keep what was measured, and forget what was measured before of all but `running` (uids)."""
        with self._lock:
            self._usage.update((one.subject.uid, one) for one in usage)
            kept = set(running)
            self._usage = {uid: one for uid, one in self._usage.items() if uid in kept}

    def view(self, now_us: int) -> View:
        """Everything as it stands; it does not change any more."""
        with self._lock:
            since_us = now_us - FORGET_S * MICROS
            self._fleets = {key: totals for key, totals in self._fleets.items() if totals.seen_us >= since_us}
            return View(
                now_us,
                {key: totals.copy() for key, totals in sorted(self._fleets.items())},
                tuple(self._usage[uid] for uid in sorted(self._usage)),
                self._losses,
            )
