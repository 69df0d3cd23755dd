"""A policy in words becomes a DeploymentConfig, and its objectives alarms on the new fleet alone."""

from __future__ import annotations

from typing import Any

import pytest

from clary.cli.exit_codes import CliError
from clary.cli.policy import Words, deployment_members, drop_guards, guard, policy_of
from clary.cli.rollout import words_of
from tests.support.scripted import Scripted


def routing(words: Words) -> Any:
    return deployment_members(policy_of(words), [])["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]


def test_each_way() -> None:
    tenth = {"Type": "CAPACITY_PERCENT", "Value": 10}
    assert routing(Words()) == {"Type": "CANARY", "WaitIntervalInSeconds": 300, "CanarySize": tenth}
    assert routing(Words(linear="10%", bake="2m"))["LinearStepSize"] == tenth
    assert routing(Words(all_at_once=True, bake="0s")) == {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    rolling = deployment_members(policy_of(Words(rolling="25", bake="1m", timeout="10m")), ["a"])
    assert rolling == {
        "RollingUpdatePolicy": {
            "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 25},
            "WaitIntervalInSeconds": 60,
            "MaximumExecutionTimeoutInSeconds": 600,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]},
    }
    blue_green = deployment_members(policy_of(Words(termination_wait="10m")), [])["BlueGreenUpdatePolicy"]
    assert blue_green["TerminationWaitInSeconds"] == 600


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (Words(canary="10%", rolling="5%"), "canary and rolling are given; an update goes one way."),
        (Words(canary="0%"), "canary is '0%'; give a whole percentage, such as 10%."),
        (Words(linear="12.5%"), "linear is '12.5%'; give a whole percentage, such as 10%."),
        (Words(bake="long"), "bake: 'long' is no length of time"),
        (Words(rolling="5%", termination_wait="1m"), "A rolling update has no wait for termination"),
        (Words(alarms=["p99 is good"]), "The objective 'p99 is good' cannot be read"),
        (Words(alarms=["cpu < 80%"]), "The objective 'cpu < 80%' is about usage"),
    ],
)
def test_what_cannot_be_is_refused(words: Words, wanted: str) -> None:
    with pytest.raises(CliError) as error:
        policy_of(words)
    assert error.value.message.startswith(wanted)


@pytest.mark.parametrize(
    ("bake", "text", "span"),
    [
        ("10s", "p99 < 50ms", (10, 1, 1)),
        ("5m", "p99 < 50ms", (10, 2, 3)),
        ("5m", "p99 < 50ms for 3 of 5 minutes", (60, 3, 5)),
    ],
)
def test_an_objective_is_watched_by_ten_seconds_unless_it_says_how(
    bake: str, text: str, span: tuple[int, int, int]
) -> None:
    (objective,) = policy_of(Words(bake=bake, alarms=[text])).objectives
    assert (objective.period_s, objective.breaching_min, objective.periods) == span


def test_alarms_watch_the_new_fleet_and_are_taken_back(scripted: Scripted) -> None:
    undo: list[Any] = []
    policy = policy_of(Words(alarms=["p99 < 50ms", "errors < 1%"]))
    names = guard(scripted.api, "e", "e-2", ["A", "B"], policy, undo)
    assert names == [f"rollout/e/e-2/{number}" for number in range(1, 5)]
    dimensions = [{"Name": "EndpointConfigName", "Value": "e-2"}, {"Name": "EndpointName", "Value": "e"}]
    first: Any = scripted.asked[0].members
    assert first["Dimensions"] == [*dimensions, {"Name": "VariantName", "Value": "A"}]
    undo[0]()
    assert (scripted.operations[-1], scripted.asked[-1].members) == ("DeleteAlarms", {"AlarmNames": names})
    with pytest.raises(CliError, match="10 alarms at most; objectives times variants are 12"):
        guard(scripted.api, "e", "e-2", [str(number) for number in range(6)], policy, undo)
    assert words_of(policy, names) == "canary 10%, baking 300 s, while p99 < 50ms and errors < 1% holds"


def test_alarms_of_earlier_rollouts_go(scripted: Scripted) -> None:
    found = [{"AlarmName": f"rollout/e/e-{number}/1"} for number in (1, 2)]
    scripted.say("DescribeAlarms", 200, {"MetricAlarms": found})
    drop_guards(scripted.api, "e", keep=["rollout/e/e-2/1"])
    assert scripted.asked[-1].members == {"AlarmNames": ["rollout/e/e-1/1"]}
