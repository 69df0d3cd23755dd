"""Simulated rollouts: the plan that endpoints have, within a second for an hour."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clary.domain.errors import Invalid
from clary.domain.rollout import BlueGreen, CapacitySize, Deployment, Rolling, Shift, Unit
from clary.simulation.rollout import RolloutQuestion, objectives, simulate_rollout
from clary.simulation.service import Behaviour
from clary.simulation.timeline import Timeline, clock
from clary.simulation.traffic import described

TEN = CapacitySize(Unit.PERCENT, 10)
CANARY = Deployment(BlueGreen(Shift.CANARY, 600, canary=TEN), alarms=objectives(["p99 < 100ms", "errors  < 1%"]))
QUESTION = RolloutQuestion(described("30"), Behaviour(0.02), Behaviour(0.02), 2, CANARY, 300, 3600, 60)


def told(timeline: Timeline) -> list[str]:
    return [f"{clock(event.at_s)} {event.what}" for event in timeline.events]


def shares(timeline: Timeline) -> list[float]:
    return list(dict.fromkeys(row.share for row in timeline.rows))


def test_a_good_model_comes_into_service_after_its_bakes() -> None:
    timeline = simulate_rollout(QUESTION)
    assert timeline.summary["outcome"] == "in service"
    assert timeline.summary["failed"] == 0
    assert shares(timeline) == [0.0, 0.1, 1.0]
    assert timeline.rows[-1].replicas == {"old": 0, "new": 2}
    assert "0:05:02 traffic of the new fleet: 0% -> 10%" in told(timeline)


@pytest.mark.parametrize(
    ("new", "alarm"),
    [(Behaviour(0.02, error_share=0.05), "errors < 1%"), (Behaviour(0.2), "p99 < 100ms")],
)
def test_a_bad_model_gives_the_traffic_back(new: Behaviour, alarm: str) -> None:
    timeline = simulate_rollout(replace(QUESTION, new=new))
    assert timeline.summary["outcome"] == "rolled back"
    assert f"0:06:00 going back: The alarm {alarm} is in ALARM" in "\n".join(told(timeline))
    assert max(shares(timeline)) == 0.1
    assert timeline.rows[-1].replicas == {"old": 2, "new": 0}


def test_a_model_that_dies_gives_the_traffic_back_and_nobody_notices() -> None:
    timeline = simulate_rollout(replace(QUESTION, crash_s=30.0))
    assert timeline.summary["outcome"] == "rolled back"
    assert timeline.summary["failed"] == 0
    assert any("Processes of the new fleet ended" in line for line in told(timeline))


def test_linear_and_rolling_go_in_their_steps() -> None:
    quarter = CapacitySize(Unit.PERCENT, 25)
    linear = Deployment(BlueGreen(Shift.LINEAR, 120, linear=quarter))
    assert shares(simulate_rollout(replace(QUESTION, deployment=linear))) == [0.0, 0.25, 0.5, 0.75, 1.0]
    rolling = Deployment(rolling=Rolling(CapacitySize(Unit.PERCENT, 50), 120))
    timeline = simulate_rollout(replace(QUESTION, deployment=rolling))
    assert shares(timeline) == [0.0, 0.5, 1.0]
    assert timeline.summary["outcome"] == "in service"


def test_limits_are_those_of_update_endpoint() -> None:
    too_much = Deployment(BlueGreen(Shift.CANARY, 60, canary=CapacitySize(Unit.PERCENT, 60)))
    with pytest.raises(Invalid, match="CanarySize is 60%"):
        simulate_rollout(replace(QUESTION, deployment=too_much))
    with pytest.raises(Invalid, match="cannot be read"):
        objectives(["fast"])


def test_the_same_question_has_the_same_answer() -> None:
    assert simulate_rollout(QUESTION).document() == simulate_rollout(QUESTION).document()
