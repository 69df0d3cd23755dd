"""The parts of acting that are rules of their own."""

from __future__ import annotations

import pytest

from clary.domain.endpoint import Revision, RevisionVariant
from clary.domain.model import Container
from clary.reconcile.act import threads_of


@pytest.mark.parametrize(
    ("counts", "instance_type", "cores", "threads"),
    [
        ((1,), "ml.m5.24xlarge", 16, 16),
        ((1,), "ml.m5.large", 16, 2),
        ((4,), "ml.m5.24xlarge", 16, 4),
        ((3, 3), "ml.m5.24xlarge", 16, 2),
        ((5,), "ml.m5.24xlarge", 2, 1),
    ],
)
def test_a_replica_gets_its_share_of_the_cores(
    counts: tuple[int, ...], instance_type: str, cores: int, threads: int
) -> None:
    container = Container("i", "x", "1", "s3://b/k")
    variants = tuple(
        RevisionVariant(f"u{name}", name, "m", count, instance_type, 1.0, 480, container)
        for name, count in zip("AB", counts, strict=False)
    )
    assert threads_of(Revision("c", variants), "A", cores) == threads
