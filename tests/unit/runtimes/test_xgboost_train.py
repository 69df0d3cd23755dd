"""The XGBoost algorithm's training: settings, data, metrics, and whole runs in a folder."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest
import sklearn.metrics
import xgboost

from clary.domain.training import BUILT_IN_METRICS
from clary.runtimes import xgboost_train
from clary.runtimes.xgboost_data import format_of, read_matrix
from clary.runtimes.xgboost_files import load_file
from clary.runtimes.xgboost_metrics import METRICS, evaluation
from clary.runtimes.xgboost_settings import MAXIMIZED, MINIMIZED, UserError, read_settings
from tests.support.training import rows

# -- settings


def test_texts_become_values() -> None:
    given = {
        "num_round": "10",
        "eta": "0.1",
        "objective": '"reg:linear"',
        "eval_metric": "rmse, mae",
        "_tuning_objective_metric": "validation:r2",
        "updater": "grow_colmaker,prune",
        "monotone_constraints": "(1,-1)",
        "silent": "1",
        "csv_weights": "1",
        "early_stopping_rounds": "3",
        "save_model_on_termination": "true",
        "predictor": "cpu_predictor",
        "sagemaker_region": '"us-east-1"',
    }
    found = read_settings(given)
    assert found.params == {
        "eta": 0.1,
        "objective": "reg:squarederror",
        "updater": "grow_colmaker,prune",
        "monotone_constraints": (1, -1),
        "verbosity": 0,
    }
    assert (found.num_round, found.csv_weights, found.early_stopping_rounds, found.save_on_termination) == (
        10, True, 3, True,
    )  # fmt: skip
    assert found.eval_metrics == ["mae", "r2", "rmse"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "Missing required hyperparameter: num_round"),
        ({"num_rounds": "1", "num_round": "1"}, "Extraneous hyperparameter found: num_rounds"),
        ({"num_round": "ten"}, "could not parse value 'ten'"),
        ({"num_round": "0"}, r"0 is not in \[1, \+inf\)"),
        ({"num_round": "1", "subsample": "0"}, r"0.0 is not in \(0, 1\]"),
        ({"num_round": "1", "booster": "tree"}, "tree is not in"),
        ({"num_round": "1", "objective": "multi:softmax"}, "Require input for parameter 'num_class'"),
        ({"num_round": "1", "eval_metric": "rmse,nice"}, "value nice not in range"),
        ({"num_round": "1", "eval_metric": "rmse@0.5"}, "customized threshold"),
        ({"num_round": "1", "eval_metric": "error@x"}, "expects float input"),
        ({"num_round": "1", "_kfold": "5"}, "not served by Clary"),
        ({"num_round": "1", "monotone_constraints": "import os"}, "could not parse"),
    ],
)
def test_what_the_container_refuses(given: dict[str, str], text: str) -> None:
    with pytest.raises(UserError, match=text):
        read_settings(given)


def test_the_metrics_of_the_container_are_those_of_the_service() -> None:
    assert set(MAXIMIZED + MINIMIZED) == set(BUILT_IN_METRICS)


# -- data


@pytest.mark.parametrize(
    ("kind", "found"),
    [("", "libsvm"), ("csv", "csv"), ("text/csv; label_size=1", "csv"), ("TEXT/CSV;charset=utf8", "csv"),
     ("text/x-libsvm", "libsvm")],
)  # fmt: skip
def test_content_types(kind: str, found: str) -> None:
    assert format_of(kind) == found


@pytest.mark.parametrize(
    ("kind", "text"),
    [("text/csv; label_size=2", "label_size must be equal to 1"), ("application/json", "not an accepted ContentType"),
     ("application/x-parquet", "not served by Clary")],
)  # fmt: skip
def test_refused_content_types(kind: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        format_of(kind)


def matrix(folder: Path, kind: str, *texts: str, weights: bool = False) -> Any:
    for number, text in enumerate(texts):
        path = folder / f"part-{number}" / "rows.txt"
        path.parent.mkdir()
        path.write_text(text)
    (folder / "_SUCCESS").write_text("")
    return read_matrix(folder, kind, weights=weights, threads=1)


def dense(found: Any) -> list[list[float]]:
    return numpy.where(found.get_data().toarray() == 0, -1, found.get_data().toarray()).tolist()  # type: ignore[no-any-return]


def test_csv_of_several_files_and_blank_cells(tmp_path: Path) -> None:
    found = matrix(tmp_path, "csv", "1,2,3\n0,,4\n", "1;5;nan\n")
    assert found.get_label().tolist() == [1, 0, 1]
    assert dense(found) == [[2, 3], [-1, 4], [5, -1]]
    assert found.num_nonmissing() == 4


def test_csv_with_weights(tmp_path: Path) -> None:
    found = matrix(tmp_path, "csv", "1,0.5,3\n0,2,4\n", weights=True)
    assert (found.get_weight().tolist(), dense(found)) == ([0.5, 2], [[3], [4]])


def test_libsvm_with_weights_and_comments(tmp_path: Path) -> None:
    found = matrix(tmp_path, "libsvm", "1:0.5 0:2 3:4 # note\n\n0:2 1:1\n")
    assert (found.num_row(), found.num_col()) == (2, 4)
    assert (found.get_label().tolist(), found.get_weight().tolist()) == ([1, 0], [0.5, 2])
    assert dense(found) == [[2, -1, -1, 4], [-1, 1, -1, -1]]


@pytest.mark.parametrize(
    ("kind", "texts", "text"),
    [
        ("csv", ("label,a\n1,2\n",), "First line 'label,a...' of file 'rows.txt' is not 'CSV' format"),
        ("csv", ("1,2\n1,two\n",), "Failed to load csv data"),
        ("csv", ("1,2\n", "1,2,3\n"), "different numbers of columns"),
        ("csv", ("1\n",), "no feature"),
        ("csv", (",2\n",), "row 1 has no label"),
        ("libsvm", ("1,2,3\n",), "not 'LIBSVM' format"),
        ("libsvm", ("1:1 0:1\n1 0:1\n",), "some labels have a weight"),
        ("libsvm", ("1 -1:1\n",), "an index is negative"),
    ],
)
def test_data_that_is_none(tmp_path: Path, kind: str, texts: tuple[str, ...], text: str) -> None:
    with pytest.raises(UserError, match=text):
        matrix(tmp_path, kind, *texts)


def test_no_data_is_none(tmp_path: Path) -> None:
    assert matrix(tmp_path, "csv") is None
    assert read_matrix(tmp_path / "absent", "csv", weights=False, threads=1) is None


# -- metrics


def test_metrics_are_those_of_scikit_learn() -> None:
    draw = numpy.random.default_rng(0)
    labels = draw.integers(0, 3, 200).astype(numpy.float32)
    scores = draw.random((200, 3))
    found = scores.argmax(axis=1)
    of = sklearn.metrics
    assert evaluation("accuracy", scores, labels) == of.accuracy_score(labels, found)
    assert evaluation("balanced_accuracy", scores, labels) == pytest.approx(of.balanced_accuracy_score(labels, found))
    for name in ("f1", "precision", "recall"):
        macro = getattr(of, f"{name}_score")(labels, found, average="macro")
        assert evaluation(f"{name}_macro", scores, labels) == pytest.approx(macro)
    binary = (labels > 0).astype(numpy.float32)
    share = draw.random(200)
    for name in ("f1_binary", "precision", "recall"):
        expected = getattr(of, f"{name.removesuffix('_binary')}_score")(binary, share > 0.5)
        assert evaluation(name, share, binary) == pytest.approx(expected)
    assert evaluation("mse", share, binary) == pytest.approx(of.mean_squared_error(binary, share))
    assert evaluation("r2", share, binary) == pytest.approx(of.r2_score(binary, share))
    assert set(METRICS) <= set(MAXIMIZED + MINIMIZED)


# -- whole runs


def job(folder: Path, hyperparameters: dict[str, str], channels: tuple[str, ...] = ("train", "validation")) -> Path:
    config = folder / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (config / "inputdataconfig.json").write_text(json.dumps({name: {"ContentType": "text/csv"} for name in channels}))
    for seed, name in enumerate(channels):
        data = folder / "input" / "data" / name
        data.mkdir(parents=True)
        (data / "rows.csv").write_text(rows(80, seed))
    return folder


def test_a_run_prints_the_images_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = job(tmp_path, {"num_round": "3", "eval_metric": "rmse,r2", "objective": "reg:squarederror"})
    xgboost_train.train(base, "1.7-1", 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Train matrix has 80 rows and 4 columns", "Validation matrix has 80 rows and 4 columns"]
    assert [line.split("#011")[0] for line in lines[2:]] == ["[0]", "[1]", "[2]"]
    names = [part.split(":")[0] for part in lines[2].split("#011")[1:]]
    assert names == ["train-rmse", "train-r2", "validation-rmse", "validation-r2"]
    model = base / "model" / "xgboost-model"
    assert not load_file(model).pickled
    booster = xgboost.Booster()
    booster.load_model(bytearray(model.read_bytes()))
    assert booster.num_boosted_rounds() == 3


def test_old_images_pickle_their_model(tmp_path: Path) -> None:
    base = job(tmp_path, {"num_round": "2"}, ("train",))
    xgboost_train.train(base, "1.2-1", 1)
    loaded = load_file(base / "model" / "xgboost-model")
    assert loaded.pickled
    assert pickle.loads((base / "model" / "xgboost-model").read_bytes()).num_boosted_rounds() == 2


def test_early_stopping_keeps_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"num_round": "60", "eta": "1", "max_depth": "9", "early_stopping_rounds": "2", "eval_metric": "rmse"}
    base = job(tmp_path, given)
    xgboost_train.train(base, "1.7-1", 1)
    told = [float(line.rpartition(":")[2]) for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(told) < 60
    booster = load_file(base / "model" / "xgboost-model").booster
    assert told[booster.num_boosted_rounds() - 1] == min(told)  # ties are beyond the digits printed


@pytest.mark.parametrize(
    ("hyperparameters", "channels", "reason"),
    [
        ({}, ("train",), "UserError: Missing required hyperparameter: num_round"),
        ({"num_round": "1"}, ("validation",), "UserError: Missing required channel: train"),
        ({"num_round": "1"}, ("train", "test"), "UserError: Extraneous channel found: test"),
        ({"num_round": "1", "objective": "binary:logistic"}, ("train",), "XGB train call failed"),
    ],
)
def test_a_failure_is_left_for_the_reason(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hyperparameters: dict[str, str],
    channels: tuple[str, ...],
    reason: str,
) -> None:
    base = job(tmp_path, hyperparameters, channels)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(base))
    assert xgboost_train.main() == 1
    assert reason in (base / "output" / "failure").read_text()


def test_a_stop_saves_the_model_where_that_is_wanted(tmp_path: Path) -> None:
    for wanted in ("true", "false"):
        given = {"num_round": "50", "save_model_on_termination": wanted}
        base = job(tmp_path / wanted, given, ("train",))
        stop = xgboost_train._Stop()
        stop.request(15, None)
        settings = read_settings(given)
        booster = xgboost_train.fit(
            settings, xgboost_train._matrices(base, {"train": {"ContentType": "csv"}}, settings, 1), 1, stop
        )
        assert booster.num_boosted_rounds() == 1
