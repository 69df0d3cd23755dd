"""The sketch keeps its error bound, and merging is observing the union."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.telemetry import sketch
from clary.telemetry.sketch import ERROR_MAX, Sketch, merged

VALUES = st.one_of(
    st.just(0.0),
    st.integers(1, 120_000_000).map(float),
    st.floats(sketch.VALUE_MIN, sketch.VALUE_MAX, allow_nan=False),
)
SAMPLES = st.lists(VALUES, min_size=1, max_size=60)


def of(values: list[float]) -> Sketch:
    made = Sketch()
    for value in values:
        made.observe(value)
    return made


@given(SAMPLES, st.floats(0, 1))
def test_a_quantile_is_within_one_percent_of_the_exact_one(values: list[float], fraction: float) -> None:
    exact = sorted(values)[math.floor(fraction * (len(values) - 1))]
    got = of(values).quantile(fraction)
    assert abs(got - exact) <= (ERROR_MAX + 1e-9) * exact


@given(SAMPLES, SAMPLES, SAMPLES)
def test_merging_is_associative_and_equals_the_union(one: list[float], two: list[float], three: list[float]) -> None:
    left = merged([merged([of(one), of(two)]), of(three)])
    right = merged([of(one), merged([of(two), of(three)])])
    assert left.counts == right.counts == of(three + one + two).counts
    assert left.count == len(one) + len(two) + len(three)


@given(SAMPLES)
def test_the_compact_form_holds_all(values: list[float]) -> None:
    made = of(values)
    assert Sketch.decode(made.encode()).counts == made.counts


def test_counts_beyond_what_the_compact_form_can_hold_are_written_as_the_greatest() -> None:
    one = Sketch()
    one.observe(1.0, 2**360)
    one.observe(2.0)
    raw = sketch.merge_encoded(one.encode(), one.encode())
    assert raw is not None
    assert sorted(Sketch.decode(raw).counts.values()) == [2, sketch.COUNT_MAX]


def test_the_compact_form_is_compact() -> None:
    made = of([float(us) for us in range(1_000, 2_000)])
    assert len(made.counts) == 36
    assert len(made.encode()) < 110


@pytest.mark.parametrize("raw", [b"", b"\x02\x90", b"\x01", b"\x01\x91\x01", b"\x01\x92\x01", b"\x01\x91\xa1x"])
def test_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="sketch"):
        Sketch.decode(raw)


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_what_has_no_logarithm_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="negative"):
        Sketch().observe(value)


def test_an_empty_sketch_has_no_quantile() -> None:
    assert math.isnan(Sketch().quantile(0.5))
