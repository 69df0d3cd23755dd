"""Alarms of a real server, through real clients: from data to what is told, through a kill of control."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clary.cli.main import main
from tests.support.server import Server, wait_until

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:train-again"
ACCURACY: dict[str, Any] = {
    "Namespace": "Models",
    "MetricName": "Accuracy",
    "Dimensions": [{"Name": "Endpoint", "Value": "tweets"}],
    "Statistic": "Average",
    "Period": 10,
    "EvaluationPeriods": 1,
    "Threshold": 0.9,
    "ComparisonOperator": "LessThanThreshold",
    "TreatMissingData": "ignore",
}


def emit(server: Server, value: float, at_s: float) -> None:
    datum = {
        "MetricName": "Accuracy",
        "Dimensions": ACCURACY["Dimensions"],
        "Timestamp": datetime.fromtimestamp(at_s, UTC),
        "Value": value,
        "StorageResolution": 1,
    }
    server.client("cloudwatch").put_metric_data(Namespace="Models", MetricData=[datum])


def state(server: Server, name: str = "bad") -> Any:
    found = server.client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    (alarm,) = [*found["MetricAlarms"], *found["CompositeAlarms"]]
    return alarm["StateValue"]


def told(server: Server) -> list[str]:
    """States that the function was, or is to be, told of."""
    with contextlib.closing(sqlite3.connect(server.home / "clary.db")) as db:
        rows = db.execute("SELECT body FROM events_out WHERE target_arn = ? ORDER BY seq", (FUNCTION,)).fetchall()
    return [json.loads(body)["alarmData"]["state"]["value"] for (body,) in rows]


def test_an_accuracy_that_falls_is_told_once_though_control_is_killed(server: Server) -> None:
    client = server.client("cloudwatch")
    # The last period that is over, with the two seconds that its data may take.
    emit(server, 0.4, (time.time() - 2) // 10 * 10 - 5)
    client.put_metric_alarm(AlarmName="bad", **ACCURACY, AlarmActions=[FUNCTION], OKActions=[FUNCTION])
    client.put_composite_alarm(AlarmName="worse", AlarmRule="ALARM(bad)")
    wait_until(lambda: state(server) == "ALARM", "an alarm")
    assert state(server, "worse") == "ALARM"
    assert told(server) == ["ALARM"]

    old = server.pid_of("clary.assembly")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: server.pids_of("clary.assembly") - {old} and server.healthy(), "control is back")
    client.set_alarm_state(AlarmName="bad", StateValue="OK", StateReason="a drill")
    # From here on the next look at the data may come at any moment, and end the drill.
    assert told(server)[:2] == ["ALARM", "OK"]
    items = client.describe_alarm_history(AlarmName="bad", HistoryItemType="StateUpdate", ScanBy="TimestampAscending")
    assert [item["HistorySummary"] for item in items["AlarmHistoryItems"][:2]] == [
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
        "Alarm updated from ALARM to OK",
    ]
    new = json.loads(items["AlarmHistoryItems"][0]["HistoryData"])["newState"]
    assert new["stateReason"].startswith("Threshold Crossed: 1 datapoint [0.4 (")
    assert new["stateReasonData"]["recentDatapoints"] == [0.4]


def test_the_command(server: Server, regressor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.host("watched", regressor.read_bytes())

    def clary(*argv: str) -> dict[str, Any]:
        assert main(["alarms", *argv, "--url", server.url, "--home", str(server.home), "--json"]) == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    for name, objective in (("slow", "p99 < 50ms for 3 of 5 minutes"), ("failing", "errors < 1% for 1 x 10s")):
        made = clary("add", name, "--endpoint", "watched", "--objective", objective)
        assert made["name"] == name
    assert {"slow", "failing"} <= {alarm["name"] for alarm in clary("list")["alarms"]}
    # No traffic is no miss, and no reason to know nothing.
    wait_until(lambda: state(server, "slow") == state(server, "failing") == "OK", "both are evaluated")
    assert clary("set-state", "slow", "ALARM", "--reason", "a drill")["reason"] == "a drill"
    assert clary("history", "slow")["history"][0]["summary"] == "Alarm updated from OK to ALARM"
    assert clary("delete", "slow") == {"deleted": "slow"}
