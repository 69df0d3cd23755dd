"""What commands print for people."""

from __future__ import annotations

import pytest

from clary.cli.output import number


@pytest.mark.parametrize(
    ("value", "text"),
    [(5_000_000.0, "5000000"), (1_234_567.5, "1234567.5"), (0.1 + 0.2, "0.3"), (70.0, "70"), (1e-7, "1e-07")],
)
def test_a_number_keeps_its_digits(value: float, text: str) -> None:
    assert number(value) == text
