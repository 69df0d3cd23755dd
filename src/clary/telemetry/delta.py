"""What a router saw in one second: the unit that travels from routers to the metric store.

A delta is keyed (router, boot id, sequence); the sequence counts up by one from 1 in each life of a router, so that
the store takes each delta once, and a gap counts what was lost.
"""

from __future__ import annotations

import zlib

import msgspec

DELTA_BYTES_MAX = 16 << 20
"""A frame that claims more is not one of ours."""

_HEAD = 8


class Latency(msgspec.Struct, frozen=True, array_like=True):
    """Durations observed in the second, in microseconds."""

    count: int
    sum_us: int
    min_us: int
    max_us: int
    buckets: dict[int, int]
    """Counts by bucket of telemetry.sketch."""


class VariantDelta(msgspec.Struct, frozen=True, array_like=True):
    """One variant's share of a second."""

    account: str
    region: str
    endpoint: str
    endpoint_uid: str
    variant: str
    invocations: int
    per_instance: float
    """Sum of 1/instances over the invocations (SageMaker developer guide: InvocationsPerInstance)."""
    errors_4xx: int
    errors_5xx: int
    model_errors: int
    model: Latency | None
    overhead: Latency | None
    ticks: int
    """Seconds since this variant's last delta: the samples that `concurrent_sum` adds up."""
    concurrent_sum: int
    concurrent_min: int
    concurrent_max: int
    config: str = ""
    """Name of the endpoint configuration that the fleet was started from: the dimension EndpointConfigName."""
    replica: str = ""
    """Set where this is one replica's share, which the variant's own holds too: the dimension InstanceId."""
    first_chunk: Latency | None = None
    """From a streamed request's arrival to the first part of its answer."""
    first_chunk_model: Latency | None = None
    """From handing it to the model to that part."""
    streams: int = 0
    """Streamed answers of which at least one part was given, and that ended."""
    streams_broken: int = 0
    """Those that ended with an error."""
    first_chunk_overhead: Latency | None = None
    """The first less the second, of each."""
    load: float = 0.0
    """Requests at the model or waiting for it: the mean of samples, each tenth of a second, since the last delta."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """One traced invocation (W3C Trace Context; OpenTelemetry's span kind SERVER)."""

    trace_id: bytes
    """16 bytes."""
    span_id: bytes
    """8 bytes, as is the next."""
    parent_id: bytes
    """The caller's span."""
    state: str
    """`tracestate` as it came."""
    start_us: int
    """UTC microseconds, as is the next."""
    end_us: int
    account: str
    region: str
    endpoint: str
    variant: str
    replica: str
    """Empty where it reached none."""
    request_id: str
    status: int
    """As answered to the client; 0 where it left."""
    model_status: int
    """The model's own; 0 where it gave none."""
    model_us: int
    """As in ModelLatency; negative where the request never got to the model."""
    stream: bool


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """One second of one router."""

    router: str
    boot_id: str
    sequence: int
    at_us: int
    """Start of the second, UTC microseconds."""
    variants: tuple[VariantDelta, ...]
    spans: tuple[Span, ...] = ()
    spans_lost: int = 0
    """Traced invocations of this second beyond what a delta holds."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Delta)


def encode_delta(delta: Delta) -> bytes:
    """Length (u32) and CRC-32 (u32) of the msgpack form, then that form."""
    body = _encoder.encode(delta)
    return len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def decode_deltas(raw: bytes) -> tuple[list[Delta], int, bool]:
    """The whole deltas at the start of `raw`, how many bytes they fill, and whether what follows is damaged.

    A tail that is merely short is not damaged: its writer may not have finished. Nothing after damage is looked at.
    """
    deltas: list[Delta] = []
    at = 0
    while len(raw) - at >= _HEAD:
        length = int.from_bytes(raw[at : at + 4], "big")
        if length > DELTA_BYTES_MAX:
            return deltas, at, True
        body = raw[at + _HEAD : at + _HEAD + length]
        if len(body) < length:
            break
        if zlib.crc32(body) != int.from_bytes(raw[at + 4 : at + _HEAD], "big"):
            return deltas, at, True
        try:
            deltas.append(_decoder.decode(body))
        except msgspec.ValidationError:
            return deltas, at, True
        at += _HEAD + length
    return deltas, at, False
