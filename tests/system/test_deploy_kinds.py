"""`clary deploy` of each kind of model, against a real server: what the endpoint answers is what the model answers."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from clary.cli.exit_codes import Exit
from tests.support.server import Server
from tests.system.test_cli import clary, document

ROWS = np.array([[0.5, -1.25, 3.0], [1.0, 2.0, -0.5]])
BODY = "0.5,-1.25,3\n1,2,-0.5"
MODEL = LinearRegression().fit(np.eye(3), [1.0, 2.0, 3.0])
SCRIPT = """
import json
from pathlib import Path
from rule import apply

def model_fn(model_dir):
    return json.loads(Path(model_dir, "weights.json").read_text())

def input_fn(body, content_type):
    return [[float(cell) for cell in line.split(",")] for line in body.splitlines()]

def predict_fn(rows, weights):
    return [apply(row, weights) for row in rows]

def output_fn(found, accept):
    return json.dumps(found), "application/json"
"""


def a_joblib(folder: Path) -> tuple[Path, Any]:
    joblib.dump(MODEL, folder / "model.joblib")
    return folder / "model.joblib", MODEL.predict(ROWS)


def a_pickle(folder: Path) -> tuple[Path, Any]:
    (folder / "model.pkl").write_bytes(pickle.dumps(MODEL))
    return folder / "model.pkl", MODEL.predict(ROWS)


def a_lightgbm(folder: Path) -> tuple[Path, Any]:
    lightgbm = pytest.importorskip("lightgbm")
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(200, 3))
    data = lightgbm.Dataset(rows, rows @ [1.0, -2.0, 0.5])
    booster = lightgbm.train({"verbose": -1, "num_threads": 1, "objective": "regression"}, data, 5)
    booster.save_model(folder / "model.txt")
    return folder / "model.txt", booster.predict(ROWS)


def an_onnx(folder: Path) -> tuple[Path, Any]:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests.support.onnx_models import regressor

    (folder / "model.onnx").write_bytes(regressor([1.0, -2.0, 0.5]).SerializeToString())
    return folder / "model.onnx", ROWS @ [1.0, -2.0, 0.5]


def a_folder_with_a_script(folder: Path) -> tuple[Path, Any]:
    (folder / "inference.py").write_text(SCRIPT)
    (folder / "rule.py").write_text(
        "def apply(row, weights):\n    return sum(a * b for a, b in zip(row, weights, strict=True))\n"
    )
    (folder / "weights.json").write_text("[1.0, -2.0, 0.5]")
    return folder, ROWS @ [1.0, -2.0, 0.5]


KINDS = [a_joblib, a_pickle, a_lightgbm, an_onnx, a_folder_with_a_script]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_each_kind(server: Server, tmp_path: Path, make: Callable[[Path], tuple[Path, Any]]) -> None:
    path, expected = make(tmp_path)
    name = make.__name__.replace("_", "-")
    document(clary(server, "deploy", str(path), "--name", name, "--json"))
    asked = clary(server, "invoke", name, "--accept", "application/json", stdin=BODY)
    assert json.loads(asked.stdout) == pytest.approx(list(expected), rel=1e-5), asked.stderr


def test_a_script_that_does_not_answer_its_sample_does_not_serve(server: Server, tmp_path: Path) -> None:
    path, _ = a_folder_with_a_script(tmp_path)
    (tmp_path / "sample.csv").write_text("a,b,c\n1,2,3\n")
    deploy = ("deploy", str(path), "--name", "sampled", "--sample", str(tmp_path / "sample.csv"))
    made = document(clary(server, *deploy, "--json"))
    assert made["status"] == "InService"
    refused = clary(server, "invoke", "sampled", "--data", "1,two,3")
    assert "Row 1, column 2 'b' holds 'two', which is no number." in refused.stderr
    (tmp_path / "rule.py").write_text("def apply(row, weights):\n    raise KeyError('weights')\n")
    failed = clary(server, *deploy[:3], "broken", *deploy[4:])
    assert failed.returncode == Exit.FAILED, failed.stderr
    assert "does not answer its own sample" in failed.stderr


def test_variables_and_the_image_reach_the_model(server: Server, tmp_path: Path) -> None:
    path, _ = a_joblib(tmp_path)
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.0-1-cpu-py3"
    env = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=text/csv"
    made = document(clary(server, "deploy", str(path), "--name", "told", "--image", image, "-e", env, "--json"))
    described = server.client("sagemaker").describe_model(ModelName=str(made["model"]))["PrimaryContainer"]
    assert (described["Image"], described["Environment"]) == (image, dict([env.split("=")]))
    assert clary(server, "invoke", "told", stdin=BODY).stdout.count("\n") == 2
