"""Hyperparameters of the XGBoost algorithm: texts in, checked values out. Standard library only.

Names, types, ranges and words of refusals follow the container (its algorithm_mode/hyperparameter_validation.py).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence  # noqa: UP035 - Python 3.9

MAXIMIZED = (
    "accuracy", "auc", "aucpr", "balanced_accuracy", "f1", "f1_binary", "f1_macro", "map", "ndcg", "precision", "r2",
    "recall", "precision_macro", "precision_micro", "recall_macro", "recall_micro",
)  # fmt: skip
MINIMIZED = (
    "aft-nloglik", "cox-nloglik", "error", "gamma-deviance", "gamma-nloglik", "interval-regression-accuracy", "logloss",
    "mae", "mape", "merror", "mlogloss", "mphe", "mse", "poisson-nloglik", "rmse", "rmsle", "tweedie-nloglik",
)  # fmt: skip
OBJECTIVES = (
    "aft_loss_distribution", "binary:logistic", "binary:logitraw", "binary:hinge", "count:poisson", "multi:softmax",
    "multi:softprob", "rank:pairwise", "rank:ndcg", "rank:map", "reg:linear", "reg:squarederror", "reg:logistic",
    "reg:gamma", "reg:pseudohubererror", "reg:squaredlogerror", "reg:absoluteerror", "reg:tweedie", "survival:aft",
    "survival:cox",
)  # fmt: skip
_THRESHOLDED = ("error", "ndcg", "map")
REFUSED = {
    "_kfold": "k-fold cross-validation is not served by Clary",
    "_num_cv_round": "k-fold cross-validation is not served by Clary",
    "use_dask_gpu_training": "training on several GPUs is not served by Clary",
}


class UserError(Exception):
    """What the user can put right; the text ends in FailureReason."""


@dataclass(frozen=True)
class _Interval:
    low: float = float("-inf")
    high: float = float("inf")
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        left = "(" if self.open_low or self.low == float("-inf") else "["
        right = ")" if self.open_high or self.high == float("inf") else "]"
        low = "-inf" if self.low == float("-inf") else f"{self.low:g}"
        high = "+inf" if self.high == float("inf") else f"{self.high:g}"
        return f"{left}{low}, {high}{right}"


Rule = tuple[Callable[[str], Any], Any]
"""How a text is read, and what the value must be in (None: anything)."""


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(text) from error


def _int(low: float = float("-inf"), high: float = float("inf")) -> Rule:
    return int, _Interval(low, high)


def _float(low: float = float("-inf"), high: float = float("inf"), **more: bool) -> Rule:
    return float, _Interval(low, high, **more)


def _one(*values: str) -> Rule:
    return str, list(values)


_SHARE = _float(0, 1, open_low=True)
_UNIT = _float(0, 1)
RULES: Mapping[str, Rule] = {
    "num_round": _int(1),
    "csv_weights": _int(0, 1),
    "early_stopping_rounds": _int(1),
    "booster": _one("gbtree", "gblinear", "dart"),
    "verbosity": _int(0, 3),
    "silent": _int(0, 1),
    "nthread": _int(1),
    "eta": _UNIT,
    "gamma": _float(0),
    "max_depth": _int(0),
    "min_child_weight": _float(0),
    "max_delta_step": _float(0),
    "subsample": _SHARE,
    "colsample_bytree": _SHARE,
    "colsample_bylevel": _SHARE,
    "colsample_bynode": _SHARE,
    "sampling_method": _one("uniform", "gradient_based"),
    "lambda": _float(0),
    "alpha": _float(0),
    "tree_method": _one("auto", "exact", "approx", "hist", "gpu_hist"),
    "sketch_eps": _float(0, 1, open_low=True, open_high=True),
    "scale_pos_weight": _float(0, open_low=True),
    "updater": (_words, None),
    "dsplit": _one("row", "col"),
    "refresh_leaf": _int(0, 1),
    "process_type": _one("default", "update"),
    "grow_policy": _one("depthwise", "lossguide"),
    "max_leaves": _int(0),
    "max_bin": _int(0),
    "predictor": _one("auto", "cpu_predictor", "gpu_predictor"),
    "monotone_constraints": (_literal, None),
    "interaction_constraints": (_literal, None),
    "single_precision_histogram": _one("true", "false"),
    "deterministic_histogram": _one("true", "false"),
    "sample_type": _one("uniform", "weighted"),
    "normalize_type": _one("tree", "forest"),
    "rate_drop": _UNIT,
    "one_drop": _int(0, 1),
    "skip_drop": _UNIT,
    "lambda_bias": _UNIT,
    "tweedie_variance_power": _float(1, 2, open_low=True, open_high=True),
    "huber_slope": _float(0, open_low=True),
    "objective": _one(*OBJECTIVES),
    "num_class": _int(2),
    "base_score": _float(),
    "_tuning_objective_metric": (str, None),
    "eval_metric": (_words, None),
    "seed": _int(-(2**31) + 1, 2**31 - 2),
    "num_parallel_tree": _int(1),
    "save_model_on_termination": _one("true", "false"),
    "aft_loss_distribution": _one("normal", "logistic", "extreme"),
    "aft_loss_distribution_scale": _float(0, open_low=True),
}
_OURS = (
    "num_round", "csv_weights", "early_stopping_rounds", "eval_metric", "_tuning_objective_metric",
    "save_model_on_termination", "silent", "predictor", "dsplit", "sketch_eps", "single_precision_histogram",
    "deterministic_histogram",
)  # fmt: skip
"""Not for `xgboost.train`: used here, or options of former versions that its library no longer has."""


@dataclass(frozen=True)
class Settings:
    """What a training goes by."""

    params: Mapping[str, Any]
    """For `xgboost.train`, without eval_metric."""
    num_round: int
    eval_metrics: Sequence[str]
    """Sorted, as the container has them; empty: the objective's own."""
    csv_weights: bool
    early_stopping_rounds: int
    """0: none."""
    save_on_termination: bool


