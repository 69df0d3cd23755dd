"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from clary.domain.durations import seconds_of
from clary.domain.errors import Invalid


def test_lengths_of_time() -> None:
    assert [seconds_of(text) for text in ("250ms", "90s", " 1.5m ", "2 h", "1d")] == [0.25, 90, 90, 7200, 86400]


@pytest.mark.parametrize("text", ["5 parsecs", "", "10", "-1s", "1h30m", "1e3s"])
def test_other_texts_are_refused_with_examples(text: str) -> None:
    with pytest.raises(Invalid, match="write it as 250ms, 90s, 10m, 1h or 1d"):
        seconds_of(text)
