"""SageMaker SDK 2.x, as published."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Run
from tests.support.server import Server, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_model_is_deployed_asked_updated_and_deleted(run: Run, regressor: Path, server: Server) -> None:
    assert "done" in run("sagemaker2", "sagemaker2_calls.py", "model", str(regressor))
    sagemaker = server.client("sagemaker")
    # The SDK does not wait for the end of a deletion.
    wait_until(lambda: sagemaker.list_endpoints()["Endpoints"] == [], "the endpoint is gone")
    assert sagemaker.list_models()["Models"] == []


def test_scripts_are_uploaded_and_every_serializer_is_understood(run: Run, regressor: Path) -> None:
    assert "done" in run("sagemaker2", "sagemaker2_calls.py", "scripts", str(regressor))


def test_estimators_train_and_deploy(run: Run) -> None:
    said = run("sagemaker2", "sagemaker2_calls.py", "estimators")
    assert said.endswith("done\n")
    assert "train-rmse:" in said, "fit shows the log of the algorithm"
    assert "train_r2=1.0000;" in said, "and of the script"


def test_a_notebook_of_aws_runs_as_it_is(run: Run, regressor: Path) -> None:
    assert "done" in run("sagemaker2", "sagemaker2_calls.py", "notebook", str(regressor), bare=True)
