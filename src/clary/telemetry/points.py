"""Points of metrics: what is stored, how points add up, and which metrics a router's delta stands for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from clary.kit.clock import MICROS
from clary.telemetry.delta import Delta, Latency, VariantDelta
from clary.telemetry.sketch import Sketch

SAGEMAKER = "AWS/SageMaker"

Dimensions = tuple[tuple[str, str], ...]
"""(name, value) pairs sorted by name: one of a metric's identities."""


@dataclass(frozen=True)
class SeriesKey:
    """What one stored series is. A CloudWatch metric is all series that differ in the last three fields only."""

    account: str
    region: str
    namespace: str
    metric: str
    dimensions: Dimensions
    unit: str
    """A CloudWatch StandardUnit; never converted."""
    resource: str = ""
    """uid of the endpoint that it tells of: a name's next owner is another resource."""
    part: str = ""
    """The router whose share of a gauge this is: shares of one resource are added up, not averaged."""


@dataclass
class Cell:
    """A statistic set over some time: the values themselves are gone."""

    count: float = 0.0
    """Values observed. 0 with a sum of 0 says that a counter stood still, as no cell would not."""
    sum: float = 0.0
    min: float | None = None
    max: float | None = None
    sketch: Sketch | None = None
    """Set where percentiles are kept."""

    def merge(self, other: Cell) -> None:
        """Take in the values of `other`."""
        self.count += other.count
        self.sum += other.sum
        self.min = _of_both(min, self.min, other.min)
        self.max = _of_both(max, self.max, other.max)
        if other.sketch is None:
            return
        if self.sketch is None:
            self.sketch = Sketch(dict(other.sketch.counts))
        else:
            self.sketch.merge(other.sketch)

    def add_share(self, other: Cell) -> None:
        """Add another part's gauge over the same time: averages and extremes add up.

        Exact for averages; for extremes a bound, as the parts need not have had theirs at one moment.
        """
        average = self.average + other.average
        self.count = max(self.count, other.count)
        self.sum = average * self.count
        self.min = _of_both(lambda a, b: a + b, self.min, other.min)
        self.max = _of_both(lambda a, b: a + b, self.max, other.max)
        self.sketch = None

    @property
    def average(self) -> float:
        """Sum over count; 0 where nothing was counted."""
        return self.sum / self.count if self.count else 0.0


@dataclass(frozen=True)
class Sample:
    """Values of one series within one second."""

    key: SeriesKey
    at_s: int
    """UTC seconds."""
    cell: Cell
    resolution_s: int = 1
    """The finest roll-up that it goes into: 60 for a metric of standard resolution."""


def encode_dimensions(dimensions: Dimensions) -> str:
    """The stored form: JSON pairs in the order given, which is by name."""
    return json.dumps(dimensions, separators=(",", ":"), ensure_ascii=False)


def decode_dimensions(stored: str) -> Dimensions:
    """What `encode_dimensions` was given."""
    return tuple((name, value) for name, value in json.loads(stored))


def samples_of(delta: Delta) -> Iterator[Sample]:
    """One second's metrics, as in the developer guide's "Amazon SageMaker AI metrics in Amazon CloudWatch"."""
    at_s = delta.at_us // MICROS
    fleets: dict[tuple[str, str], list[VariantDelta]] = {}
    for variant in delta.variants:
        if variant.replica:
            instance = _Emitter(variant, at_s, (("InstanceId", variant.replica),))
            yield from instance.invocations()
            continue
        fleets.setdefault((variant.endpoint_uid, variant.variant), []).append(variant)
        whole = _Emitter(variant, at_s)
        yield from whole.invocations()
        if variant.config:
            fleet = _Emitter(variant, at_s, (("EndpointConfigName", variant.config),))
            yield from fleet.invocations()
            yield fleet.sample("ConcurrentRequestsPerModel", "None", _concurrency([variant]), part=delta.router)
    for found in fleets.values():
        emitter = _Emitter(found[0], at_s)
        yield emitter.sample("ConcurrentRequestsPerModel", "None", _concurrency(found), part=delta.router)


@dataclass(frozen=True)
class _Emitter:
    """Samples of one variant's share of a second, with one set of dimensions."""

    variant: VariantDelta
    at_s: int
    more: Dimensions = ()
    """Beside EndpointName and VariantName."""

    def sample(self, metric: str, unit: str, cell: Cell, part: str = "") -> Sample:
        variant = self.variant
        named = (("EndpointName", variant.endpoint), ("VariantName", variant.variant), *self.more)
        key = SeriesKey(
            account=variant.account,
            region=variant.region,
            namespace=SAGEMAKER,
            metric=metric,
            dimensions=tuple(sorted(named)),
            unit=unit,
            resource=variant.endpoint_uid,
            part=part,
        )
        return Sample(key, self.at_s, cell)

    def invocations(self) -> Iterator[Sample]:
        """Everything but concurrency."""
        variant = self.variant
        count = variant.invocations
        each = variant.per_instance / count if count else None
        one = 1.0 if count else None
        yield self.sample("Invocations", "None", Cell(count, count, one, one))
        if not variant.replica:
            yield self.sample("InvocationsPerInstance", "None", Cell(count, variant.per_instance, each, each))
        if count:
            yield from self._answers()
        for metric, latency in (
            ("FirstChunkLatency", variant.first_chunk),
            ("FirstChunkModelLatency", variant.first_chunk_model),
            ("FirstChunkOverheadLatency", variant.first_chunk_overhead),
        ):
            if latency is not None:
                yield self.sample(metric, "Microseconds", _latency_cell(latency))
        if variant.streams:
            yield self.sample("MidStreamErrors", "None", _rate_cell(variant.streams, variant.streams_broken))

    def _answers(self) -> Iterator[Sample]:
        variant = self.variant
        for metric, errors in (
            ("Invocation4XXErrors", variant.errors_4xx),
            ("Invocation5XXErrors", variant.errors_5xx),
            ("InvocationModelErrors", variant.model_errors),
        ):
            yield self.sample(metric, "None", _rate_cell(variant.invocations, errors))
        if variant.model is not None:
            yield self.sample("ModelLatency", "Microseconds", _latency_cell(variant.model))
        if variant.overhead is not None:
            yield self.sample("OverheadLatency", "Microseconds", _latency_cell(variant.overhead))


def _rate_cell(count: int, errors: int) -> Cell:
    """0 or 1 for each of `count`: the average is the error rate."""
    return Cell(count, errors, float(errors == count), float(errors > 0))


def _concurrency(fleets: Sequence[VariantDelta]) -> Cell:
    """The concurrency of one router, over all fleets of a variant: they are there at the same time.

    A fleet that was idle until now tells of more seconds than one that was not: what it adds to the others' is a
    sample of this second, and the seconds before it are in the others' deltas.
    """
    return Cell(
        min(fleet.ticks for fleet in fleets),
        sum(fleet.concurrent_sum for fleet in fleets),
        sum(fleet.concurrent_min for fleet in fleets),
        sum(fleet.concurrent_max for fleet in fleets),
    )


def _latency_cell(latency: Latency) -> Cell:
    return Cell(latency.count, latency.sum_us, latency.min_us, latency.max_us, Sketch(latency.buckets))


def _of_both(rule: Callable[[float, float], float], one: float | None, two: float | None) -> float | None:
    if one is None or two is None:
        return two if one is None else one
    return rule(one, two)
