"""PutMetricData: what is published is what is read, by every protocol; what is wrong is named and changes nothing.

`mutually exclusive`, `must specify a time within the past two weeks`, `no more than two hours in the future` and `The
collection MetricData must not have a size greater than`: the service's words, from public issues. The others are ours.
"""

import gzip
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clary.telemetry.store import MetricStore, StoreOptions
from tests.support.cloudwatch import NOW, Ask, client, refusal
from tests.support.door import Served

PROTOCOLS = ["json", "query", "smithy-rpc-v2-cbor"]
DIMENSIONS = [{"Name": "Host", "Value": "a"}]
NAMESPACE = "Mine/App"


def datum(**members: Any) -> dict[str, Any]:
    base = {"MetricName": "Age", "Dimensions": DIMENSIONS, "Timestamp": NOW - timedelta(minutes=2), "Value": 1.0}
    return {key: value for key, value in {**base, **members}.items() if value is not None}


def put(*data: dict[str, Any], namespace: str = NAMESPACE) -> dict[str, Any]:
    return {"Namespace": namespace, "MetricData": list(data)}


def read(ask: Ask, stat: str, period: int = 60, **metric: Any) -> list[float]:
    wanted = {"Metric": {"Namespace": NAMESPACE, "MetricName": "Age", "Dimensions": DIMENSIONS, **metric}}
    queries = [{"Id": "q", "MetricStat": {**wanted, "Period": period, "Stat": stat}}]
    got = ask("GetMetricData", MetricDataQueries=queries, StartTime=NOW - timedelta(hours=1), EndTime=NOW)
    values: list[float] = got["MetricDataResults"][0]["Values"]
    return values


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_put_is_read(served: Served, protocol: str) -> None:
    boto = client(served, protocol)
    boto.put_metric_data(
        **put(
            datum(Value=2.0, Unit="Seconds"),
            datum(Value=None, Values=[1.0, 3.0], Counts=[1.0, 2.0], Unit="Seconds"),
            datum(MetricName="Sums", Value=None,
                  StatisticValues={"SampleCount": 4, "Sum": 8, "Minimum": 1, "Maximum": 3}),
        )
    )  # fmt: skip
    got = boto.get_metric_statistics(
        Namespace=NAMESPACE, MetricName="Age", Dimensions=DIMENSIONS, StartTime=NOW - timedelta(hours=1), EndTime=NOW,
        Period=60, Statistics=["SampleCount", "Sum", "Average", "Minimum", "Maximum"],
    )["Datapoints"]  # fmt: skip
    assert got == [
        {
            "Timestamp": NOW - timedelta(minutes=2),
            "Unit": "Seconds",
            "SampleCount": 4.0,
            "Sum": 9.0,
            "Average": 2.25,
            "Minimum": 1.0,
            "Maximum": 3.0,
        }
    ]
    assert [metric["MetricName"] for metric in boto.list_metrics(Namespace=NAMESPACE)["Metrics"]] == ["Age", "Sums"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_large_body_comes_compressed(served: Served, protocol: str) -> None:
    boto = client(served, protocol)
    sent: list[bytes] = []
    boto.meta.events.register(
        "before-send.cloudwatch.PutMetricData", lambda request, **_: sent.append(bytes(request.body))
    )
    boto.put_metric_data(**put(*(datum(MetricName=f"M{number}" * 20) for number in range(200))))
    assert gzip.decompress(sent[0])
    assert len(boto.list_metrics(Namespace=NAMESPACE)["Metrics"]) == 200


def test_percentiles_of_published_values(ask: Ask) -> None:
    ask("PutMetricData", **put(datum(Value=None, Values=[float(n) for n in range(1, 101)])))
    assert read(ask, "p90")[0] == pytest.approx(90, rel=0.02)
    assert read(ask, "p100") == [100]


def test_a_statistic_set_has_percentiles_only_where_all_values_are_one(ask: Ask) -> None:
    def sums(count: float, low: float, high: float) -> dict[str, Any]:
        return {"SampleCount": count, "Sum": count * low, "Minimum": low, "Maximum": high}

    ask("PutMetricData", **put(datum(Value=None, StatisticValues=sums(3, 5, 5))))
    assert read(ask, "p90") == [5]
    ask("PutMetricData", **put(datum(Value=None, StatisticValues=sums(3, 5, 9))))
    assert read(ask, "p90") == []
    assert read(ask, "SampleCount") == [6]


def test_there_are_no_percentiles_of_negative_values(ask: Ask) -> None:
    ask("PutMetricData", **put(datum(Value=-5.0), datum(Value=5.0)))
    assert (read(ask, "p50"), read(ask, "Minimum"), read(ask, "Average")) == ([], [-5], [0])


def test_a_metric_of_high_resolution_has_points_below_a_minute(ask: Ask) -> None:
    at = NOW - timedelta(seconds=115)
    ask("PutMetricData", **put(datum(Timestamp=at, StorageResolution=1)))
    assert read(ask, "Sum", period=10) == [1]
    ask("PutMetricData", **put(datum(Timestamp=at, MetricName="Slow")))
    assert read(ask, "Sum", period=10, MetricName="Slow") == []
    assert read(ask, "Sum", MetricName="Slow") == [1]


def test_without_a_timestamp_it_is_now(ask: Ask) -> None:
    ask("PutMetricData", **put(datum(Timestamp=None)))
    span = {"StartTime": NOW - timedelta(hours=1), "EndTime": NOW + timedelta(seconds=1)}
    members = {"Namespace": NAMESPACE, "MetricName": "Age", "Dimensions": DIMENSIONS, "Period": 60}
    (point,) = ask("GetMetricStatistics", **members, **span, Statistics=["Sum"])["Datapoints"]
    assert point["Timestamp"] == NOW


@pytest.mark.parametrize(
    ("members", "code", "text"),
    [
        ({"namespace": "AWS/Mine"}, "InvalidParameterValue", "The value AWS/Mine for parameter Namespace is invalid."),
        ({"namespace": "/aws/sagemaker/Endpoints"}, "InvalidParameterValue", "Namespace is invalid."),
        ({"namespace": "Größe"}, "InvalidParameterValue", "The parameter Namespace must contain ASCII"),
        ({"MetricName": "a\tb"}, "InvalidParameterValue", "MetricData.member.1.MetricName must contain ASCII"),
        ({"Dimensions": [{"Name": ":a", "Value": "b"}]}, "InvalidParameterValue", "must not start with a colon"),
        ({"Dimensions": [{"Name": "a", "Value": " "}]}, "InvalidParameterValue", "and one that is no blank"),
        ({"Dimensions": DIMENSIONS * 2}, "InvalidParameterValue", "names a dimension twice"),
        ({"StorageResolution": 5}, "InvalidParameterValue", "MetricData.member.1.StorageResolution must be 1 or 60."),
        ({"Value": float("nan")}, "InvalidParameterValue", "The value nan for parameter MetricData.member.1.Value"),
        ({"Value": 2.0**361}, "InvalidParameterValue", "a number from -2^360 to 2^360"),
        ({"Value": None}, "MissingParameter", "At least one of the parameters MetricData.member.1.Value"),
        (
            {"Values": [1.0]},
            "InvalidParameterCombination",
            "The parameters MetricData.member.1.Value and MetricData.member.1.Values are mutually exclusive and you "
            "have specified both.",
        ),
        ({"Counts": [1.0]}, "InvalidParameterCombination", "Counts needs the parameter MetricData.member.1.Values"),
        ({"Value": None, "Values": []}, "InvalidParameterValue", "must have a size of 1 to 150"),
        ({"Value": None, "Values": [1.0] * 151}, "InvalidParameterValue", "must have a size of 1 to 150"),
        ({"Value": None, "Values": [1.0], "Counts": [1.0, 1.0]}, "InvalidParameterValue", "must have the same size"),
        ({"Value": None, "Values": [1.0], "Counts": [0.0]}, "InvalidParameterValue", "numbers greater than 0"),
        (
            {"Value": None, "StatisticValues": {"SampleCount": 0, "Sum": 0, "Minimum": 0, "Maximum": 0}},
            "InvalidParameterValue",
            "SampleCount must be greater than 0",
        ),
        (
            {"Value": None, "StatisticValues": {"SampleCount": 1, "Sum": 0, "Minimum": 1, "Maximum": 0}},
            "InvalidParameterValue",
            "must not be greater than",
        ),
        (
            {"Timestamp": NOW - timedelta(days=15)},
            "InvalidParameterValue",
            "The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks.",
        ),
        (
            {"Timestamp": NOW + timedelta(hours=3)},
            "InvalidParameterValue",
            "The parameter MetricData.member.1.Timestamp must specify a time no more than two hours in the future.",
        ),
    ],
)
def test_refusals(ask: Ask, members: dict[str, Any], code: str, text: str) -> None:
    namespace = members.pop("namespace", NAMESPACE)
    wrong = put(datum(**members), datum(MetricName="Other"), namespace=namespace)
    got = refusal(ask, "PutMetricData", wrong)
    assert (got[0], got[2]) == (code, 400)
    assert text in got[1]
    assert ask("ListMetrics")["Metrics"] == []


def test_at_most_1000_metrics(ask: Ask) -> None:
    ask("PutMetricData", **put(*[datum()] * 1000))
    code, text, _ = refusal(ask, "PutMetricData", put(*[datum()] * 1001))
    assert code == "InvalidParameterValue"
    assert text == "The collection MetricData must not have a size greater than 1000."
    assert refusal(ask, "PutMetricData", {"Namespace": NAMESPACE})[0] == "MissingParameter"


class TestCardinality:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        made = MetricStore(tmp_path / "telemetry.db", StoreOptions(series_max=5, custom_series_max=3))
        yield made
        made.close()

    def test_too_many_series_are_refused_whole(self, ask: Ask) -> None:
        ask("PutMetricData", **put(datum(MetricName="A"), datum(MetricName="B")))
        code, text, _ = refusal(ask, "PutMetricData", put(datum(MetricName="C"), datum(MetricName="D")))
        assert code == "LimitExceeded"
        assert text.startswith("The limit of 3 series for metrics of your own is reached, and nothing of this request")
        assert "Use fewer distinct values of dimensions" in text
        assert [metric["MetricName"] for metric in ask("ListMetrics")["Metrics"]] == ["A", "B"]
        ask("PutMetricData", **put(datum(MetricName="C")))
        ask("PutMetricData", **put(datum(MetricName="C", Value=5.0)))
        assert read(ask, "Sum", MetricName="C") == [6]
