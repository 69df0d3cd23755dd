"""Airflow's SageMaker operators, hooks and sensors, as published."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_tasks_train_tune_host_update_and_delete(run: Run) -> None:
    said = run("airflow", "airflow_calls.py")
    assert said.endswith("done\n")
    assert "train-rmse:" in said, "the sensor prints the job's log"
    assert "updating it with the given config instead" in said, (
        "the operator knows an endpoint that exists by the error"
    )
