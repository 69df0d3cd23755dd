"""Every seed, and every input that ever broke a target, goes through it."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.__main__ import SEEDS
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_their_mutations_break_nothing(target: str) -> None:
    seeds = sorted((SEEDS / target).iterdir())
    assert seeds, f"{target} has no seed"
    draw = random.Random(1)
    for seed in seeds:
        raw = seed.read_bytes()
        TARGETS[target](raw)
        for _ in range(20):
            mutant = bytearray(raw)
            for _ in range(draw.randint(1, 4)):
                if mutant:
                    mutant[draw.randrange(len(mutant))] = draw.randrange(256)
            TARGETS[target](bytes(mutant[: draw.randint(0, len(mutant))]) if draw.random() < 0.3 else bytes(mutant))
