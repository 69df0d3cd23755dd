"""Alarms as clients see them, over each protocol that CloudWatch has.

Where texts come from: the module itself says (edge/aws/resources/alarms.py). Evaluation: tests/unit/reconcile.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from clary.control import alarms as use_cases
from clary.control.desk import Desk
from clary.edge.aws.resources import alarms
from clary.kit.clock import SystemClock
from clary.kit.ids import SystemIds
from clary.store.sqlite import SqliteStore
from tests.support.door import ACCOUNT, REGION, Served, serve_door

ARN = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:again"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:ops"
DIMENSIONS = [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}]
SIMPLE = {
    "MetricName": "ModelLatency",
    "Namespace": "AWS/SageMaker",
    "ExtendedStatistic": "p99",
    "Dimensions": DIMENSIONS,
    "Period": 60,
    "Unit": "Microseconds",
    "EvaluationPeriods": 5,
    "DatapointsToAlarm": 3,
    "Threshold": 50_000.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
    "EvaluateLowSampleCountPercentile": "ignore",
    "AlarmDescription": "Too slow",
    "ActionsEnabled": True,
    "AlarmActions": [FUNCTION],
    "OKActions": [TOPIC],
    "InsufficientDataActions": [],
}


def a_stat(id: str, metric: str) -> dict[str, Any]:
    named = {"Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": DIMENSIONS}
    return {"Id": id, "MetricStat": {"Metric": named, "Period": 60, "Stat": "Sum"}, "ReturnData": False}


MATH: dict[str, Any] = {
    "Metrics": [
        {"Id": "rate", "Expression": "100 * failed / requests", "Label": "Error rate", "ReturnData": True},
        a_stat("failed", "Invocation5XXErrors"),
        a_stat("requests", "Invocations"),
    ],
    "EvaluationPeriods": 2,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of this schema with nothing in it: a copy is made sooner than the schema."""
    path = tmp_path_factory.mktemp("empty") / "clary.db"
    SqliteStore(path).close()
    return path


