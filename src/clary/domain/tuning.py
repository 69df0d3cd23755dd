"""Hyperparameter tuning jobs: what is wanted, and what follows from the trainings they made.

Rules and statuses are CreateHyperParameterTuningJob's and DescribeHyperParameterTuningJob's of the API reference.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from clary.domain.errors import Invalid, NotServed
from clary.domain.training import TrainingSpec, check_training, metrics_of

JOBS_MAX = 750
"""ResourceLimits.MaxNumberOfTrainingJobs at most (quota of the service)."""
OBJECTIVE_PARAMETER = "_tuning_objective_metric"
"""Tells the algorithm which metric to compute."""
FAILURES_MAX = 5
"""Trainings that fail before any succeeds, after which the tuning job is given up."""
NONE_SUCCEEDED = (
    f"No training job succeeded after {FAILURES_MAX} attempts. For additional details, please take a look at the "
    "training job failures by listing training jobs for the hyperparameter tuning job."
)
ALL_FAILED = (
    "All training jobs failed. Please take a look at the training jobs failures to get more details. The last said: "
)


class TuningStatus(enum.Enum):
    """HyperParameterTuningJobStatus."""

    IN_PROGRESS = "InProgress"
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"


ENDED = frozenset({TuningStatus.COMPLETED, TuningStatus.FAILED, TuningStatus.STOPPED})


@dataclass(frozen=True)
class NumberRange:
    """Values from `low` to `high`, both included."""

    name: str
    low: float
    high: float
    scaling: str = "Auto"
    integer: bool = False


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class TuningSpec:
    """CreateHyperParameterTuningJob's request, checked."""

    strategy: str
    """`Bayesian`, `Random` or `Grid`."""
    maximize: bool
    metric: str
    definition: TrainingSpec
    """Of every training, with the hyperparameters that are not tuned."""
    numbers: tuple[NumberRange, ...] = ()
    choices: tuple[Choice, ...] = ()
    jobs_max: Optional[int] = None  # noqa: UP045 - Python 3.9
    """None with Grid: all combinations."""
    parallel: int = 1
    runtime_max_s: Optional[int] = None  # noqa: UP045
    target: Optional[float] = None  # noqa: UP045
    """Objective value that ends the tuning."""
    not_improving_max: Optional[int] = None  # noqa: UP045
    """Trainings in a row that do not improve the best value, after which the tuning ends."""
    seed: Optional[int] = None  # noqa: UP045
    definition_name: str = ""
    config: str = "{}"
    """HyperParameterTuningJobConfig as given, JSON."""
    described: str = "{}"
    """TrainingJobDefinition as given, JSON."""

    @property
    def jobs(self) -> int:
        """Trainings that are made at most."""
        if self.strategy != "Grid":
            return self.jobs_max or JOBS_MAX
        combinations = math.prod(len(choice.values) for choice in self.choices)
        return min(combinations, self.jobs_max or combinations)


@dataclass(frozen=True)
class TuningRecord:
    """What reconcile noted of a tuning job that ended."""

    failure_reason: str = ""


@dataclass(frozen=True)
class Trial:
    """One training of a tuning job, as the search sees it."""

    tuned: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    value: Optional[float] = None  # noqa: UP045
    """Of the objective, of a training that completed with one."""


def check_tuning(spec: TuningSpec) -> None:
    """Raise Invalid or NotServed where the specification breaks a rule; both name the field."""
    check_training(spec.definition)
    if spec.strategy not in ("Bayesian", "Random", "Grid"):
        raise NotServed(f"The tuning strategy {spec.strategy}", "Use Bayesian, Random or Grid.")
    if spec.strategy != "Grid" and spec.jobs_max is None:
        raise Invalid("ResourceLimits.MaxNumberOfTrainingJobs is missing.")
    if spec.jobs > JOBS_MAX:
        raise Invalid(f"A tuning job makes at most {JOBS_MAX} training jobs; this one would make {spec.jobs}.")
    names = [*(number.name for number in spec.numbers), *(choice.name for choice in spec.choices)]
    if not names:
        raise Invalid("ParameterRanges is empty: there is no hyperparameter to tune.")
    for name in names:
        if names.count(name) > 1 or name in spec.definition.hyperparameters:
            raise Invalid(f"The hyperparameter '{name}' is given more than once, in ParameterRanges or static.")
    if spec.strategy == "Grid" and spec.numbers:
        raise Invalid("The strategy Grid takes CategoricalParameterRanges only.")
    for number in spec.numbers:
        _check_range(number)
    if spec.metric not in metrics_of(spec.definition):
        raise Invalid(
            f"The objective metric '{spec.metric}' is not defined: give it in AlgorithmSpecification's "
            "MetricDefinitions, or name one of the algorithm's, such as validation:rmse."
        )


def _check_range(number: NumberRange) -> None:
    if not (math.isfinite(number.low) and math.isfinite(number.high) and number.low <= number.high):
        raise Invalid(f"MinValue of the range of '{number.name}' is above its MaxValue, or is no number.")
    if number.scaling == "Logarithmic" and number.low <= 0:
        raise Invalid(f"The range of '{number.name}' must be above 0 for Logarithmic scaling.")
    if number.scaling == "ReverseLogarithmic" and (number.integer or number.low < 0 or number.high >= 1):
        raise Invalid(
            f"The range of '{number.name}' must be continuous and lie in [0, 1) for ReverseLogarithmic scaling."
        )


def best(spec: TuningSpec, trials: Sequence[Trial]) -> Optional[int]:  # noqa: UP045
    """Index of the best trial, the earliest of equals; None where none has a value."""
    valued = [(trial.value, -at) for at, trial in enumerate(trials) if trial.value is not None]
    if not valued:
        return None
    value, at = max(valued) if spec.maximize else min(valued, key=lambda pair: (pair[0], -pair[1]))
    assert value is not None
    return -at


def reached(spec: TuningSpec, trials: Sequence[Trial]) -> bool:
    """Whether the objective is good enough, or has not become better for long enough."""
    values = [trial.value for trial in trials if trial.value is not None]
    if not values:
        return False
    found = max(values) if spec.maximize else min(values)
    if spec.target is not None and (found >= spec.target if spec.maximize else found <= spec.target):
        return True
    return spec.not_improving_max is not None and len(values) - 1 - values.index(found) >= spec.not_improving_max
