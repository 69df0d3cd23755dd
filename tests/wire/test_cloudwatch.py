"""CloudWatch's reads as a client sees them: members in, members out, checked against botocore's shapes.

Where texts come from (all public issues or the API reference): `You have requested up to N datapoints`:
cloud-custodian #7683; `At least one of the parameters Statistics and ExtendedStatistics`: an AWS SDK's own test;
`must not equal parameter EndTime`: telegraf #2022 and beats #32687 (with its line end in GetMetricData);
`is not matching the expected pattern`: telegraf #5420; `is not a valid statistic`: YACE #385. The others are ours.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clary.control.metrics import MetricDesk
from clary.domain.errors import NotServed
from clary.edge.aws.registry import problems
from clary.edge.aws.resources import cloudwatch
from clary.edge.aws.resources.cloudwatch import listing
from clary.edge.aws.spec import Spec
from clary.kit.clock import VirtualClock
from clary.kit.threads import Threads
from clary.telemetry.delta import decode_deltas
from clary.telemetry.points import Cell
from clary.telemetry.recorder import Recorder
from clary.telemetry.spool import segments
from clary.telemetry.store import MetricStore
from tests.support.cloudwatch import (
    DIMENSIONS,
    NOW,
    NOW_S,
    NS,
    SCOPE,
    Ask,
    client,
    data,
    one,
    put,
    query,
    refusal,
    statistics,
)
from tests.support.door import Served

# -- GetMetricStatistics -----------------------------------------------------------------------------------------------


def test_what_a_router_recorded_is_what_cloudwatch_answers(ask: Ask, store: MetricStore, tmp_path: Path) -> None:
    clock = VirtualClock((NOW_S - 30) * 1_000_000)
    recorder = Recorder("router-0", "b", tmp_path / "spool", clock)
    series = recorder.series(SCOPE.account, SCOPE.region, "Churn", "u", "A", 2)
    for status, us in ((200, 1_000), (200, 3_000), (500, 2_000)):
        series.observe(status, us, 100, status >= 400)
    recorder.ship()
    store.take(decode_deltas(segments(tmp_path / "spool")[0].read_bytes())[0], NOW_S * 10**6)
    recorder.close()
    every = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]

    def answer(metric: str) -> list[dict[str, Any]]:
        got = ask("GetMetricStatistics", **statistics(MetricName=metric, Statistics=every))
        assert got["Label"] == metric
        return [{key: point[key] for key in (*every, "Unit")} for point in got["Datapoints"]]

    def row(count: float, average: float, total: float, least: float, most: float, unit: str) -> list[dict[str, Any]]:
        return [dict(zip((*every, "Unit"), (count, average, total, least, most, unit), strict=True))]

    assert answer("Invocations") == row(3, 1, 3, 1, 1, "None")
    assert answer("InvocationsPerInstance") == row(3, 0.5, 1.5, 0.5, 0.5, "None")
    assert answer("Invocation4XXErrors") == row(3, 0, 0, 0, 0, "None")
    assert answer("Invocation5XXErrors") == row(3, 1 / 3, 1, 0, 1, "None")
    assert answer("InvocationModelErrors") == row(3, 1 / 3, 1, 0, 1, "None")
    assert answer("ModelLatency") == row(3, 2_000, 6_000, 1_000, 3_000, "Microseconds")
    assert answer("OverheadLatency") == row(3, 100, 300, 100, 100, "Microseconds")
    percentiles = statistics(MetricName="ModelLatency", Statistics=None, ExtendedStatistics=["p0", "p50", "p100"])
    (point,) = ask("GetMetricStatistics", **percentiles)["Datapoints"]
    assert point["ExtendedStatistics"] == pytest.approx({"p0": 1_000, "p50": 2_000, "p100": 3_000}, rel=0.011)
    assert set(point) == {"Timestamp", "Unit", "ExtendedStatistics"}


def test_start_is_inclusive_and_end_exclusive(ask: Ask, store: MetricStore) -> None:
    put(store, {180: one(1), 120: one(2), 60: one(4), 0: one(8)})
    got = ask("GetMetricStatistics", **statistics(StartTime=NOW - timedelta(seconds=120), EndTime=NOW))
    assert [(p["Timestamp"], p["Sum"]) for p in got["Datapoints"]] == [
        (NOW - timedelta(seconds=120), 2),
        (NOW - timedelta(seconds=60), 4),
    ]


def test_periods_begin_at_the_start(ask: Ask, store: MetricStore) -> None:
    put(store, {60 * n: one(1) for n in range(1, 11)})
    got = ask("GetMetricStatistics", **statistics(StartTime=NOW - timedelta(minutes=7), Period=180))
    assert [(p["Timestamp"], p["Sum"]) for p in got["Datapoints"]] == [
        (NOW - timedelta(minutes=7), 3),
        (NOW - timedelta(minutes=4), 3),
        (NOW - timedelta(minutes=1), 1),
    ]


def test_each_set_of_dimensions_unit_and_region_is_its_own(ask: Ask, store: MetricStore) -> None:
    put(store, {60: one(1)})
    put(store, {60: one(2)}, dimensions=(("EndpointName", "Churn"),))
    put(store, {60: one(4)}, region="eu-west-1")

    def sums(**members: Any) -> list[float]:
        return [p["Sum"] for p in ask("GetMetricStatistics", **statistics(**members))["Datapoints"]]

    assert sums() == [1]
    assert sums(Dimensions=DIMENSIONS[1:]) == [2]
    assert sums(Dimensions=None) == []
    assert sums(Unit="None") == [1]
    assert sums(Unit="Count") == []
    assert sums(Dimensions=[{"Name": "EndpointName", "Value": "churn"}]) == []


def test_short_periods_reach_back_three_hours(ask: Ask, store: MetricStore) -> None:
    put(store, {4 * 3600: one(1)})
    put(store, {3600: one(2), 3590: one(4)})
    hours = timedelta(hours=1, minutes=10)
    got = ask("GetMetricStatistics", **statistics(StartTime=NOW - hours, Period=10))
    assert [p["Sum"] for p in got["Datapoints"]] == [2, 4]
    store.prune(NOW_S * 10**6)
    early = {"StartTime": NOW - timedelta(hours=5), "EndTime": NOW - timedelta(hours=3)}
    assert ask("GetMetricStatistics", **statistics(**early, Period=10))["Datapoints"] == []
    assert [p["Sum"] for p in ask("GetMetricStatistics", **statistics(**early))["Datapoints"]] == [1]


def test_at_most_1440_datapoints(ask: Ask, store: MetricStore) -> None:
    day = timedelta(days=1)
    assert ask("GetMetricStatistics", **statistics(StartTime=NOW - day))["Datapoints"] == []
    assert refusal(ask, "GetMetricStatistics", statistics(StartTime=NOW - day, Period=1)) == (
        "InvalidParameterCombination",
        "You have requested up to 86400 datapoints, which exceeds the limit of 1440. You may reduce the datapoints "
        "requested by increasing Period, or decreasing the time range.",
        400,
    )


@pytest.mark.parametrize(
    ("members", "code", "text"),
    [
        (
            {"Statistics": None},
            "InvalidParameterCombination",
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
        ),
        (
            {"ExtendedStatistics": ["p99"]},
            "InvalidParameterCombination",
            "The parameters Statistics and ExtendedStatistics are mutually exclusive and you have specified both.",
        ),
        ({"StartTime": NOW}, "InvalidParameterValue", "The parameter StartTime must not equal parameter EndTime."),
        (
            {"StartTime": NOW + timedelta(seconds=1)},
            "InvalidParameterValue",
            "The parameter StartTime must be less than the parameter EndTime.",
        ),
        (
            {"Period": 45},
            "InvalidParameterValue",
            "The parameter Period must be 1, 5, 10, 20, 30, or a multiple of 60.",
        ),
        (
            {"Statistics": ["Sum", "p99"]},
            "InvalidParameterValue",
            "The parameter Statistics.member.2 must be a value in the set "
            "[ SampleCount, Average, Sum, Minimum, Maximum ].",
        ),
        (
            {"Statistics": None, "ExtendedStatistics": ["p101"]},
            "InvalidParameterValue",
            "The value p101 for parameter ExtendedStatistics.member.1 is not supported.",
        ),
    ],
)
def test_refusals_of_get_metric_statistics(ask: Ask, members: dict[str, Any], code: str, text: str) -> None:
    assert refusal(ask, "GetMetricStatistics", statistics(**members)) == (code, text, 400)


def test_trimmed_means_are_refused_by_name(ask: Ask) -> None:
    with pytest.raises(NotServed, match="tm90"):
        ask("GetMetricStatistics", **statistics(Statistics=None, ExtendedStatistics=["tm90"]))


# -- GetMetricData -----------------------------------------------------------------------------------------------------


def pages(ask: Ask, members: dict[str, Any]) -> list[dict[str, Any]]:
    got = [ask("GetMetricData", **members)]
    while token := got[-1].get("NextToken"):
        got.append(ask("GetMetricData", **members, NextToken=token))
        assert len(got) < 50
    return got


def test_several_metrics_newest_first(ask: Ask, store: MetricStore) -> None:
    put(store, {120: one(1), 60: one(2)})
    put(store, {60: Cell(4, 8, 1, 3)}, metric="N")
    queries = (query("a"), query("b", "N", "Average", Label="mean"), query("c", "N", "Maximum", ReturnData=False))
    got = ask("GetMetricData", **data(*queries))
    minute = timedelta(minutes=1)
    assert got == {
        "MetricDataResults": [
            {
                "Id": "a",
                "Label": "M",
                "Timestamps": [NOW - minute, NOW - 2 * minute],
                "Values": [2, 1],
                "StatusCode": "Complete",
            },
            {"Id": "b", "Label": "mean", "Timestamps": [NOW - minute], "Values": [2], "StatusCode": "Complete"},
        ],
        "Messages": [],
    }
    ascending = ask("GetMetricData", **data(*queries, ScanBy="TimestampAscending"))
    assert ascending["MetricDataResults"][0]["Values"] == [1, 2]


@pytest.mark.parametrize("scan", ["TimestampDescending", "TimestampAscending"])
@pytest.mark.parametrize("page", [1, 2, 3, 4, 7, 100])
def test_pages_hold_every_point_once(ask: Ask, store: MetricStore, scan: str, page: int) -> None:
    for metric, count in (("A", 3), ("B", 0), ("C", 5), ("D", 1)):
        if count:
            put(store, {60 * n: one(n) for n in range(1, count + 1)}, metric=metric)
    queries = [query(metric.lower(), metric) for metric in "ABCD"]
    queries.insert(1, query("hidden", "A", ReturnData=False))
    whole = data(*queries, ScanBy=scan)
    expected = {r["Id"]: r["Values"] for r in ask("GetMetricData", **whole)["MetricDataResults"]}
    assert [len(values) for values in expected.values()] == [3, 0, 5, 1]
    got: dict[str, list[float]] = {name: [] for name in expected}
    statuses: dict[str, str] = {}
    answers = pages(ask, {**whole, "MaxDatapoints": page})
    for answer in answers:
        assert [r["Id"] for r in answer["MetricDataResults"]] == list(expected)
        assert sum(len(r["Values"]) for r in answer["MetricDataResults"]) <= page
        for result in answer["MetricDataResults"]:
            got[result["Id"]].extend(result["Values"])
            statuses[result["Id"]] = result["StatusCode"]
    assert got == expected
    assert set(statuses.values()) == {"Complete"}
    assert len(answers) == -(-9 // page)


def test_a_page_survives_new_points(ask: Ask, store: MetricStore) -> None:
    put(store, {60 * n: one(n) for n in range(2, 6)})
    members = data(query(), MaxDatapoints=2)
    first = ask("GetMetricData", **members)
    assert first["MetricDataResults"][0]["StatusCode"] == "PartialData"
    put(store, {60: one(1)})
    second = ask("GetMetricData", **members, NextToken=first["NextToken"])
    assert first["MetricDataResults"][0]["Values"] + second["MetricDataResults"][0]["Values"] == [2, 3, 4, 5]


@pytest.mark.parametrize("token", ["nonsense", "W10=", "eyJxIjoxfQ==", "é"])
def test_a_token_of_our_own_making_only(ask: Ask, token: str) -> None:
    assert refusal(ask, "GetMetricData", data(query(), NextToken=token))[0] == "InvalidNextToken"
    assert refusal(ask, "ListMetrics", {"NextToken": token})[0] == "InvalidParameterValue"


def test_a_token_fits_its_own_request_only(ask: Ask, store: MetricStore) -> None:
    put(store, {60 * n: one(n) for n in range(1, 6)})
    token = ask("GetMetricData", **data(query(), MaxDatapoints=2))["NextToken"]
    assert refusal(ask, "GetMetricData", data(query(stat="Average"), NextToken=token))[0] == "InvalidNextToken"


def test_all_that_is_wrong_with_get_metric_data_is_named(ask: Ask) -> None:
    unnamed: dict[str, Any] = {"Id": "ok", "MetricStat": {"Metric": {}, "Period": 60, "Stat": "Sum"}}
    members = data(
        query("5xx", stat="Median"),
        query("a"),
        query("a", period=7),
        query("b", Label="${AVG}" * 7),
        {"Id": "c"},
        unnamed,
        StartTime=NOW,
        MaxDatapoints=200_000,
    )
    code, text, status = refusal(ask, "GetMetricData", members)
    assert (code, status) == ("ValidationError", 400)
    path = "MetricDataQueries.member"
    assert text.splitlines(keepends=True) == [
        "The parameter StartTime must not equal parameter EndTime.\n",
        "The parameter MaxDatapoints must be between 1 and 100800.\n",
        f"The value 5xx for parameter {path}.1.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.\n",
        f"The value Median for parameter {path}.1.MetricStat.Stat is not a valid statistic.\n",
        f"The value a for parameter {path}.3.Id is not unique.\n",
        f"The parameter Period must be 1, 5, 10, 20, 30, or a multiple of 60; {path}.3.MetricStat.Period is 7.\n",
        f"The value for parameter {path}.4.Label is not valid: a label has at most 6 dynamic values, not 7.\n",
        f"The parameter {path}.5.MetricStat is required.\n",
        f"The parameter {path}.6.MetricStat.Metric.Namespace is required.\n",
        f"The parameter {path}.6.MetricStat.Metric.MetricName is required.\n",
    ]


def test_at_most_500_queries(ask: Ask) -> None:
    assert len(ask("GetMetricData", **data(*(query(f"q{n}") for n in range(500))))["MetricDataResults"]) == 500
    text = refusal(ask, "GetMetricData", data(*(query(f"q{n}") for n in range(501))))[1]
    assert text == "The collection MetricDataQueries must not have a size greater than 500.\n"


# -- ListMetrics -------------------------------------------------------------------------------------------------------


def test_metrics_are_listed_filtered_and_paged(ask: Ask, store: MetricStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, {60: one(1)})
    put(store, {60: one(1)}, metric="N", dimensions=(("EndpointName", "Churn"),))
    put(store, {15 * 86400: one(1)}, metric="Old")
    put(store, {4 * 3600: one(1)}, metric="Quiet")

    def names(**members: Any) -> list[str]:
        return [metric["MetricName"] for metric in ask("ListMetrics", **members)["Metrics"]]

    assert names() == ["M", "N", "Quiet"]
    assert names(RecentlyActive="PT3H") == ["M", "N"]
    assert names(MetricName="M", Namespace=NS) == ["M"]
    assert names(Namespace="AWS/EC2") == []
    assert names(Dimensions=[{"Name": "VariantName"}]) == ["M", "Quiet"]
    assert names(Dimensions=[{"Name": "EndpointName", "Value": "Churn"}]) == ["M", "N", "Quiet"]
    assert ask("ListMetrics", MetricName="M")["Metrics"] == [
        {"Namespace": NS, "MetricName": "M", "Dimensions": sorted(DIMENSIONS, key=lambda pair: pair["Name"])}
    ]
    monkeypatch.setattr(listing, "LIST_PAGE", 2)
    first = ask("ListMetrics")
    assert [metric["MetricName"] for metric in first["Metrics"]] == ["M", "N"]
    put(store, {60: one(1)}, metric="Later")
    assert names(NextToken=first["NextToken"]) == ["Quiet"]


def test_no_account_is_linked_to_another(ask: Ask, store: MetricStore) -> None:
    put(store, {60: one(1)})
    assert "OwningAccounts" not in ask("ListMetrics", IncludeLinkedAccounts=False)
    assert ask("ListMetrics", IncludeLinkedAccounts=True)["OwningAccounts"] == [SCOPE.account]
    assert len(ask("ListMetrics", OwningAccount=SCOPE.account)["Metrics"]) == 1
    assert ask("ListMetrics", IncludeLinkedAccounts=True, OwningAccount="210987654321")["Metrics"] == []
    assert refusal(ask, "ListMetrics", {"OwningAccount": "210987654321"})[0] == "InvalidParameterValue"


def test_every_input_field_is_listed() -> None:
    desk = MetricDesk(MetricStore(Path("unused")), Threads("unused", 1), VirtualClock())
    spec = Spec()
    assert [problem for operation in cloudwatch.operations(desk) for problem in problems(operation, spec)] == []


PROTOCOLS = ["json", "query", "smithy-rpc-v2-cbor"]

# -- real clients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unmodified_client_reads_metrics(served: Served, store: MetricStore, protocol: str) -> None:
    put(store, {60 * n: one(n) for n in range(1, 6)})
    boto = client(served, protocol)
    got = boto.get_metric_statistics(**statistics(Statistics=["Sum", "SampleCount"], Period=300))
    assert got["Label"] == "M"
    assert sum(point["Sum"] for point in got["Datapoints"]) == 15
    assert {point["Unit"] for point in got["Datapoints"]} == {"None"}
    pages = boto.get_paginator("get_metric_data").paginate(**data(query()), PaginationConfig={"PageSize": 2})
    results = [result for page in pages for result in page["MetricDataResults"]]
    assert [value for result in results for value in result["Values"]] == [1, 2, 3, 4, 5]
    assert [result["StatusCode"] for result in results] == ["PartialData", "PartialData", "Complete"]
    assert results[0]["Timestamps"][0] == NOW - timedelta(minutes=1)
    listed = boto.get_paginator("list_metrics").paginate(Namespace=NS, Dimensions=[{"Name": "EndpointName"}])
    assert [metric["MetricName"] for page in listed for metric in page["Metrics"]] == ["M"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unmodified_client_understands_refusals(served: Served, protocol: str) -> None:
    boto = client(served, protocol)
    with pytest.raises(boto.exceptions.InvalidParameterCombinationException) as refused:
        boto.get_metric_statistics(**statistics(Period=1))
    assert refused.value.response["Error"]["Code"] == "InvalidParameterCombination"
    with pytest.raises(boto.exceptions.InvalidNextToken):
        boto.get_metric_data(**data(query(), NextToken="x"))
    with pytest.raises(boto.exceptions.ClientError, match="which the request lacks"):
        boto.get_metric_data(**data({"Id": "e", "Expression": "m1 / m2"}))
    with pytest.raises(boto.exceptions.ClientError, match="tm90"):
        boto.get_metric_data(**data(query(stat="tm90")))
