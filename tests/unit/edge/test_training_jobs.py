"""CreateTrainingJob: whose commands for a container are understood."""

from __future__ import annotations

from typing import Any

import pytest

from clary.domain.errors import NotServed
from clary.edge.aws.resources.training_jobs import DRIVER_COMMAND, spec_of
from tests.support.training import request


def members(**algorithm: Any) -> dict[str, Any]:
    given = request("job", "bucket")
    return {**given, "AlgorithmSpecification": {**given["AlgorithmSpecification"], **algorithm}}


def test_the_driver_of_the_sdk_is_understood() -> None:
    entrypoint, arguments = DRIVER_COMMAND[:1], DRIVER_COMMAND[1:]
    assert spec_of(members(ContainerEntrypoint=entrypoint, ContainerArguments=arguments), {}).driven
    assert not spec_of(members(), {}).driven


@pytest.mark.parametrize(
    "algorithm",
    [
        {"ContainerEntrypoint": ["/bin/bash"]},
        {"ContainerEntrypoint": ["python"], "ContainerArguments": ["train.py"]},
        {"ContainerArguments": ["--verbose"]},
    ],
)
def test_any_other_command_is_refused(algorithm: dict[str, list[str]]) -> None:
    with pytest.raises(NotServed, match="A command for the container"):
        spec_of(members(**algorithm), {})
