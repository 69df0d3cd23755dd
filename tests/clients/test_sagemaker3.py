"""SageMaker SDK 3.x, as published."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("story", ["resources", "builder"])
def test_a_model_is_deployed_asked_and_deleted(run: Run, regressor: Path, story: str) -> None:
    assert "done" in run("sagemaker3", "sagemaker3_calls.py", story, str(regressor))


@pytest.mark.parametrize("story", ["trainer", "source"])
def test_a_trainer_waits_and_shows_the_log(run: Run, regressor: Path, story: str) -> None:
    said = run("sagemaker3", "sagemaker3_calls.py", story, str(regressor))
    assert said.endswith("done\n")
    assert ("train-rmse:" if story == "trainer" else "rows=2; rate=0.5") in said


def test_a_notebook_of_aws_finds_its_role_and_bucket(run: Run, regressor: Path) -> None:
    assert "done" in run("sagemaker3", "sagemaker3_calls.py", "notebook", str(regressor), bare=True)
