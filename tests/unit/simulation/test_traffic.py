"""Traffic in words and from files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.errors import Invalid
from clary.simulation.traffic import described, recorded


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("50", {0: 50, 1e6: 50}),
        ("steady 2.5", {3: 2.5}),
        ("step 100 500 at 10m", {0: 100, 599: 100, 600: 500, 4000: 500}),
        ("Ramp 0 60  over 1m", {0: 0, 30: 30, 60: 60, 61: 60}),
        ("spike 50 800 at 10m for 2m", {599: 50, 600: 800, 719: 800, 720: 50}),
        ("day 20..600", {4 * 3600: 20, 16 * 3600: 600, 10 * 3600: 310}),
    ],
)
def test_traffic_in_words(text: str, rates: dict[float, float]) -> None:
    traffic = described(text)
    assert {at_s: pytest.approx(traffic.rate(at_s)) for at_s in rates} == rates


@pytest.mark.parametrize("text", ["", "stp 1 2 at 3m", "step 1 2", "step 1 2 at 3", "-5", "day 3"])
def test_words_that_say_nothing_are_refused_with_examples(text: str) -> None:
    with pytest.raises(Invalid, match="examples: 'steady 50'"):
        described(text)


@pytest.mark.parametrize("header", ["", "time,requests\n"])
def test_a_recording_starts_at_its_first_row(header: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(header + "2026-01-01T00:00:00Z,10\n\n2026-01-01T00:01:00Z,40\n")
    traffic = recorded(file)
    assert (traffic.rate(0), traffic.rate(30), traffic.rate(99), traffic.span_s) == (10, 25, 40, 60)
    file.write_text(header + "100,1\n160,3,ignored\n")
    assert recorded(file).rate(30) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no row"),
        ("time,requests\n", "holds no row"),
        ("0,1\nx,2\n", "row 2 is 'x,2'"),
        ("0,1\n5\n", "row 2 is '5'"),
        ("0,1\n5,-2\n", "row 2"),
        ("5,1\n0,1\n", "earlier"),
        ("0,1\n99999999,1\n", "more than 14 days"),
    ],
)
def test_a_recording_that_cannot_be_is_refused_by_row(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(Invalid, match=says):
        recorded(file)
    with pytest.raises(Invalid, match="cannot be read"):
        recorded(tmp_path / "none.csv")


@given(st.text(max_size=40))
def test_no_words_break_it(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert described(text).rate(1.0) >= 0
