"""`clary metrics` against a scripted server; against a real one: tests/system/test_metrics_api.py."""

from __future__ import annotations

import json

import pytest

from clary.cli.exit_codes import Exit
from clary.cli.main import main
from clary.cli.metrics import sparkline
from tests.unit.cli.conftest import Scripted

METRIC = {
    "Namespace": "AWS/SageMaker",
    "MetricName": "Invocations",
    "Dimensions": [{"Name": "EndpointName", "Value": "churn"}, {"Name": "VariantName", "Value": "A"}],
}
AT_S = 1_700_000_040


def run(scripted: Scripted, *argv: str) -> int:
    return main(["metrics", *argv, "--url", scripted.url, "--region", "us-east-1"])


@pytest.fixture
def server(scripted: Scripted) -> Scripted:
    scripted.say("ListMetrics", 200, {"Metrics": [METRIC]})
    points = {"Timestamps": [AT_S, AT_S + 60], "Values": [1.0, 3.0]}
    scripted.say("GetMetricData", 200, {"MetricDataResults": [{"Id": "m0", "Label": "x", **points}], "Messages": []})
    return scripted


def test_list(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "list", "--endpoint", "churn", "--dimension", "VariantName=A", "--namespace", "N") == 0
    assert server.asked[0].members == {
        "Namespace": "N",
        "Dimensions": [{"Name": "EndpointName", "Value": "churn"}, {"Name": "VariantName", "Value": "A"}],
    }
    assert "AWS/SageMaker  Invocations  EndpointName=churn VariantName=A" in capsys.readouterr().out
    assert run(server, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == [
        {
            "namespace": "AWS/SageMaker",
            "metric": "Invocations",
            "dimensions": {"EndpointName": "churn", "VariantName": "A"},
        }
    ]


def test_get(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "get", "Invocations", "--endpoint", "churn", "--period", "1m", "--since", "2h") == 0
    asked = server.asked[-1].members
    (query,) = asked["MetricDataQueries"]
    assert (query["MetricStat"]["Stat"], query["MetricStat"]["Period"]) == ("Sum", 60)
    assert asked["EndTime"] - asked["StartTime"] == 7200
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["DIMENSIONS", "SUM", "LEAST", "MEAN", "MOST", "LAST", "2h"]
    assert row.split() == ["EndpointName=churn", "VariantName=A", "3", "1", "2", "3", "▃█"]


def test_get_as_json(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "get", "Invocations", "--stat", "Maximum", "--json") == 0
    (metric,) = json.loads(capsys.readouterr().out)["metrics"]
    assert (metric["stat"], metric["period_s"]) == ("Maximum", 60)
    assert metric["points"][0] == {"time": "2023-11-14T22:14:00.000Z", "value": 1.0}


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["get", "M", "--period", "1"], Exit.USAGE, "--period '1' must be a number with s, m, h or d"),
        (["get", "M", "--since", "0h"], Exit.USAGE, "--since '0h'"),
        (["get", "M", "--since", "456d"], Exit.USAGE, "at most 455d"),
        (["get", "M", "--period", "250ms"], Exit.USAGE, "--period '250ms'"),
        (["get", "M", "--dimension", "x"], Exit.USAGE, "must be NAME=VALUE"),
    ],
)
def test_usage(server: Scripted, capsys: pytest.CaptureFixture[str], argv: list[str], status: Exit, words: str) -> None:
    assert run(server, *argv) == status
    assert words in capsys.readouterr().err


def test_a_metric_that_is_not_there(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.say("ListMetrics", 200, {"Metrics": []})
    assert run(scripted, "get", "Nothing") == Exit.NOT_FOUND
    assert "clary metrics list" in capsys.readouterr().err
    assert run(scripted, "list") == 0
    assert "No metrics." in capsys.readouterr().out


def test_too_many_metrics(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.say("ListMetrics", 200, {"Metrics": [METRIC] * 51})
    assert run(scripted, "get", "Invocations") == Exit.USAGE
    assert "51 metrics are found" in capsys.readouterr().err


def test_sparklines_have_gaps_and_begin_at_zero() -> None:
    assert sparkline([(0, 1), (60, 2), (180, 4)], 60) == "▃▅ █"
    assert sparkline([(0, -1), (60, 0), (120, 1)], 60) == "▁▅█"
    assert sparkline([(0, 0.0)], 60) == "▁"
