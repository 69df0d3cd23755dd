"""Default functions of the images that need a framework, on the framework itself: gigabytes, so not Clary's own.

CLARY_TORCH_PYTHON and CLARY_TENSORFLOW_PYTHON name interpreters that have torch and transformers, and tensorflow.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("script", "variable"),
    [
        ("pytorch_calls.py", "CLARY_TORCH_PYTHON"),
        ("huggingface_calls.py", "CLARY_TORCH_PYTHON"),
        ("tensorflow_calls.py", "CLARY_TENSORFLOW_PYTHON"),
    ],
)
def test_the_default_functions_on_the_framework_itself(script: str, variable: str) -> None:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no interpreter with the framework")
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([python, str(HERE / script)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.startswith("done")
