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


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """One second of one router."""

    router: str
    boot_id: str
    sequence: int
    at_us: int
    """Start of the second, UTC microseconds."""
    variants: tuple[VariantDelta, ...]


class DeltaError(ValueError):
    """The bytes are no delta: torn, or damaged."""


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
