"""What `clary status` shows of an endpoint, and what `promote` and `rollout` wait for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from clary.cli import status
from clary.cli.exit_codes import Exit
from clary.cli.main import main
from clary.cli.rollout import wait_over
from tests.support.scripted import Asked, Scripted

STATUS = "GET /clary/api/endpoints/e/status"
ROLLOUT: dict[str, Any] = {
    "stage": "baking",
    "step": 1,
    "steps": 2,
    "bake_left_s": 61.4,
    "counting": True,
    "reason": "",
    "started": "2031-01-05T08:02:40Z",
    "deaths": 0,
    "old": {"version": 1, "config": "one"},
    "new": {"version": 2, "config": "two"},
    "shares": {"A": 0.1},
    "alarms": [{"name": "rollout/e/two/1", "state": "OK"}],
}
SEEN: dict[str, Any] = {
    "name": "e",
    "status": "Updating",
    "failure_reason": None,
    "modified": "2031-01-05T08:02:40Z",
    "fleets": [
        {"version": 1, "config": "one", "variants": [
            {"variant": "A", "weight": 1.0, "ready": 2, "wanted": 2, "share": 0.9}]},
        {"version": 2, "config": "two", "variants": [
            {"variant": "A", "weight": 1.0, "ready": 1, "wanted": 2, "share": 0.1}]},
    ],
    "rollout": ROLLOUT,
}  # fmt: skip
DONE = {**SEEN, "status": "InService", "fleets": SEEN["fleets"][1:], "rollout": None}


def alarm(name: str, **more: Any) -> dict[str, Any]:
    return {
        "AlarmName": name,
        "StateValue": "OK",
        "StateReasonData": json.dumps({"recentDatapoints": [1.0, 4200.0]}),
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "Threshold": 50_000.0,
        "EvaluationPeriods": 1,
        "MetricName": "ModelLatency",
        "ExtendedStatistic": "p99",
        "Period": 10,
        "Dimensions": [{"Name": "EndpointName", "Value": "e"}],
        **more,
    }


@pytest.fixture
def served(scripted: Scripted) -> Scripted:
    of_a_fleet = [{"Name": "EndpointConfigName", "Value": "old"}, {"Name": "EndpointName", "Value": "e"}]
    found = [
        alarm("rollout/e/two/1"),
        alarm("rollout/e/old/1", Dimensions=of_a_fleet),
        alarm("slow", StateValue="ALARM", StateReasonData=None),
        alarm("other", Dimensions=[{"Name": "EndpointName", "Value": "f"}]),
    ]
    scripted.say(STATUS, 200, SEEN)
    scripted.say("DescribeAlarms", 200, {"MetricAlarms": found})
    load = {"variant": "A", "by": "load", "concurrency": 4, "min": 1, "max": 2, "load": 0.5}
    scripted.say("GET /clary/api/endpoints/e/scale", 200, {"variants": [load, {**load, "by": "nothing"}]})
    return scripted


def in_turn(scripted: Scripted, *answers: object) -> None:
    """Answer the status so, one after the other, the last one for good."""
    left = [json.dumps(answer).encode() for answer in answers]

    def answer(_: Asked) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, left.pop(0) if len(left) > 1 else left[0]

    scripted.answers[STATUS] = answer


def test_it_shows_fleets_rollout_alarms_and_scaling(served: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "e", "--url", served.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "e is Updating",
        "VERSION  VARIANT  TRAFFIC  WEIGHT  READY   CONFIGURATION",
        "1        A        90%      1       2 of 2  one",
        "2        A        10%      1       1 of 2  two",
        "",
        "e: version 2 has 10% of the traffic and bakes (step 1 of 2); 1:01 left",
        "",
        "Alarms",
        "ALARM                    STATE  LATEST  WATCHES",
        "rollout/e/two/1 (guard)  OK     4200    p99 of ModelLatency (EndpointName=e) >= 50000 for 1 of 1 x 10 s",
        "slow                     ALARM  -       p99 of ModelLatency (EndpointName=e) >= 50000 for 1 of 1 x 10 s",
        "",
        "Scaling",
        "VARIANT  BY",
        "A        load  1 to 2, one for each 4 requests at once; 0.5 now",
    ]


def test_the_picture_holds_the_same(served: Scripted) -> None:
    console = Console(width=120, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(status._picture(status.document_of(served.api, "e")))
    for words in ("e is Updating", "10% of the traffic", "1:01 left", "rollout/e/two/1 (guard)", "0.5 now"):
        assert words in captured.get()


@pytest.mark.parametrize(
    ("rollout", "line"),
    [
        ({"stage": "starting", "shares": {"A": 0.0}}, "e: version 2 starts (step 1 of 2), it has 0% of the traffic"),
        ({"stage": "returning", "reason": "By hand."}, "e goes back to version 1: By hand."),
        ({"shares": {"A": 0.1, "B": 0.25}}, "e: version 2 has 10%, 25% of the traffic and bakes (step 1 of 2)"),
    ],
)
def test_each_stage_in_words(rollout: dict[str, Any], line: str) -> None:
    assert status.stage_line({**SEEN, "rollout": {**ROLLOUT, **rollout}}) == line


def test_a_bake_that_stands_still_says_so(served: Scripted) -> None:
    found = status.document_of(served.api, "e")
    found["rollout"] = {**ROLLOUT, "counting": False}
    assert any("which stands still" in title for title in status.sections(found))
    assert status.line_of(found).endswith("replicas v1 A 2/2; v2 A 1/2; in ALARM: slow")


def test_promote_waits_until_the_traffic_has_moved(served: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    served.say("POST /clary/api/endpoints/e/promote", 200, {"name": "e", "step": 1})
    whole = {**SEEN, "rollout": {**ROLLOUT, "step": 2, "shares": {"A": 1.0}}}
    in_turn(served, SEEN, {**whole, "rollout": {**whole["rollout"], "stage": "starting"}}, whole)
    assert main(["promote", "e", "--url", served.url]) == 0
    assert capsys.readouterr().err == "e: version 2 has 100% of the traffic and bakes (step 2 of 2)\n"
    posted = next(asked for asked in served.asked if asked.operation.endswith("/promote"))
    assert posted.members == {"whole": True}


def test_promote_fails_where_the_rollout_was_taken_back(served: Scripted) -> None:
    served.say("POST /clary/api/endpoints/e/promote", 200, {"name": "e", "step": 2})
    in_turn(served, SEEN, {**SEEN, "rollout": {**ROLLOUT, "stage": "returning", "reason": "An alarm."}})
    assert main(["promote", "e", "--step", "--url", served.url]) == Exit.FAILED


def test_waiting_for_a_rollout_goes_on_while_the_server_is_away(served: Scripted) -> None:
    served.say("GET /clary/api/endpoints/e/versions", 200, {"versions": [{"version": 2, "state": "live"}]})
    answers = [(200, SEEN), (503, {"code": "ServiceUnavailable"}), (200, DONE)]

    def answer(_: Asked) -> tuple[int, dict[str, str], bytes]:
        code, body = answers.pop(0)
        return code, {}, json.dumps(body).encode()

    served.answers[STATUS] = answer
    wait_over(served.api, "e", 2, quiet=True)
    assert answers == []


def test_a_rollback_of_a_rollout_waits_for_the_old_version(served: Scripted) -> None:
    served.say("POST /clary/api/endpoints/e/rollback", 200, {"name": "e", "version": 1})
    served.say("GET /clary/api/endpoints/e/versions", 200, {"versions": [{"version": 1, "state": "live"}]})
    in_turn(served, SEEN, SEEN, {**DONE, "failure_reason": "The deployment was rolled back by hand."})
    assert main(["rollback", "e", "--url", served.url]) == 0
