"""SageMaker SDK 3.x, as published."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("story", ["resources", "builder"])
def test_a_model_is_deployed_asked_and_deleted(run: Run, regressor: Path, story: str) -> None:
    assert "done" in run("sagemaker3", "sagemaker3_calls.py", story, str(regressor))
