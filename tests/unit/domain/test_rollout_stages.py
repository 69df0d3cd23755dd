"""The stage of a variant in an update, and its message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clary.domain.rollout import CapacitySize, Deployment, Progress, Rolling, Unit
from clary.domain.rollout_stages import Stage, Way, new_stage, old_stage, scaling_stage
from tests.support.plans import fleet

REVISION = fleet(3).revision
(VARIANT,) = REVISION.variants
ROLLING = Deployment(rolling=Rolling(CapacitySize(Unit.INSTANCES, 1), 60))
STEP_2 = Progress(started_us=1, entered_us=2, step=2)
BAKING = replace(STEP_2, reached_us=3)
BACK = replace(BAKING, reason="It failed.")


def way(progress: Progress | None) -> Way:
    return Way(REVISION, 0, ROLLING, progress)


@pytest.mark.parametrize(
    ("on", "ready", "stage"),
    [
        (Way(REVISION, 9), 1, Stage("Creating", "Launching 2 instance(s).", 9)),
        (Way(REVISION, 9), 3, Stage("ActivatingTraffic", "Activating traffic on full capacity of 3 instance(s).", 9)),
        (way(None), 0, Stage("Creating", "Launching 3 instance(s).", 0)),
        (way(STEP_2), 1, Stage("Creating", "Launching 1 instance(s).", 2)),
        (way(STEP_2), 2, Stage("ActivatingTraffic", "Activating traffic on canary capacity of 2 instance(s).", 2)),
        (
            way(BAKING),
            2,
            Stage(
                "Baking",
                "Baking for 60 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 2 "
                "instance(s): 66.67% of the traffic.",
                3,
            ),
        ),
        (way(BACK), 2, Stage("Deleting", "Terminating 2 instance(s). It failed.", 2)),
    ],
)
def test_what_comes(on: Way, ready: int, stage: Stage) -> None:
    assert new_stage(on, VARIANT, ready) == stage


@pytest.mark.parametrize(
    ("on", "ready", "stage"),
    [
        (Way(REVISION, 9), 3, None),
        (way(STEP_2), 3, Stage("Deleting", "Terminating 1 instance(s).", 2)),
        (way(STEP_2), 2, None),
        (way(BACK), 2, Stage("Updating", "Launching 1 instance(s).", 2)),
        (way(BACK), 3, None),
    ],
)
def test_what_goes(on: Way, ready: int, stage: Stage | None) -> None:
    assert old_stage(on, VARIANT, ready) == stage


def test_what_is_scaled() -> None:
    more, fewer = replace(VARIANT, instance_count=4), replace(VARIANT, instance_count=1)
    assert scaling_stage(VARIANT, more, 5) == Stage("Updating", "Scaling out desired instance count to 4.", 5)
    assert scaling_stage(VARIANT, fewer, 5) == Stage("Updating", "Scaling in desired instance count to 1.", 5)
    assert scaling_stage(VARIANT, VARIANT, 5) is None
