"""The XGBoost algorithm's training: what the image does for `train`, in a process of its own.

It finds its input and leaves its model below SAGEMAKER_BASE_DIR as the image does below /opt/ml, prints the same lines
(`[10]#011train-rmse:1.25#011validation-rmse:1.5`) and leaves the reason of a failure in output/failure.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, Mapping  # noqa: UP035 - Python 3.9

import xgboost

from clary.runtimes.xgboost_data import read_matrix
from clary.runtimes.xgboost_files import MODEL_FILE, first_line
from clary.runtimes.xgboost_metrics import METRICS, evaluation
from clary.runtimes.xgboost_settings import MAXIMIZED, Settings, UserError, read_settings

TRAIN, VALIDATION = "train", "validation"
_KNOWN_CHANNELS = (TRAIN, VALIDATION, "code")
_PICKLED_TAGS = ("0.90-1", "0.90-2", "1.0-1", "1.2-1", "1.2-2", "1", "latest")
"""Images that wrote the model as a pickle; from 1.3-1 on it is XGBoost's own format."""


def main() -> int:
    """Train what the environment names; the exit status."""
    base = Path(os.environ["SAGEMAKER_BASE_DIR"])
    try:
        train(base, os.environ.get("CLARY_IMAGE_TAG", ""), int(os.environ.get("SM_NUM_CPUS", "1")))
    except UserError as error:
        return _fail(base, f"UserError: {error}")
    except Exception as error:
        traceback.print_exc()
        return _fail(base, f"{type(error).__name__}: {first_line(error)}")
    return 0


def _fail(base: Path, reason: str) -> int:
    print(reason, flush=True)
    (base / "output").mkdir(parents=True, exist_ok=True)
    (base / "output" / "failure").write_text(reason)
    return 1


def train(base: Path, image_tag: str, threads: int) -> None:
    """Read, train, save. Raises UserError."""
    config = base / "input" / "config"
    settings = read_settings(json.loads((config / "hyperparameters.json").read_text()))
    channels = json.loads((config / "inputdataconfig.json").read_text())
    matrices = _matrices(base, channels, settings, threads)
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop.request)
    booster = fit(settings, matrices, threads, stop)
    if stop.requested and not settings.save_on_termination:
        print("SIGTERM: the training ends without a model (save_model_on_termination is not true).", flush=True)
        return
    model = base / "model" / MODEL_FILE
    model.parent.mkdir(parents=True, exist_ok=True)
    if image_tag in _PICKLED_TAGS:
        with model.open("wb") as out:
            pickle.dump(booster, out)
    else:
        model.write_bytes(bytes(booster.save_raw("ubj")))


def _matrices(base: Path, channels: Mapping[str, Any], settings: Settings, threads: int) -> dict[str, Any]:
    if TRAIN not in channels:
        raise UserError("Missing required channel: train")
    for name in channels:
        if name not in _KNOWN_CHANNELS:
            raise UserError(f"Extraneous channel found: {name}")
    kind = channels[TRAIN].get("ContentType", "")
    matrices = {}
    for name in (TRAIN, VALIDATION):
        if name not in channels:
            continue
        folder = base / "input" / "data" / name
        weights = settings.csv_weights and name == TRAIN
        matrix = read_matrix(folder, kind, weights=weights, threads=threads)
        if matrix is None:
            what = "training" if name == TRAIN else name
            raise UserError(f"No data in {what} channel path {folder}")
        words = "Train" if name == TRAIN else "Validation"
        print(f"{words} matrix has {matrix.num_row()} rows and {matrix.num_col()} columns", flush=True)
        matrices[name] = matrix
    return matrices


def fit(settings: Settings, matrices: Mapping[str, Any], threads: int, stop: _Stop) -> Any:
    """Boost, printing the image's lines. Raises UserError for what XGBoost itself refuses."""
    params = {"nthread": threads, **settings.params}
    own = [metric for metric in settings.eval_metrics if metric in METRICS]
    plain = [metric for metric in settings.eval_metrics if metric not in METRICS]
    if plain:
        params["eval_metric"] = plain
    elif own:
        params["disable_default_eval_metric"] = True
    callbacks: list[Any] = [_Printed(stop)]
    if settings.early_stopping_rounds and VALIDATION in matrices:
        last: list[Any] = (plain + own)[-1:] or [None]
        callbacks.append(
            xgboost.callback.EarlyStopping(
                rounds=settings.early_stopping_rounds,
                metric_name=last[0],
                data_name=VALIDATION,
                maximize=last[0].partition("@")[0] in MAXIMIZED if last[0] else None,
                save_best=True,
            )
        )
    try:
        return xgboost.train(
            params,
            matrices[TRAIN],
            settings.num_round,
            evals=[(matrix, name) for name, matrix in matrices.items()],
            custom_metric=_custom(own) if own else None,
            callbacks=callbacks,
            verbose_eval=False,
        )
    except xgboost.core.XGBoostError as error:
        raise UserError(f"XGB train call failed with exception:\n {first_line(error)}") from None
    except ValueError as error:
        raise UserError(f"XGB train call failed with exception:\n {error}") from None


def _custom(names: list[str]) -> Callable[[Any, Any], list[tuple[str, float]]]:
    def evaluate(predictions: Any, matrix: Any) -> list[tuple[str, float]]:
        return [(name, evaluation(name, predictions, matrix.get_label())) for name in names]

    return evaluate


class _Stop:
    """Whether SIGTERM came."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, _number: int, _frame: object) -> None:
        self.requested = True


class _Printed(xgboost.callback.TrainingCallback):
    """Prints a line for each round, and ends the training when asked to."""

    def __init__(self, stop: _Stop) -> None:
        super().__init__()
        self._stop = stop

    def after_iteration(self, _model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        parts = [f"[{epoch}]"]
        for data, metrics in evals_log.items():
            for name, values in metrics.items():
                last = values[-1]
                parts.append(f"{data}-{name}:{last[0] if isinstance(last, tuple) else last:.5f}")
        sys.stdout.write("#011".join(parts) + "\n")
        sys.stdout.flush()
        return self._stop.requested
