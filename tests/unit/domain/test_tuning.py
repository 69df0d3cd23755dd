"""Rules of tuning jobs, the best trial, and when a search has found enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clary.domain.errors import Invalid, NotServed
from clary.domain.tuning import Choice, NumberRange, Trial, TuningSpec, best, check_tuning, reached
from tests.unit.domain.test_training import SPEC as TRAINING

SPEC = TuningSpec(
    strategy="Random",
    maximize=False,
    metric="validation:rmse",
    definition=TRAINING,
    numbers=(NumberRange("eta", 0.1, 0.5),),
    jobs_max=4,
)


def trials(*values: float | None) -> list[Trial]:
    return [Trial(ended=True, value=value) for value in values]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"strategy": "Hyperband"}, "strategy Hyperband"),
        ({"strategy": "Grid"}, "CategoricalParameterRanges only"),
        ({"jobs_max": None}, "MaxNumberOfTrainingJobs is missing"),
        ({"jobs_max": 751}, "at most 750"),
        ({"numbers": ()}, "ParameterRanges is empty"),
        ({"numbers": (NumberRange("num_round", 1, 2, integer=True),)}, "more than once"),
        ({"choices": (Choice("eta", ("1",)),)}, "more than once"),
        ({"numbers": (NumberRange("eta", 2, 1),)}, "above its MaxValue"),
        ({"numbers": (NumberRange("eta", float("nan"), 1),)}, "is no number"),
        ({"numbers": (NumberRange("eta", 0, 1, "Logarithmic"),)}, "above 0"),
        ({"numbers": (NumberRange("eta", 0, 1, "ReverseLogarithmic"),)}, r"\[0, 1\)"),
        ({"metric": "loss"}, "'loss' is not defined"),
    ],
)
def test_what_breaks_a_rule_is_named(change: dict[str, object], text: str) -> None:
    check_tuning(SPEC)
    with pytest.raises((Invalid, NotServed), match=text):
        check_tuning(replace(SPEC, **change))  # type: ignore[arg-type]


def test_a_grid_is_as_large_as_its_combinations() -> None:
    grid = replace(SPEC, strategy="Grid", numbers=(), choices=(Choice("a", ("1", "2")), Choice("b", ("1", "2", "3"))))
    assert [replace(grid, jobs_max=most).jobs for most in (None, 4, 100)] == [6, 4, 6]


def test_the_best_is_the_earliest_of_equals() -> None:
    found = trials(None, 2.0, 1.0, 1.0, 3.0, 3.0)
    assert (best(SPEC, found), best(replace(SPEC, maximize=True), found)) == (2, 4)
    assert best(SPEC, trials(None)) is None


def test_when_it_is_enough() -> None:
    assert not reached(SPEC, trials(1.0, 2.0))
    assert reached(replace(SPEC, target=1.0), trials(1.0))
    assert not reached(replace(SPEC, target=1.0, maximize=True), trials(0.5))
    patient = replace(SPEC, not_improving_max=3)
    assert [reached(patient, trials(*values)) for values in ((), (1.0, 2, 2), (1.0, 2, 2, None, 2))] == [
        False, False, True,
    ]  # fmt: skip
