"""The plan of a tuning job, and the search."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from clary.domain.principal import Scope
from clary.domain.training import Metric, Phase, TrainingRecord
from clary.domain.tuning import Choice, NumberRange, Trial, TuningSpec, TuningStatus
from clary.reconcile import tuning_bayes
from clary.reconcile.tuning import Action, End, Spawn, StopAll, plan
from clary.reconcile.tuning_search import answer, draw, grid, question
from clary.store.training import TrainingJob, trial_of
from tests.unit.domain.test_tuning import SPEC


def job(phase: Phase, value: float | None = None, *, stopping: bool = False, reason: str = "") -> TrainingJob:
    metrics = () if value is None else (Metric("validation:rmse", value, 1),)
    record = TrainingRecord(metrics=metrics, failure_reason=reason)
    spec = replace(SPEC.definition, tuned={"eta": "0.2"})
    return TrainingJob("u", Scope("1", "r"), "n", 0, 0, spec, 1 if stopping else None, phase, record, "t")


def planned(jobs: list[TrainingJob], spec: TuningSpec = SPEC, **more: object) -> Action | None:
    told = {"stop_requested": False, "created_us": 0, "now_us": 0, "slots": 2, **more}
    return plan(spec, jobs, **told)  # type: ignore[arg-type]


DONE, RUNS, FAILED = job(Phase.COMPLETED, 1.0), job(Phase.TRAINING), job(Phase.FAILED, reason="why")
TWO = replace(SPEC, parallel=2)


@pytest.mark.parametrize(
    ("jobs", "spec", "more", "action"),
    [
        ([], SPEC, {}, Spawn(0)),
        ([RUNS], SPEC, {}, None),
        ([RUNS], TWO, {}, Spawn(1)),
        ([RUNS], TWO, {"slots": 1}, None),
        ([DONE, RUNS], TWO, {}, Spawn(2)),
        ([DONE] * 3 + [RUNS], TWO, {}, None),
        ([DONE] * 4, TWO, {}, End(TuningStatus.COMPLETED)),
        ([DONE, FAILED, FAILED, FAILED], TWO, {}, End(TuningStatus.COMPLETED)),
        ([DONE, RUNS], TWO, {"stop_requested": True}, StopAll()),
        ([DONE, job(Phase.TRAINING, stopping=True)], TWO, {"stop_requested": True}, None),
        ([DONE], TWO, {"stop_requested": True}, End(TuningStatus.STOPPED)),
        ([DONE], replace(SPEC, target=1.0), {}, End(TuningStatus.COMPLETED)),
        ([DONE], replace(SPEC, runtime_max_s=1), {"now_us": 999_999}, Spawn(1)),
        ([DONE], replace(SPEC, runtime_max_s=1), {"now_us": 1_000_000}, End(TuningStatus.COMPLETED)),
    ],
)
def test_the_table(jobs: list[TrainingJob], spec: TuningSpec, more: dict[str, object], action: Action | None) -> None:
    assert planned(jobs, spec, **more) == action


def test_a_search_without_success_fails() -> None:
    end = planned([FAILED] * 4)
    assert isinstance(end, End)
    assert (end.status, end.reason.endswith("why")) == (TuningStatus.FAILED, True)
    many = replace(SPEC, jobs_max=50)
    assert planned([FAILED] * 5 + [RUNS], many) == StopAll()
    early = planned([FAILED] * 5 + [job(Phase.STOPPED)], many)
    assert isinstance(early, End)
    assert early.reason.startswith("No training job succeeded after 5 attempts.")


def test_only_trainings_that_ended_have_a_value() -> None:
    assert trial_of(SPEC, job(Phase.TRAINING, 1.0)) == Trial({"eta": "0.2"}, False, None)
    assert trial_of(SPEC, job(Phase.FAILED, 1.0)).value is None
    assert trial_of(SPEC, job(Phase.STOPPED, 1.0)).value == 1.0


def test_a_grid_counts_through_its_combinations() -> None:
    choices = (Choice("a", ("x", "y")), Choice("b", ("1", "2", "3")))
    spec = replace(SPEC, strategy="Grid", jobs_max=None, numbers=(), choices=choices)
    found = [tuple(grid(spec, index).values()) for index in range(spec.jobs)]
    assert found == [("x", "1"), ("x", "2"), ("x", "3"), ("y", "1"), ("y", "2"), ("y", "3")]


RANGES = (
    NumberRange("whole", 1, 3, integer=True),
    NumberRange("plain", -1.0, 1.0, "Linear"),
    NumberRange("log", 1e-6, 1.0, "Logarithmic"),
    NumberRange("reverse", 0.0, 0.999, "ReverseLogarithmic"),
)


def test_draws_are_in_their_ranges_and_come_again() -> None:
    spec = replace(SPEC, numbers=RANGES, choices=(Choice("kind", ("a", "b")),))
    draws = [draw(spec, "seed", index, []) for index in range(300)]
    assert draws == [draw(spec, "seed", index, []) for index in range(300)]
    assert {one["whole"] for one in draws} == {"1", "2", "3"}
    assert {one["kind"] for one in draws} == {"a", "b"}
    for number in RANGES:
        assert all(number.low <= float(one[number.name]) <= number.high for one in draws), number.name
    assert sum(float(one["log"]) < 1e-3 for one in draws) > 100
    assert sum(float(one["reverse"]) > 0.9 for one in draws) > 100


def test_a_draw_avoids_what_was_tried_while_something_else_is_left() -> None:
    spec = replace(SPEC, numbers=(), choices=(Choice("kind", ("a", "b")),))
    assert all(draw(spec, "s", index, [Trial({"kind": "a"})]) == {"kind": "b"} for index in range(20))
    assert draw(spec, "s", 0, [Trial({"kind": "a"}), Trial({"kind": "b"})])


def test_the_bayesian_search_learns_from_trials_of_every_kind() -> None:
    import json

    spec = replace(SPEC, numbers=RANGES, choices=(Choice("kind", ("a", "b")),))
    trials: list[Trial] = []
    for index in range(12):
        tuned = draw(spec, "s", index, trials)
        value = (float(tuned["plain"]) - 0.5) ** 2
        trials.append(Trial(tuned, ended=index % 4 != 3, value=value if index % 4 < 2 else None))
    raw = question(spec, "s", 12, trials)
    suggested = tuning_bayes.suggest(json.loads(raw))
    assert suggested == tuning_bayes.suggest(json.loads(raw))
    tuned = answer(spec, json.dumps(suggested).encode())
    assert set(tuned) == {"whole", "plain", "log", "reverse", "kind"}
    assert tuned["whole"] in ("1", "2", "3")
    assert tuned["kind"] in ("a", "b")
    for number in RANGES:
        assert number.low - 1e-9 <= float(tuned[number.name]) <= number.high + 1e-9
    assert math.isfinite(float(tuned["reverse"]))
