"""Counters and latency sketches of a router's hot path, shipped to the spool once a second.

`Series.observe` costs well under 2 us (bench/recorder.py): plain additions, two logarithms and two dict entries. All
else happens once a second in `Recorder.run`. Imports the standard library and msgspec only: the router's rule.
"""
# ruff: noqa: PLR1730 - min() and max() cost three times an `if` on this path

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clary.kit.clock import MICROS, Clock
from clary.telemetry.delta import Delta, Latency, Span, VariantDelta, encode_delta
from clary.telemetry.sketch import BUCKETS_PER_E, ZERO, bucket_of
from clary.telemetry.spool import SpoolOptions, SpoolWriter

IDLE_TICKS_MAX = 10
"""An idle variant reports its zeros once in this many seconds: the shortest period that scaling looks at."""
SPANS_MAX = 1_000
"""Traced invocations a second that are kept; more are counted as lost."""
SPANS_SPOOL_BYTES_MAX = 8 << 20
"""With more than this waiting in the spool, because control is down, spans are lost: metrics have the room."""
EARLY_S_MAX = 0.05
"""How much before its time a timer is taken for an early one."""

_NONE = 1 << 62
_log = math.log


class Series:
    """What one router saw of one variant since the last tick. Made by `Recorder.series`, used from one thread."""

    __slots__ = (
        "_count",
        "_errors_4xx",
        "_errors_5xx",
        "_first",
        "_first_model",
        "_first_overhead",
        "_fresh",
        "_high",
        "_instances",
        "_load",
        "_low",
        "_model_buckets",
        "_model_count",
        "_model_errors",
        "_model_max",
        "_model_min",
        "_model_sum",
        "_overhead_buckets",
        "_overhead_count",
        "_overhead_max",
        "_overhead_min",
        "_overhead_sum",
        "_per_instance",
        "_per_instance_at",
        "_samples",
        "_streams",
        "_streams_broken",
        "_ticks",
        "account",
        "concurrent",
        "config",
        "endpoint",
        "endpoint_uid",
        "region",
        "replica",
        "retired",
        "variant",
    )

    _model_count: int
    _model_sum: int
    _model_min: int
    _model_max: int
    _overhead_count: int
    _overhead_sum: int
    _overhead_min: int
    _overhead_max: int

    def __init__(
        self,
        account: str,
        region: str,
        endpoint: str,
        endpoint_uid: str,
        *,
        variant: str,
        instances: int,
        config: str = "",
        replica: str = "",
    ) -> None:
        self.account = account
        self.region = region
        self.endpoint = endpoint
        self.endpoint_uid = endpoint_uid
        self.variant = variant
        self.config = config
        self.replica = replica
        self.concurrent = 0
        """Requests at the model or waiting for it. The router adds 1 when one begins, takes 1 off after `observe`."""
        self.retired = False
        """No route leads here any more: dropped once nothing is left to ship."""
        self._instances = max(1, instances)
        self._high = 0
        self._low = 0
        self._ticks = 0
        self._fresh = True
        self._clear()

    def observe(self, status: int, model_us: int, overhead_us: int, model_error: bool) -> None:
        """Count one finished request. Call it before taking the request off `concurrent`.

        `status`: the model's HTTP status; 0 where it gave none (timeout, broken link, refused before the model).
        `model_us`: from handing the request to the model to its last byte; negative where it never got there.
        `overhead_us`: the whole time less `model_us`; negative to leave it out.
        `model_error`: any answer of the model but 2xx, a broken link or a timeout (InvocationModelErrors).
        Concurrency is highest just before a request ends and lowest just after, so its extremes are sampled here.
        """
        self._count += 1
        if status >= 400:
            if status < 500:
                self._errors_4xx += 1
            elif status < 600:
                self._errors_5xx += 1
        if model_error:
            self._model_errors += 1
        concurrent = self.concurrent
        if concurrent > self._high:
            self._high = concurrent
        if concurrent <= self._low:
            self._low = concurrent - 1
        if model_us >= 0:
            self._model_count += 1
            self._model_sum += model_us
            if model_us < self._model_min:
                self._model_min = model_us
            if model_us > self._model_max:
                self._model_max = model_us
            bucket = int(_log(model_us) * BUCKETS_PER_E) if model_us else ZERO
            buckets = self._model_buckets
            buckets[bucket] = buckets.get(bucket, 0) + 1
        if overhead_us >= 0:
            self._overhead_count += 1
            self._overhead_sum += overhead_us
            if overhead_us < self._overhead_min:
                self._overhead_min = overhead_us
            if overhead_us > self._overhead_max:
                self._overhead_max = overhead_us
            bucket = int(_log(overhead_us) * BUCKETS_PER_E) if overhead_us else ZERO
            buckets = self._overhead_buckets
            buckets[bucket] = buckets.get(bucket, 0) + 1

    def observe_first_chunk(self, total_us: int, model_us: int) -> None:
        """Count the first part of a streamed answer: since the request arrived, and since the model had it."""
        self._first.append(total_us)
        self._first_model.append(model_us)
        self._first_overhead.append(max(0, total_us - model_us))

    def observe_stream(self, broken: bool) -> None:
        """Count the end of a streamed answer of which a part was given."""
        self._streams += 1
        self._streams_broken += broken

    def sample(self) -> None:
        """Ten times a second: how many requests there are now."""
        self._load += self.concurrent
        self._samples += 1

    def set_instances(self, instances: int) -> None:
        """From now on each request adds 1/instances to InvocationsPerInstance."""
        self._per_instance = self._per_instance_now()
        self._per_instance_at = self._count
        self._instances = max(1, instances)

    def take(self) -> VariantDelta | None:
        """One second's share, or None for an idle second whose zeros are not yet due. Clears what it gives."""
        self._ticks += 1
        busy = self._count or self.concurrent or self._high or self._first
        if not busy and (self.retired or (self._ticks < IDLE_TICKS_MAX and not self._fresh)):
            self._load = self._samples = 0  # what comes next is of its own second
            return None
        concurrent = self.concurrent
        taken = VariantDelta(
            account=self.account,
            region=self.region,
            endpoint=self.endpoint,
            endpoint_uid=self.endpoint_uid,
            variant=self.variant,
            invocations=self._count,
            per_instance=self._per_instance_now(),
            errors_4xx=self._errors_4xx,
            errors_5xx=self._errors_5xx,
            model_errors=self._model_errors,
            model=_latency(self._model_count, self._model_sum, self._model_min, self._model_max, self._model_buckets),
            overhead=_latency(
                self._overhead_count, self._overhead_sum, self._overhead_min, self._overhead_max, self._overhead_buckets
            ),
            ticks=self._ticks,
            concurrent_sum=concurrent,
            concurrent_min=max(0, min(self._low, concurrent)),
            concurrent_max=max(self._high, concurrent),
            config=self.config,
            replica=self.replica,
            first_chunk=_latency_of(self._first),
            first_chunk_model=_latency_of(self._first_model),
            streams=self._streams,
            streams_broken=self._streams_broken,
            first_chunk_overhead=_latency_of(self._first_overhead),
            load=self._load / self._samples if self._samples else float(concurrent),
        )
        self._ticks = 0
        self._fresh = False
        self._high = self._low = concurrent
        self._clear()
        return taken

    def _per_instance_now(self) -> float:
        return self._per_instance + (self._count - self._per_instance_at) / self._instances

    def _clear(self) -> None:
        self._count = self._errors_4xx = self._errors_5xx = self._model_errors = 0
        self._per_instance = 0.0
        self._per_instance_at = 0
        self._model_count = self._model_sum = self._model_max = 0
        self._overhead_count = self._overhead_sum = self._overhead_max = 0
        self._model_min = self._overhead_min = _NONE
        self._model_buckets: dict[int, int] = {}
        self._overhead_buckets: dict[int, int] = {}
        self._streams = self._streams_broken = 0
        self._load = self._samples = 0
        self._first: list[int] = []
        self._first_model: list[int] = []
        self._first_overhead: list[int] = []


