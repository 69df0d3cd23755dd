"""Bayesian search by optuna's TPE, as a process: a question on stdin, the next combination on stdout, both JSON.

In a process of its own because optuna brings numpy, which control does not load. Needs the extra `clary[tuning]`.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

STARTUP_TRIALS = 5
"""Random tries before the model of the objective is of use."""


def suggest(question: dict[str, Any]) -> dict[str, Any]:
    """The next combination. Trials that run are taken into account as if they were bad (constant liar)."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spaces = _spaces(question)
    sampler = optuna.samplers.TPESampler(seed=question["seed"], n_startup_trials=STARTUP_TRIALS, constant_liar=True)
    study = optuna.create_study(direction="maximize" if question["maximize"] else "minimize", sampler=sampler)
    for trial in question["trials"]:
        params = {name: _inner(question, name, text) for name, text in trial["tuned"].items()}
        if trial["value"] is not None:
            made = optuna.trial.create_trial(params=params, distributions=spaces, value=trial["value"])
        else:
            state = optuna.trial.TrialState.FAIL if trial["ended"] else optuna.trial.TrialState.RUNNING
            made = optuna.trial.create_trial(params=params, distributions=spaces, state=state)
        study.add_trial(made)
    asked = study.ask(fixed_distributions=spaces)
    return {name: _outer(question, name, value) for name, value in asked.params.items()}


def _spaces(question: dict[str, Any]) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    spaces: dict[str, Any] = {}
    for number in question["numbers"]:
        log = number["scaling"] == "Logarithmic"
        if number["integer"]:
            spaces[number["name"]] = IntDistribution(int(number["low"]), int(number["high"]), log=log)
        elif number["scaling"] == "ReverseLogarithmic":
            spaces[number["name"]] = FloatDistribution(math.log(1 - number["high"]), math.log(1 - number["low"]))
        else:
            spaces[number["name"]] = FloatDistribution(number["low"], number["high"], log=log)
    for choice in question["choices"]:
        spaces[choice["name"]] = CategoricalDistribution(choice["values"])
    return spaces


def _reverse(question: dict[str, Any], name: str) -> bool:
    return any(n["name"] == name and n["scaling"] == "ReverseLogarithmic" for n in question["numbers"])


def _inner(question: dict[str, Any], name: str, text: str) -> Any:
    """A hyperparameter's text as the search has it."""
    if any(choice["name"] == name for choice in question["choices"]):
        return text
    number = next(number for number in question["numbers"] if number["name"] == name)
    if number["integer"]:
        return int(text)
    value = min(max(float(text), number["low"]), number["high"])
    return math.log(1 - value) if _reverse(question, name) else value


def _outer(question: dict[str, Any], name: str, value: Any) -> Any:
    return 1 - math.exp(value) if _reverse(question, name) else value


if __name__ == "__main__":
    json.dump(suggest(json.load(sys.stdin)), sys.stdout)
