"""Models of every kind that needs no image of SageMaker's, through real boto3; and a server that trusts none."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.support import onnx_models
from tests.support.model import pack
from tests.support.server import Server, wait_until

ROWS = np.random.default_rng(0).normal(size=(60, 3))
SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"


class Call:
    """Its pickle opens a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return open, (self.path, "w")


def dumped(value: object) -> bytes:
    out = io.BytesIO()
    joblib.dump(value, out)
    return out.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("home"), "--untrusted") as it:
        yield it


def failure(server: Server, name: str) -> str:
    client = server.client("sagemaker")
    wait_until(lambda: client.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Failed", f"{name} fails", 60)
    return str(client.describe_endpoint(EndpointName=name)["FailureReason"])


def test_an_onnx_graph_is_served_by_its_own_image(server: Server) -> None:
    graph = onnx_models.regressor([1.0, 2.0, 3.0]).SerializeToString()
    server.host("graph", pack({"model.onnx": graph}), image="clary/onnx:1")
    assert json.loads(server.invoke("graph", "1,2,3\n0,0,1")) == [14.0, 3.0]
    assert server.invoke("graph", "1,2,3", Accept="text/csv") == "14.0\n"
    described = server.client("sagemaker").describe_model(ModelName="graph")
    assert described["PrimaryContainer"]["Image"] == "clary/onnx:1"


def test_a_server_that_trusts_no_model_serves_what_fitted_models_hold(server: Server) -> None:
    server.host("known", pack({"model.joblib": dumped(Ridge().fit(ROWS, ROWS[:, 0]))}), image=SKLEARN)
    assert len(json.loads(server.invoke("known", "1,2,3"))) == 1


def test_a_server_that_trusts_no_model_refuses_what_runs_code(server: Server, tmp_path: Path) -> None:
    server.host("bomb", pack({"model.joblib": dumped(Call(str(tmp_path / "ran")))}), image=SKLEARN, wait=False)
    assert "trusts no model (--untrusted)" in failure(server, "bomb")
    files = {"model.joblib": dumped(Ridge()), "code/inference.py": b"def model_fn(folder):\n    return 1\n"}
    server.host("script", pack(files), image=SKLEARN, wait=False)
    assert "trusts no model (--untrusted)" in failure(server, "script")
    assert not (tmp_path / "ran").exists()