def _latency_of(durations_us: list[int]) -> Latency | None:
    if not durations_us:
        return None
    buckets = Counter(map(bucket_of, durations_us))
    return Latency(len(durations_us), sum(durations_us), min(durations_us), max(durations_us), dict(buckets))


def _latency(count: int, sum_us: int, min_us: int, max_us: int, buckets: dict[int, int]) -> Latency | None:
    return Latency(count, sum_us, min_us, max_us, buckets) if count else None


@dataclass(frozen=True)
class Lost:
    """What a recorder could not keep, since it began."""

    deltas: int
    """Seconds that could not be written: the disk was full or refused."""
    spool_bytes: int
    """Bytes of old deltas dropped to make room, because nobody took them."""


class Recorder:
    """All series of one router process, and the loop that ships them."""

    def __init__(
        self, name: str, boot_id: str, spool_dir: Path, clock: Clock, options: SpoolOptions | None = None
    ) -> None:
        """`name`: the router's (`router-0`). `boot_id`: unlike that of any other life of this router.

        `spool_dir`: this router's own folder, `HOME/spool/router-N`.
        """
        self._name = name
        self._boot_id = boot_id
        self._clock = clock
        self._spool = SpoolWriter(spool_dir, options)
        self._series: dict[tuple[str, str, str, str], Series] = {}
        self._spans: list[Span] = []
        self._spans_lost = 0
        self._sequence = 0
        self._lost_deltas = 0

    @property
    def lost(self) -> Lost:
        """For the router's health answer and logs."""
        return Lost(self._lost_deltas, self._spool.dropped_bytes)

    def series(
        self,
        account: str,
        region: str,
        endpoint: str,
        endpoint_uid: str,
        variant: str,
        instances: int,
        *,
        config: str = "",
        replica: str = "",
    ) -> Series:
        """The series of a variant's fleet (`config`), or of one `replica` of it: the same object for as long as it is
        routed. Called on a new snapshot."""
        key = (endpoint_uid, variant, config, replica)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(
                account,
                region,
                endpoint,
                endpoint_uid,
                variant=variant,
                instances=instances,
                config=config,
                replica=replica,
            )
        else:
            series.retired = False
            series.set_instances(instances)
        return series

    def retain(self, routed: Iterable[Series]) -> None:
        """Retire every series but these: called after a snapshot was swapped in.

        A retired one ships what it still gets from requests under way, then is forgotten; it reports no zeros.
        """
        kept = {id(series) for series in routed}
        for series in self._series.values():
            series.retired = id(series) not in kept

    def sample(self) -> None:
        """Ten times a second: how many requests each variant has."""
        for series in self._series.values():
            series.sample()

    def span(self, span: Span) -> None:
        """Keep a traced invocation."""
        if len(self._spans) < SPANS_MAX:
            self._spans.append(span)
        else:
            self._spans_lost += 1

    async def run(self) -> None:
        """Ship each second, shortly after it ended, until cancelled; then `close`."""
        try:
            while True:
                await self._clock.sleep(1 - self._clock.now_us() % MICROS / MICROS)
                # Timers may fire a little early; the second is then not yet over.
                early_s = 1 - self._clock.now_us() % MICROS / MICROS
                if early_s < EARLY_S_MAX:
                    await self._clock.sleep(early_s + 0.001)
                self.ship()
        finally:
            self.close()

    def close(self) -> None:
        """Ship the rest and give the spool up to its reader."""
        self.ship()
        self._spool.close()

    def ship(self) -> None:
        """Write what accumulated as one delta, if anything did. Never raises: metrics never stop a router."""
        variants: list[VariantDelta] = []
        for key, series in list(self._series.items()):
            taken = series.take()
            if taken is not None:
                variants.append(taken)
            elif series.retired and not series.concurrent:
                del self._series[key]
        spans, lost = tuple(self._spans), self._spans_lost
        if self._spool.waiting_bytes > SPANS_SPOOL_BYTES_MAX:
            spans, lost = (), lost + len(spans)
        if not variants and not spans:
            return
        self._spans.clear()
        self._spans_lost = 0
        self._sequence += 1
        # A tick comes just after its second ended, sometimes late: half a second back lies in the second it tells of.
        at_us = (self._clock.now_us() - MICROS // 2) // MICROS * MICROS
        delta = Delta(self._name, self._boot_id, self._sequence, at_us, tuple(variants), spans, lost)
        try:
            self._spool.append(encode_delta(delta))
        except OSError:
            self._lost_deltas += 1
