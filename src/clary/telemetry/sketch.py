"""A mergeable latency sketch with a bound on the relative error.

The rule is DDSketch's (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees", PVLDB 12(12), 2019): with gamma = (1 + a) / (1 - a), bucket i counts the values in [gamma^i, gamma^(i+1))
and answers with 2 * gamma^(i+1) / (gamma + 1), which is within a fraction `a` of every value it holds. Merging adds
counts, so it is exact, associative and commutative: the merge of sketches is the sketch of the union.

Unlike the paper's, no buckets are ever collapsed: values are clamped to [VALUE_MIN, VALUE_MAX], which bounds the
number of buckets by itself and keeps merging associative.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

ERROR_MAX = 0.01
"""A quantile is within this fraction of the exact one, for values in [VALUE_MIN, VALUE_MAX]."""
GAMMA = (1 + ERROR_MAX) / (1 - ERROR_MAX)
BUCKETS_PER_E = 1 / math.log(GAMMA)
"""Buckets in a factor of e: floor(log(value) * BUCKETS_PER_E) is a positive value's bucket."""
VALUE_MIN = 1e-6
"""Smaller values count as zero."""
VALUE_MAX = 1e18
"""Larger values count as this one."""
ZERO = math.floor(math.log(VALUE_MIN) * BUCKETS_PER_E) - 1
"""The bucket of zero, below all others."""

COUNT_MAX = 2**64 - 1
"""What is written of a bucket's count at most: msgpack has no greater number."""

_FORMAT = b"\x01"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[int])


def bucket_of(value: float) -> int:
    """The bucket of a value, which must not be negative or NaN (ValueError)."""
    if value >= VALUE_MIN:
        return math.floor(math.log(min(value, VALUE_MAX)) * BUCKETS_PER_E)
    if value >= 0:
        return ZERO
    raise ValueError(f"a sketch takes no negative value and no NaN; got {value}")


def value_of(bucket: int) -> float:
    """The value a bucket answers with."""
    return 0.0 if bucket <= ZERO else 2 * GAMMA ** (bucket + 1) / (GAMMA + 1)


@dataclass(slots=True)
class Sketch:
    """Counts of values by bucket."""

    counts: dict[int, int] = field(default_factory=dict)
    """How many values each bucket holds; a bucket without any is left out."""

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts.values())

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, in the unit of all others."""
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + times

    def merge(self, other: Sketch) -> None:
        """Take in all that `other` observed."""
        counts = self.counts
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count

    def quantile(self, fraction: float) -> float:
        """The value below which about `fraction` (0 to 1) of the values lie; NaN where there are none.

        The rank is the paper's: the smallest bucket whose running count exceeds fraction * (count - 1).
        """
        if not self.counts:
            return math.nan
        rank = fraction * (self.count - 1)
        running = 0
        for bucket, count in sorted(self.counts.items()):
            running += count
            if running > rank:
                return value_of(bucket)
        return value_of(max(self.counts))

    def encode(self) -> bytes:
        """A format byte, then msgpack: each bucket's distance from the last one and its count, in turn.

        Most numbers are small and take a byte. No loop in Python: the store does this often.
        """
        buckets = sorted(self.counts)
        numbers = [0] * (2 * len(buckets))
        numbers[::2] = map(operator.sub, buckets, itertools.chain((ZERO,), buckets))
        numbers[1::2] = map(self.counts.__getitem__, buckets)
        try:
            return _FORMAT + _encoder.encode(numbers)
        except OverflowError:  # who publishes a metric says how often a value occurred, and may say anything
            return _FORMAT + _encoder.encode([min(number, COUNT_MAX) for number in numbers])

    @classmethod
    def decode(cls, raw: bytes) -> Sketch:
        """The sketch that `encode` wrote; ValueError for anything else."""
        if raw[:1] != _FORMAT:
            raise ValueError("these bytes are no sketch, or one of a newer format")
        try:
            numbers = _decoder.decode(memoryview(raw)[1:])
        except msgspec.DecodeError:
            raise ValueError("the sketch is damaged") from None
        if len(numbers) % 2:
            raise ValueError("the sketch is cut short")
        buckets = itertools.accumulate(numbers[::2], initial=ZERO)
        next(buckets)
        return cls(dict(zip(buckets, numbers[1::2], strict=True)))


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """One sketch of all that the given ones observed."""
    whole = Sketch()
    for sketch in sketches:
        whole.merge(sketch)
    return whole


def merge_encoded(one: bytes | None, two: bytes | None) -> bytes | None:
    """Two sketches as `encode` wrote them, or None where there is none, as one. Of one that cannot be read the newer,
    the second, stands: it must not hold up all others."""
    if one is None or two is None:
        return two if one is None else one
    try:
        return merged((Sketch.decode(one), Sketch.decode(two))).encode()
    except ValueError:
        return two