def read_settings(given: Mapping[str, str]) -> Settings:
    """The settings of hyperparameters as texts. Raises UserError as the container words it."""
    if "num_round" not in given:
        raise UserError("Missing required hyperparameter: num_round")
    values = {name: _value(name, _bare(text)) for name, text in given.items() if not name.startswith("sagemaker_")}
    objective = values.get("objective")
    if objective in ("multi:softmax", "multi:softprob") and "num_class" not in values:
        raise UserError("Require input for parameter 'num_class' for multi-classification")
    wanted = set(values.get("eval_metric", ()))
    tuned = values.get("_tuning_objective_metric", "")
    if tuned:
        wanted.add(tuned.rpartition(":")[2])
    for metric in wanted:
        _check_metric(metric)
    params = {name: value for name, value in values.items() if name not in _OURS}
    if objective == "reg:linear":
        params["objective"] = "reg:squarederror"
    if "updater" in params:
        params["updater"] = ",".join(params["updater"])
    if values.get("silent"):
        params.setdefault("verbosity", 0)
    return Settings(
        params=params,
        num_round=values["num_round"],
        eval_metrics=sorted(wanted),
        csv_weights=values.get("csv_weights") == 1,
        early_stopping_rounds=values.get("early_stopping_rounds", 0),
        save_on_termination=values.get("save_model_on_termination") == "true",
    )


def _bare(text: str) -> str:
    """SDKs send texts as JSON: `"reg:squarederror"` with its quotes."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _value(name: str, text: str) -> Any:
    if name in REFUSED:
        raise UserError(f"Hyperparameter {name}: {REFUSED[name]}")
    if name not in RULES:
        raise UserError(f"Extraneous hyperparameter found: {name}")
    read, allowed = RULES[name]
    try:
        value = read(text)
    except ValueError:
        raise UserError(f"Hyperparameter {name}: could not parse value '{text}'") from None
    if allowed is not None and value not in allowed:
        raise UserError(f"Hyperparameter {name}: {value} is not in {allowed}")
    return value


def _check_metric(metric: str) -> None:
    name, at, threshold = metric.partition("@")
    if at:
        if name not in _THRESHOLDED:
            raise UserError(
                f"Metric '{metric}' is not supported. Parameter 'eval_metric' with customized threshold should be one "
                "of these options: 'error', 'ndcg', 'map'."
            )
        try:
            float(threshold)
        except ValueError:
            raise UserError(f"Threshold value 't' in '{name}@t' expects float input.") from None
    elif metric not in MAXIMIZED + MINIMIZED:
        raise UserError(f"Hyperparameter eval_metric: value {metric} not in range {list(MAXIMIZED + MINIMIZED)}")
