"""The rules and the arithmetic of scaling with no configuration."""

from __future__ import annotations

import pytest

from clary.domain.auto_scaling import AutoScale, check_auto_scale, grown, limits_of, needed, shrunk
from clary.domain.errors import Invalid


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (AutoScale(concurrency=0), "concurrency"),
        (AutoScale(window_s=4), "window"),
        (AutoScale(most=0), "maximum"),
        (AutoScale(most=1001), "maximum"),
        (AutoScale(least=-1), "minimum"),
        (AutoScale(least=3, most=2), "minimum"),
        (AutoScale(least=5), "this machine has 4 cores"),
    ],
)
def test_what_cannot_be(spec: AutoScale, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check_auto_scale(spec, 4)


def test_cores_are_the_limit() -> None:
    for spec, bounds in (
        (AutoScale(), (1, 4)),
        (AutoScale(most=2), (1, 2)),
        (AutoScale(least=0, most=64), (0, 4)),
        (AutoScale(least=4), (4, 4)),
    ):
        check_auto_scale(spec, 4)
        limits = limits_of(spec, 4)
        assert (limits.least, limits.most) == bounds
    # Moved to a smaller machine.
    assert limits_of(AutoScale(least=4, most=8), 2).least == 2


def test_in_proportion_by_bounded_steps() -> None:
    spec = AutoScale(concurrency=4)
    assert [needed(spec, load) for load in (0, 0.001, 4, 4.001, 40)] == [0, 1, 1, 2, 10]
    assert needed(spec, 4, 0.9) == 2
    assert [grown(count, 100) for count in (0, 1, 4)] == [4, 4, 16]
    assert [shrunk(count, 0) for count in (16, 3, 1)] == [8, 2, 0]
    assert shrunk(16, 12) == 12
