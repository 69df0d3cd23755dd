"""MLflow's SageMaker deployment client, as published."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_model_folder_is_deployed_asked_replaced_and_deleted(run: Run) -> None:
    assert "done" in run("mlflow", "mlflow_calls.py")
