"""Image URIs -> runtime and tag; refusals name the value and what is served."""

import subprocess
import sys

import pytest

from clary.domain.errors import Invalid
from clary.runtimes.images import OWN_TAGS, SKLEARN_TAGS, XGBOOST_TAGS, Image, catalogue, image_for, parse_image
from clary.runtimes.registry import names

XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost"


@pytest.mark.parametrize(
    ("uri", "runtime", "tag"),
    [
        (f"{XGBOOST}:1.7-1", "xgboost", "1.7-1"),
        (f"{XGBOOST}:1.2-2", "xgboost", "1.2-2"),
        (f"{XGBOOST}:0.90-2-cpu-py3", "xgboost", "0.90-2"),
        (f"{XGBOOST}:3.0-5", "xgboost", "3.0-5"),
        ("811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:1", "xgboost", "1"),
        ("433757028032.dkr.ecr.us-west-2.amazonaws.com/xgboost:latest", "xgboost", "latest"),
        ("450853457545.dkr.ecr.cn-north-1.amazonaws.com.cn/sagemaker-xgboost:1.5-1", "xgboost", "1.5-1"),
        (
            "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
            "sklearn",
            "1.2-1",
        ),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:1.3-1", "xgboost", "1.3-1"),
        ("763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312", "pytorch", "2.6.0"),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-inference:2.19.0-cpu", "tensorflow", "2.19.0"),
        (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:"
            "2.6.0-transformers4.51.3-gpu-py312-cu124-ubuntu22.04",
            "huggingface",
            "2.6.0-transformers4.51.3-gpu-py312-cu124-ubuntu22.04",
        ),
        ("clary/onnx:1", "onnx", "1"),
        ("clary/lightgbm:1", "lightgbm", "1"),
        ("clary/mlflow:1", "pyfunc", "1"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/clary/mlflow:1", "pyfunc", "1"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/mlflow-pyfunc:2.9.2", "pyfunc", "2.9.2"),
    ],
)
def test_an_image_names_its_runtime_and_tag(uri: str, runtime: str, tag: str) -> None:
    found = parse_image(uri)
    assert (found.runtime, found.tag) == (runtime, tag)


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        (f"{XGBOOST}:1.9-1", "'1.9-1'"),
        (f"{XGBOOST}:1.7-1-gpu-py3", "'1.7-1-gpu-py3'"),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-tritonserver:23.12-py3", "sagemaker-tritonserver"),
        ("811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:1.7-1", "'1.7-1'"),
        (XGBOOST, XGBOOST),
        (f"{XGBOOST}@sha256:0123", "sha256"),
        ("xgboost:1.7-1", "'xgboost:1.7-1'"),
        ("docker.io/library/xgboost:1", "docker.io"),
        ("clary/onnx:2", "'2'"),
        ("clary/other:1", "clary/other"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/mlflow-pyfunc:latest", "'latest'"),
        (f"{XGBOOST}:1.7-1\n", "1.7-1"),
        ("", "''"),
    ],
)
def test_what_is_not_served_is_refused_by_name(uri: str, named: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_image(uri)
    assert named in refused.value.message
    assert "sagemaker-xgboost:{0.90-1" in refused.value.message


@pytest.mark.parametrize("runtime", names())
def test_the_image_that_deploy_uses_is_served(runtime: str) -> None:
    found = parse_image(image_for(runtime, "eu-north-1"))
    assert found.runtime == runtime
    assert found.tag in (*XGBOOST_TAGS, *SKLEARN_TAGS, *OWN_TAGS) or found.repository.endswith("-inference")


def test_an_image_is_a_value() -> None:
    assert parse_image(f"{XGBOOST}:1.7-1") == Image("xgboost", "1.7-1", "sagemaker-xgboost")


def test_control_and_the_cli_import_these_without_any_model_library() -> None:
    code = (
        "import clary.runtimes.images, clary.runtimes.registry, clary.runtimes.detect, sys;"
        "clary.runtimes.registry.modules_of('xgboost');"
        "print([m for m in ('numpy', 'xgboost', 'sklearn', 'joblib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_entry_of_the_catalogue_is_an_image_that_parses() -> None:
    entries = catalogue()
    assert {entry.repository for entry in entries} >= {"sagemaker-xgboost", "sagemaker-scikit-learn", "clary/onnx"}
    for entry in entries:
        found = parse_image(entry.uri)
        assert (found.runtime, found.repository) == (entry.runtime, entry.repository)
