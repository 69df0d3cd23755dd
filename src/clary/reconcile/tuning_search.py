"""Which hyperparameters a tuning job tries next: random and grid search here, Bayesian in a process of its own.

The next try follows from the specification, the seed and what was tried, so that a try that a crash lost comes again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict

import msgspec

from clary.domain.tuning import NumberRange, Trial, TuningSpec

_DRAWS_MAX = 20
"""Draws for a combination that was not tried yet; a small space may have none left."""


def seed_of(spec: TuningSpec, uid: str) -> str:
    """What randomness follows from: the seed given, or else the job itself."""
    return uid if spec.seed is None else str(spec.seed)


def grid(spec: TuningSpec, index: int) -> dict[str, str]:
    """The combination of that number; the last parameter changes fastest."""
    tuned = {}
    for choice in reversed(spec.choices):
        index, at = divmod(index, len(choice.values))
        tuned[choice.name] = choice.values[at]
    return {choice.name: tuned[choice.name] for choice in spec.choices}


def draw(spec: TuningSpec, seed: str, index: int, trials: Sequence[Trial]) -> dict[str, str]:
    """A random combination, if possible one that was not tried."""
    source = random.Random(f"{seed}:{index}")
    tried = [trial.tuned for trial in trials]
    tuned: dict[str, str] = {}
    for _ in range(_DRAWS_MAX):
        tuned = {number.name: _number(number, source.random()) for number in spec.numbers}
        tuned |= {choice.name: source.choice(choice.values) for choice in spec.choices}
        if tuned not in tried:
            break
    return tuned


def _number(number: NumberRange, share: float) -> str:
    """The value at a share of a range, in its scaling."""
    low, high = number.low, number.high
    if number.scaling == "Logarithmic":
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    elif number.scaling == "ReverseLogarithmic":
        value = 1 - math.exp(math.log(1 - low) + share * (math.log(1 - high) - math.log(1 - low)))
    elif number.integer:
        value = low + math.floor(share * (high - low + 1))
    else:
        value = low + share * (high - low)
    return shown(number, min(max(value, low), high))


def shown(number: NumberRange, value: float) -> str:
    """A value as a hyperparameter's text."""
    return str(round(value)) if number.integer else repr(float(value))


def question(spec: TuningSpec, seed: str, index: int, trials: Sequence[Trial]) -> bytes:
    """What the process of the Bayesian search is asked (tuning_bayes.py), as JSON."""
    return msgspec.json.encode(
        {
            "maximize": spec.maximize,
            "seed": random.Random(f"{seed}:{index}").randrange(2**31),
            "numbers": [asdict(number) for number in spec.numbers],
            "choices": [asdict(choice) for choice in spec.choices],
            "trials": [asdict(trial) for trial in trials],
        }
    )


def answer(spec: TuningSpec, raw: bytes) -> dict[str, str]:
    """What it answered, as hyperparameters."""
    values = msgspec.json.decode(raw, type=dict[str, float | str])
    numbers = {number.name: number for number in spec.numbers}
    return {
        name: shown(numbers[name], float(value)) if name in numbers else str(value) for name, value in values.items()
    }
