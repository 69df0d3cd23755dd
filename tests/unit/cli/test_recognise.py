"""What a path is: a model, a model with its script, and which image is meant for it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import joblib
import pytest
from sklearn.linear_model import LinearRegression

from clary.cli.exit_codes import CliError
from clary.cli.pack import packed
from clary.cli.recognise import recognised

SCRIPT = "import os\n\ndef model_fn(model_dir):\n    return None\n"
PROGRAM = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}


def folder(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def archived(path: Path) -> set[str]:
    known = recognised(path)
    with packed(path, None, known.names) as (archive, _, __), tarfile.open(fileobj=archive) as tar:
        return set(tar.getnames())


def test_a_script_beside_the_model_goes_into_code(tmp_path: Path) -> None:
    files = {
        "inference.py": SCRIPT,
        "own/words.py": "",
        "requirements.txt": "",
        "model.bin": "x",
        "vocabulary.txt": "y",
    }
    known = recognised(folder(tmp_path / "m", files))
    assert "sagemaker-scikit-learn:" in known.image
    assert known.environment == PROGRAM
    assert "its own script (inference.py), for the scikit-learn image" in known.found.why
    assert archived(tmp_path / "m") == {
        "code/inference.py", "code/own/words.py", "code/requirements.txt", "model.bin", "vocabulary.txt",
    }  # fmt: skip


def test_a_script_in_code_stays_there_and_in_an_archive_too(tmp_path: Path) -> None:
    root = folder(tmp_path / "m", {"code/inference.py": SCRIPT, "model.bin": "x"})
    assert recognised(root).environment == PROGRAM
    assert archived(root) == {"code/inference.py", "model.bin"}
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(root, ".")
    assert recognised(tmp_path / "model.tar.gz").environment == PROGRAM


@pytest.mark.parametrize(
    ("line", "image"),
    [
        ("import torch", "pytorch-inference"),
        ("from tensorflow.keras import models", "tensorflow-inference"),
        ("from transformers import pipeline\nimport torch", "huggingface-pytorch-inference"),
        ("import xgboost as xgb", "sagemaker-xgboost"),
        ("import sklearn_crfsuite", "sagemaker-scikit-learn"),
    ],
)
def test_the_image_is_that_of_the_framework_the_script_imports(tmp_path: Path, line: str, image: str) -> None:
    assert f"/{image}:" in recognised(folder(tmp_path, {"inference.py": f"{line}\n{SCRIPT}"})).image


def test_several_scripts_want_an_entry_point(tmp_path: Path) -> None:
    root = folder(tmp_path, {"serve.py": SCRIPT, "words.py": ""})
    with pytest.raises(CliError, match="several scripts") as refused:
        recognised(root)
    assert "--entry-point" in refused.value.remedy
    assert recognised(root, entry_point="serve.py").environment["SAGEMAKER_PROGRAM"] == "serve.py"
    with pytest.raises(CliError, match=r"'none.py' is not in .*; it holds serve.py, words.py"):
        recognised(root, entry_point="none.py")


def test_without_a_script_it_is_the_models_own_kind(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(LinearRegression().fit([[0], [1]], [0, 1]), path)
    known = recognised(path)
    assert (known.environment, known.found.runtime) == ({}, "sklearn")
    with pytest.raises(CliError, match="holds no script"):
        recognised(path, entry_point="inference.py")
    own = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.0-1-cpu-py3"
    assert recognised(path, image=own).image == own
    with pytest.raises(CliError, match="not served"):
        recognised(path, image=own.replace("scikit-learn", "other"))


def test_code_of_an_mlflow_folder_is_no_script_of_an_image(tmp_path: Path) -> None:
    root = folder(tmp_path, {"MLmodel": "flavors:\n  python_function:\n    loader_module: x\n", "code/own.py": ""})
    known = recognised(root)
    assert (known.found.runtime, known.environment) == ("pyfunc", {})


def test_variables_of_the_environment(tmp_path: Path) -> None:
    root = folder(tmp_path, {"inference.py": SCRIPT})
    known = recognised(root, env=["A=1=2", "SAGEMAKER_PROGRAM=other.py"])
    assert known.environment == {**PROGRAM, "A": "1=2", "SAGEMAKER_PROGRAM": "other.py"}
    with pytest.raises(CliError, match="is not NAME=VALUE"):
        recognised(root, env=["A"])
