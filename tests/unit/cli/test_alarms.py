"""`clary alarms` against a scripted server; against a real one: tests/system/test_alarms.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clary.cli.exit_codes import Exit
from clary.cli.main import main
from tests.unit.cli.conftest import Scripted

ALARM = {
    "AlarmName": "slow",
    "AlarmArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:slow",
    "AlarmDescription": "p99 < 50ms (e/v)",
    "StateValue": "ALARM",
    "StateReason": "Threshold Crossed: ...",
    "StateTransitionedTimestamp": 1_700_000_000.5,
    "ActionsEnabled": True,
    "AlarmActions": ["arn:aws:lambda:us-east-1:123456789012:function:again"],
    "OKActions": [],
    "InsufficientDataActions": [],
    "MetricName": "ModelLatency",
    "Dimensions": [{"Name": "EndpointName", "Value": "e"}],
    "ExtendedStatistic": "p99",
    "Period": 60,
    "EvaluationPeriods": 5,
    "DatapointsToAlarm": 3,
    "Threshold": 50_000.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}
COMPOSITE = {
    **{name: value for name, value in ALARM.items() if "Alarm" in name or "State" in name or "Actions" in name},
    "AlarmName": "both",
    "AlarmRule": "ALARM(slow)",
}
WHO = b"<r><Account>123456789012</Account></r>"


def run(scripted: Scripted, *argv: str) -> int:
    return main(["alarms", *argv, "--url", scripted.url, "--region", "us-east-1"])


@pytest.fixture
def server(scripted: Scripted) -> Scripted:
    scripted.say("DescribeAlarms", 200, {"MetricAlarms": [ALARM], "CompositeAlarms": [COMPOSITE]})
    scripted.say("DescribeEndpoint", 200, {"ProductionVariants": [{"VariantName": "v"}]})
    scripted.say("POST /", 200, WHO)
    return scripted


def put(server: Scripted) -> Any:
    return next(asked.members for asked in server.asked if asked.operation == "PutMetricAlarm")


def test_add_makes_the_alarm_of_an_objective(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    objective = "p99 < 50ms for 3 of 5 minutes"
    assert run(server, "add", "slow", "--endpoint", "e", "--objective", objective, "--action", "again") == 0
    members = put(server)
    assert members == {
        "AlarmName": "slow",
        "Namespace": "AWS/SageMaker",
        "MetricName": "ModelLatency",
        "ExtendedStatistic": "p99",
        "Dimensions": [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}],
        "Period": 60,
        "EvaluationPeriods": 5,
        "DatapointsToAlarm": 3,
        "Threshold": 50_000.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
        "AlarmDescription": "p99 < 50ms for 3 of 5 minutes (e/v)",
        "AlarmActions": ["arn:aws:lambda:us-east-1:123456789012:function:again"],
        "OKActions": [],
    }
    assert "p99 of ModelLatency (EndpointName=e) >= 50000 for 3 of 5 x 60 s" in capsys.readouterr().out


def test_errors_are_metric_math(server: Scripted) -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:ops"
    assert run(server, "add", "x", "--endpoint", "e", "--objective", "errors < 1%", "--ok-action", topic) == 0
    members = put(server)
    assert [query["Id"] for query in members["Metrics"]] == ["missed", "m1", "m2"]
    assert members["Metrics"][0]["Expression"] == "m1 - m2"
    assert members["OKActions"] == [topic]
    assert "MetricName" not in members


@pytest.mark.parametrize("objective", ["fast", "p99 < 5ms for 5 of 3 minutes"])
def test_what_is_no_objective_is_a_usage_error(server: Scripted, objective: str) -> None:
    assert run(server, "add", "x", "--endpoint", "e", "--objective", objective) == Exit.USAGE
    assert "PutMetricAlarm" not in server.operations


def test_several_variants_need_a_choice(server: Scripted) -> None:
    server.say("DescribeEndpoint", 200, {"ProductionVariants": [{"VariantName": "a"}, {"VariantName": "b"}]})
    assert run(server, "add", "x", "--endpoint", "e", "--objective", "errors < 1%") == Exit.USAGE
    assert run(server, "add", "x", "--endpoint", "e", "--objective", "errors < 1%", "--variant", "b") == 0


def test_list_and_describe(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "list", "--state", "ALARM", "--prefix", "s") == 0
    assert server.asked[-1].members["StateValue"] == "ALARM"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "both", "slow"]
    assert run(server, "list", "--json") == 0
    found = json.loads(capsys.readouterr().out)["alarms"]
    assert (found[0]["watches"], found[1]["since"]) == ("ALARM(slow)", "2023-11-14T22:13:20.500Z")
    assert run(server, "describe", "slow") == 0
    assert "alarm actions" in capsys.readouterr().out
    server.say("DescribeAlarms", 200, {})
    assert run(server, "describe", "gone") == Exit.NOT_FOUND
    assert run(server, "list") == 0
    assert "No alarms" in capsys.readouterr().out


def test_history_goes_over_pages(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    item = {
        "AlarmName": "slow",
        "Timestamp": 1_700_000_000,
        "HistoryItemType": "StateUpdate",
        "HistorySummary": "Alarm updated from OK to ALARM",
    }
    server.say("DescribeAlarmHistory", 200, {"AlarmHistoryItems": [item], "NextToken": "more"})
    assert run(server, "history", "slow", "-n", "3") == 0
    assert capsys.readouterr().out.count("Alarm updated from OK to ALARM") == 3
    assert server.asked[-1].members["NextToken"] == "more"


def test_set_state_and_delete(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "set-state", "slow", "ALARM", "--reason", "a drill") == 0
    asked = next(asked.members for asked in server.asked if asked.operation == "SetAlarmState")
    assert asked == {"AlarmName": "slow", "StateValue": "ALARM", "StateReason": "a drill"}
    capsys.readouterr()
    assert run(server, "delete", "slow", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": "slow"}
    assert server.asked[-1].members == {"AlarmNames": ["slow"]}