@pytest.fixture
def served(tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    # Nobody evaluates here, so nobody need be waited for.
    monkeypatch.setattr(use_cases, "SET_HOLD_S", 0.0)
    shutil.copy(empty, tmp_path / "clary.db")
    store = SqliteStore(tmp_path / "clary.db")
    with serve_door(alarms.operations(Desk(store, SystemClock(), SystemIds()))) as door:
        yield door
    store.close()


@pytest.fixture
def client(served: Served) -> Any:
    return served.client("cloudwatch")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client for calls that all fail, and so leave nothing to each other."""
    store = SqliteStore(tmp_path_factory.mktemp("strict") / "clary.db")
    with serve_door(alarms.operations(Desk(store, SystemClock(), SystemIds()))) as door:
        yield door.client("cloudwatch")
    store.close()


def refusal(call: Any, **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        call(**members)
    answer = refused.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"]


def put(client: Any, name: str = "a", **more: Any) -> None:
    client.put_metric_alarm(AlarmName=name, **{**SIMPLE, **more})


@pytest.mark.parametrize("protocol", ["json", "query", "smithy-rpc-v2-cbor"])
def test_each_protocol_carries_an_alarm_whole(served: Served, protocol: str) -> None:
    client = served.speaking("cloudwatch", protocol)
    client.put_metric_alarm(AlarmName="simple", **SIMPLE, Tags=[{"Key": "team", "Value": "ml"}])
    client.put_metric_alarm(AlarmName="math", **MATH)
    client.put_composite_alarm(AlarmName="both", AlarmRule="ALARM(simple) OR ALARM(math)", AlarmActions=[TOPIC])
    found = client.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    math, simple = found["MetricAlarms"]
    assert {name: simple[name] for name in SIMPLE} == SIMPLE
    assert simple["AlarmArn"] == f"{ARN}simple"
    assert (simple["StateValue"], simple["StateReason"]) == ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation")
    assert datetime.now(UTC) - simple["StateUpdatedTimestamp"] < timedelta(minutes=1)
    assert {name: math[name] for name in MATH} == MATH
    assert "MetricName" not in math
    (both,) = found["CompositeAlarms"]
    assert both["AlarmRule"] == "ALARM(simple) OR ALARM(math)"
    assert client.list_tags_for_resource(ResourceARN=f"{ARN}simple")["Tags"] == [{"Key": "team", "Value": "ml"}]
    code, text = refusal(client.set_alarm_state, AlarmName="gone", StateValue="OK", StateReason="x")
    assert (code, text) == ("ResourceNotFound", f"Alarm {ARN}gone does not exist.")


def test_an_alarm_defined_anew_keeps_its_tags(client: Any) -> None:
    put(client, Tags=[{"Key": "a", "Value": "1"}])
    put(client, Threshold=7.0, Tags=[{"Key": "a", "Value": "2"}])
    (alarm,) = client.describe_alarms()["MetricAlarms"]
    assert alarm["Threshold"] == 7.0
    assert client.list_tags_for_resource(ResourceARN=f"{ARN}a")["Tags"] == [{"Key": "a", "Value": "1"}]
    client.tag_resource(ResourceARN=f"{ARN}a", Tags=[{"Key": "b", "Value": "3"}])
    client.untag_resource(ResourceARN=f"{ARN}a", TagKeys=["a"])
    assert client.list_tags_for_resource(ResourceARN=f"{ARN}a")["Tags"] == [{"Key": "b", "Value": "3"}]
    assert refusal(client.list_tags_for_resource, ResourceARN=f"{ARN}gone")[0] == "ResourceNotFoundException"
    assert "tags are kept for alarms" in refusal(client.tag_resource, ResourceARN="arn:aws:x", Tags=[])[1]


def test_describing_filters_and_pages(client: Any) -> None:
    for name in ("low-1", "low-2", "top-1"):
        put(client, name, AlarmActions=[TOPIC if name.startswith("top") else FUNCTION], OKActions=[])
    client.put_composite_alarm(AlarmName="low-c", AlarmRule="ALARM(low-1)")

    def names(**members: Any) -> list[str]:
        found = client.describe_alarms(**members)
        return [alarm["AlarmName"] for alarm in (*found["MetricAlarms"], *found["CompositeAlarms"])]

    both = ["MetricAlarm", "CompositeAlarm"]
    assert names() == ["low-1", "low-2", "top-1"]
    assert names(AlarmNamePrefix="low", AlarmTypes=both) == ["low-1", "low-2", "low-c"]
    assert names(AlarmNames=["low-2", "gone"]) == ["low-2"]
    assert names(ActionPrefix=TOPIC[:-3]) == ["top-1"]
    assert names(StateValue="ALARM") == []
    assert names(AlarmTypes=["LogAlarm"]) == []
    pages = client.get_paginator("describe_alarms").paginate(AlarmTypes=both, PaginationConfig={"PageSize": 2})
    counts = [len(page["MetricAlarms"]) + len(page["CompositeAlarms"]) for page in pages]
    assert counts == [2, 2]
    token = client.describe_alarms(MaxRecords=1)["NextToken"]
    assert refusal(client.describe_alarms, NextToken=token, StateValue="OK")[0] == "InvalidNextToken"
    assert "mutually exclusive" in refusal(client.describe_alarms, AlarmNames=["a"], AlarmNamePrefix="a")[1]


def test_children_and_parents(client: Any) -> None:
    put(client, "a")
    client.put_composite_alarm(AlarmName="c", AlarmRule=f'ALARM(a) AND NOT OK("{ARN}a")')
    client.put_composite_alarm(AlarmName="d", AlarmRule="ALARM(c) OR ALARM(a)")
    children = client.describe_alarms(ChildrenOfAlarmName="d")
    assert [alarm["AlarmName"] for alarm in children["MetricAlarms"]] == ["a"]
    assert set(children["CompositeAlarms"][0]) == {"AlarmName", "AlarmArn", "StateValue", "StateUpdatedTimestamp"}
    parents = client.describe_alarms(ParentsOfAlarmName="a")["CompositeAlarms"]
    assert parents == [{"AlarmName": name, "AlarmArn": f"{ARN}{name}"} for name in ("c", "d")]
    assert "cannot be combined" in refusal(client.describe_alarms, ChildrenOfAlarmName="d", StateValue="OK")[1]


def test_alarms_of_a_metric(client: Any) -> None:
    put(client, "p99")
    put(client, "p50", ExtendedStatistic="p50")
    client.put_metric_alarm(AlarmName="math", **MATH)
    asked = {"MetricName": "ModelLatency", "Namespace": "AWS/SageMaker", "Dimensions": DIMENSIONS[::-1]}

    def names(**members: Any) -> list[str]:
        return [a["AlarmName"] for a in client.describe_alarms_for_metric(**{**asked, **members})["MetricAlarms"]]

    assert names() == ["p50", "p99"]
    assert names(ExtendedStatistic="p99", Period=60, Unit="Microseconds") == ["p99"]
    assert names(Dimensions=DIMENSIONS[:1]) == []
    assert names(Period=300) == []
    assert names(MetricName="Invocations") == []


def test_history_tells_of_definitions(client: Any) -> None:
    put(client)
    put(client, Threshold=1.0)
    client.disable_alarm_actions(AlarmNames=["a", "gone"])
    (alarm,) = client.describe_alarms()["MetricAlarms"]
    assert alarm["ActionsEnabled"] is False
    client.enable_alarm_actions(AlarmNames=["a"])
    client.delete_alarms(AlarmNames=["a", "gone"])
    assert client.describe_alarms()["MetricAlarms"] == []
    items = client.describe_alarm_history(AlarmName="a", ScanBy="TimestampAscending")["AlarmHistoryItems"]
    assert [item["HistorySummary"] for item in items] == [
        'Alarm "a" created',
        'Alarm "a" updated',
        'Alarm "a" updated',
        'Alarm "a" updated',
        'Alarm "a" deleted',
    ]
    assert {item["HistoryItemType"] for item in items} == {"ConfigurationUpdate"}
    created = json.loads(items[0]["HistoryData"])
    assert (created["type"], created["createdAlarm"]["threshold"]) == ("Create", 50_000.0)
    pages = client.get_paginator("describe_alarm_history").paginate(AlarmName="a", PaginationConfig={"PageSize": 2})
    assert [len(page["AlarmHistoryItems"]) for page in pages] == [2, 2, 1]
    newest = client.describe_alarm_history(MaxRecords=1)["AlarmHistoryItems"][0]
    assert newest["HistorySummary"] == 'Alarm "a" deleted'
    later = datetime.now(UTC) + timedelta(hours=1)
    assert client.describe_alarm_history(StartDate=later)["AlarmHistoryItems"] == []
    assert client.describe_alarm_history(AlarmTypes=["CompositeAlarm"])["AlarmHistoryItems"] == []
    assert client.describe_alarm_history(HistoryItemType="StateUpdate")["AlarmHistoryItems"] == []


def test_what_a_composite_alarm_depends_on_stays(client: Any) -> None:
    put(client, "a")
    put(client, "s")
    suppressed = {
        "ActionsSuppressor": "s",
        "ActionsSuppressorWaitPeriod": 60,
        "ActionsSuppressorExtensionPeriod": 120,
    }
    client.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(a)", **suppressed)
    (composite,) = client.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert {name: composite[name] for name in suppressed} == suppressed
    for name in ("a", "s"):
        code, text = refusal(client.delete_alarms, AlarmNames=[name])
        assert (code, text) == (
            "ValidationError",
            f"Cannot delete {name} as there are composite alarm(s) depending on it.",
        )
    client.put_composite_alarm(AlarmName="d", AlarmRule="ALARM(c)")
    assert "at most one composite" in refusal(client.delete_alarms, AlarmNames=["c", "d"])[1]
    code, text = refusal(client.put_composite_alarm, AlarmName="c", AlarmRule="ALARM(d)")
    assert text == "Could not save the composite alarm as its alarm rule would depend on c itself"
    client.delete_alarms(AlarmNames=["d"])
    client.delete_alarms(AlarmNames=["c", "a", "s"])
    code, text = refusal(client.put_composite_alarm, AlarmName="c", AlarmRule="ALARM(a) AND OK(b)")
    assert text == "Could not save the composite alarm as alarms [a, b] in the alarm rule do not exist"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Period": 45}, "must be 10, 20, 30 or a multiple of 60"),
        ({"Period": 60, "EvaluationPeriods": 1441}, "across more than a day"),
        ({"Period": 3600, "EvaluationPeriods": 169}, "across more than seven days"),
        ({"DatapointsToAlarm": 6}, "must be less than or equal to EvaluationPeriods"),
        ({"TreatMissingData": "zero"}, "TreatMissingData must be one of"),
        ({"EvaluateLowSampleCountPercentile": "maybe"}, "must be evaluate or ignore"),
        ({"ExtendedStatistic": None, "Statistic": "Average"}, "needs a percentile"),
        ({"Statistic": "Average"}, "Exactly one of the parameters Statistic and ExtendedStatistic"),
        ({"ExtendedStatistic": "p101"}, "not supported"),
        ({"ExtendedStatistic": "tm90"}, "tm90 is not served"),
        ({"Threshold": None}, "Threshold is required"),
        ({"EvaluationPeriods": None}, "EvaluationPeriods is required"),
        ({"Namespace": None}, "Namespace is required"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "anomaly detection"),
        ({"ThresholdMetricId": "band"}, "Anomaly detection is not served"),
        ({"AlarmActions": ["arn:aws:automate:us-east-1:ec2:stop"]}, "is not served by Clary"),
        ({"AlarmActions": ["ops"]}, "Invalid arn syntax: ops"),
        ({"Dimensions": [DIMENSIONS[0], DIMENSIONS[0]]}, "more than once"),
        ({"Metrics": MATH["Metrics"]}, "mutually exclusive"),
        ({"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 5}}, "warmUpConfiguration"),
        ({"EvaluationWindow": {"WallClockWindow": {"Timezone": "UTC"}}}, "sliding window"),
        ({"EvaluationInterval": 60}, "PromQL"),
        ({"EvaluationCriteria": {"PromQLCriteria": {"Query": "up"}}}, "PromQL"),
        ({"ActionConfiguration": {"AlarmTagsPropagation": {"Enabled": True}}}, "actionConfiguration"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_changes_nothing(strict: Any, change: dict[str, Any], said: str) -> None:
    members = {name: value for name, value in {**SIMPLE, **change}.items() if value is not None}
    code, text = refusal(strict.put_metric_alarm, AlarmName="a", **members)
    assert code == "ValidationError"
    assert said in text
    assert strict.describe_alarms()["MetricAlarms"] == []


def metrics(*changes: tuple[int, dict[str, Any]]) -> list[dict[str, Any]]:
    changed = dict(changes)
    queries: list[dict[str, Any]] = MATH["Metrics"]
    return [{**query, **changed.get(number, {})} for number, query in enumerate(queries)]


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        (metrics((0, {"Expression": "failed /"})), "Invalid metrics list"),
        (metrics((0, {"Expression": "failed / missing"})), "missing"),
        (metrics((0, {"Expression": "SUM(SEARCH('{AWS/SageMaker} Invocations', 'Sum', 60))"})), "SEARCH"),
        (metrics((0, {"Expression": "ANOMALY_DETECTION_BAND(failed)"})), "ANOMALY_DETECTION_BAND"),
        (metrics((1, {"ReturnData": True})), "Exactly one element"),
        (metrics((1, {"Id": "Failed"})), "not matching"),
        (metrics((1, {"Id": "requests"})), "unique"),
        (metrics((1, {"Expression": "requests"})), "either MetricStat or Expression"),
        (metrics((1, {"AccountId": "123"})), "accountId"),
        ([], "Metrics"),
        ([a_stat(f"m{number}", "M") for number in range(11)], "at most 10"),
    ],
)
def test_metrics_that_cannot_be(strict: Any, queries: list[dict[str, Any]], said: str) -> None:
    code, text = refusal(strict.put_metric_alarm, AlarmName="a", **{**MATH, "Metrics": queries})
    assert code == "ValidationError"
    assert said in text


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"AlarmRule": "ALARM(a"}, "AlarmRule is not valid"),
        ({"AlarmRule": "TRUE", "ActionsSuppressor": "s"}, "needs both"),
        ({"AlarmRule": "TRUE", "ActionsSuppressorWaitPeriod": 5}, "need an ActionsSuppressor"),
        (
            {
                "AlarmRule": "TRUE",
                "ActionsSuppressor": "s",
                "ActionsSuppressorWaitPeriod": 5,
                "ActionsSuppressorExtensionPeriod": 5,
            },
            "actions suppressor s does not exist",
        ),
        (
            {"AlarmRule": "TRUE", "AlarmActions": [f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:x"]},
            "Composite alarms cannot have Auto Scaling actions",
        ),
    ],
)
def test_composites_that_cannot_be(strict: Any, members: dict[str, Any], said: str) -> None:
    code, text = refusal(strict.put_composite_alarm, AlarmName="c", **members)
    assert code == "ValidationError"
    assert said in text


def test_names_and_data_of_states_have_a_form(client: Any) -> None:
    assert "control characters" in refusal(client.put_metric_alarm, AlarmName="a\tb", **SIMPLE)[1]
    put(client)
    state = {"AlarmName": "a", "StateValue": "ALARM", "StateReason": "a drill"}
    for text in ("{", "[1, NaN]", "[" * 3900):
        assert refusal(client.set_alarm_state, **state, StateReasonData=text)[0] == "InvalidFormat"
    client.set_alarm_state(**state, StateReasonData="{}")


def test_a_name_stays_with_its_kind(client: Any) -> None:
    put(client, "metric")
    client.put_composite_alarm(AlarmName="composite", AlarmRule="TRUE")
    assert "is a metric alarm" in refusal(client.put_composite_alarm, AlarmName="metric", AlarmRule="TRUE")[1]
    members = {**SIMPLE, "AlarmName": "composite"}
    assert "is a composite alarm" in refusal(client.put_metric_alarm, **members)[1]
