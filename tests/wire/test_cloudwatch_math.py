"""GetMetricData with expressions, searches and dynamic labels. The texts of errors are ours."""

import json
import struct
from datetime import timedelta
from typing import Any

import pytest

from clary.domain.errors import NotServed
from clary.telemetry import metric_data
from clary.telemetry.store import MetricStore
from tests.support.cloudwatch import DIMENSIONS, NOW, NS, Ask, client, data, one, put, query, refusal
from tests.support.door import Served

PROTOCOLS = ["json", "query", "smithy-rpc-v2-cbor"]
MINUTE = timedelta(minutes=1)


def math(id_: str, text: str, **more: Any) -> dict[str, Any]:
    return {"Id": id_, "Expression": text, **more}


def results(ask: Ask, *queries: dict[str, Any], **members: Any) -> list[tuple[str, str, list[float]]]:
    got = ask("GetMetricData", **data(*queries, **{"ScanBy": "TimestampAscending", **members}))
    return [(one["Id"], one["Label"], one["Values"]) for one in got["MetricDataResults"]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unmodified_client_does_metric_math(served: Served, store: MetricStore, protocol: str) -> None:
    put(store, {120: one(1), 60: one(2)}, metric="Errors")
    put(store, {120: one(4), 60: one(4)}, metric="Requests")
    boto = client(served, protocol)
    got = boto.get_metric_data(
        **data(
            query("errors", "Errors", ReturnData=False),
            query("requests", "Requests", ReturnData=False),
            math("rate", "errors / requests * 100", Label="error rate"),
        )
    )["MetricDataResults"]
    assert got == [
        {
            "Id": "rate",
            "Label": "error rate",
            "Timestamps": [NOW - MINUTE, NOW - 2 * MINUTE],
            "Values": [50.0, 25.0],
            "StatusCode": "Complete",
        }
    ]
    with pytest.raises(boto.exceptions.ClientError, match="Unknown function 'NOPE'"):
        boto.get_metric_data(**data(math("e", "NOPE(m1)")))


def test_expressions_of_expressions_in_any_order(ask: Ask, store: MetricStore) -> None:
    put(store, {120: one(1), 60: one(2)})
    queries = (math("twice", "sum * 2"), math("sum", "SUM(METRICS())", ReturnData=False), query("m1"))
    assert results(ask, *queries) == [("twice", "twice", [2, 4]), ("m1", "M", [1, 2])]


def test_searches_are_compared_with_so_many_names_and_no_more(
    ask: Ask, store: MetricStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {60: one(1)}, metric="A")
    put(store, {60: one(2)}, metric="B")
    search = math("e", "SEARCH('MetricName=A OR C', 'Sum', 60)")
    names = 2 * 2 * (2 + 2 * len(DIMENSIONS))
    monkeypatch.setattr(metric_data, "COMPARED_MAX", names)
    assert [values for _, _, values in results(ask, search)] == [[1.0]]
    monkeypatch.setattr(metric_data, "COMPARED_MAX", names - 1)
    code, text, _ = refusal(ask, "GetMetricData", data(search))
    assert code == "ValidationError"
    assert f"compared with more than {names - 1} names" in text


def test_an_array_is_a_result_a_series(ask: Ask, store: MetricStore) -> None:
    put(store, {60: one(1)}, metric="A")
    put(store, {60: one(2)}, metric="B")
    hidden = (query("a", "A", ReturnData=False), query("b", "B", ReturnData=False))
    assert results(ask, *hidden, math("e", "METRICS() * 10")) == [("e", "A", [10]), ("e", "B", [20])]
    labelled = math("e", "METRICS() * 10", Label="tenfold")
    assert [label for _, label, _ in results(ask, *hidden, labelled)] == ["tenfold A", "tenfold B"]


def test_searches_find_what_is_stored(ask: Ask, store: MetricStore) -> None:
    for endpoint, value in (("churn", 1), ("fraud", 2)):
        dimensions = (("EndpointName", endpoint), ("VariantName", "A"))
        put(store, {60: one(value)}, metric="Invocations", dimensions=dimensions)
        put(store, {60: one(9)}, metric="Other", dimensions=dimensions)
    put(store, {60: one(9)}, metric="Invocations", dimensions=(("EndpointName", "churn"),))
    put(store, {60: one(9)}, metric="Invocations", region="eu-west-1")
    text = "SEARCH('{AWS/SageMaker,EndpointName,VariantName} MetricName=\"Invocations\"', 'Sum', 60)"
    assert results(ask, math("e", text)) == [("e", "churn", [1]), ("e", "fraud", [2])]
    assert results(ask, math("e", f"SUM({text})")) == [("e", "e", [3])]
    own_period = math("e", text.replace(", 60)", ")"), Period=60)
    assert [values for _, _, values in results(ask, own_period)] == [[1], [2]]
    assert "give the period" in refusal(ask, "GetMetricData", data(math("e", text.replace(", 60)", ")"))))[1]


def test_the_period_of_an_expression(ask: Ask, store: MetricStore) -> None:
    put(store, {60: one(1)})
    span = {"StartTime": NOW - 10 * MINUTE}
    assert results(ask, math("e", "TIME_SERIES(7)", Period=300), **span) == [("e", "e", [7, 7])]
    assert len(results(ask, math("e", "TIME_SERIES(7)"), **span)[0][2]) == 10
    assert results(ask, query("m", ReturnData=False), math("e", "m * 2", Period=60)) == [("e", "e", [2])]
    code, text, _ = refusal(ask, "GetMetricData", data(query("m"), math("e", "m * 2", Period=300)))
    assert (code, text) == (
        "ValidationError",
        "Error in expression 'e': Its Period is 300 seconds, and that of its metrics 60.",
    )


@pytest.mark.parametrize("page", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("scan", ["TimestampDescending", "TimestampAscending"])
def test_pages_hold_every_point_of_an_expression_once(ask: Ask, store: MetricStore, scan: str, page: int) -> None:
    put(store, {60 * n: one(n) for n in range(1, 5)}, metric="A")
    put(store, {60 * n: one(10 * n) for n in range(1, 3)}, metric="B")
    members = data(query("a", "A"), math("e", "[a, a + b]"), query("b", "B"), ScanBy=scan, MaxDatapoints=page)
    whole = ask("GetMetricData", **{**members, "MaxDatapoints": 1000})["MetricDataResults"]
    expected = [result["Values"] for result in whole]
    assert [len(values) for values in expected] == [4, 4, 4, 2]
    got: list[list[float]] = [[], [], [], []]
    token: str | None = ""
    while token is not None:
        answer = ask("GetMetricData", **members, **({"NextToken": token} if token else {}))
        for into, result in zip(got, answer["MetricDataResults"], strict=True):
            into.extend(result["Values"])
        token = answer.get("NextToken")
    assert got == expected


def test_dynamic_labels(ask: Ask, store: MetricStore) -> None:
    put(store, {180: one(5), 120: one(1), 60: one(3)})
    put(store, {60: one(3)}, metric="Empty", unit="Count")
    label = "${PROP('MetricName')} ${PROP('Dim.VariantName')} ${MIN}..${MAX} last ${LAST} (${LABEL})"
    assert results(ask, query("m", Label=label))[0][1] == "M A 1..5 last 3 (M)"
    times = query("m", Label="${MAX_TIME} ${LAST_TIME}")
    shown = results(ask, times, LabelOptions={"Timezone": "+0130"})[0][1]
    zone = timedelta(hours=1, minutes=30)
    assert shown == f"{NOW + zone - 3 * MINUTE:%Y-%m-%d %H:%M:%S} {NOW + zone - MINUTE:%Y-%m-%d %H:%M:%S}"
    assert results(ask, query("m", "Nothing", Label="${AVG} ${DATAPOINT_COUNT}"))[0][1] == "- 0"
    assert results(ask, query("m", Label="${MIN_MAX_RANGE} ${SUM}"))[0][1] == "1 - 5 9"
    with pytest.raises(NotServed, match="MAX_TIME_RELATIVE"):
        ask("GetMetricData", **data(query("m", Label="${MAX_TIME_RELATIVE}")))
    assert "Timezone" in refusal(ask, "GetMetricData", data(query(), LabelOptions={"Timezone": "CET"}))[1]


@pytest.mark.parametrize(
    ("queries", "text"),
    [
        ([math("e", "m1 +")], "Error in expression 'e': Unexpected end of the expression at position 5.\n"),
        ([math("e", "m1 + 1")], "The expression 'e' refers to 'm1', which the request lacks.\n"),
        ([math("e", "f"), math("f", "e")], "The expressions 'e', 'f' form a circle.\n"),
        ([query("m"), math("e", "AVG(m)")], "Error in expression 'e': The result must be a time series or an array"),
        (
            [{**query("m"), "Expression": "1"}],
            "The parameters MetricDataQueries.member.1.Expression and MetricDataQueries.member.1.MetricStat are "
            "mutually exclusive and you have specified both.\n",
        ),
        ([math("e", "TIME_SERIES(1)", Period=7)], "MetricDataQueries.member.1.Period is 7.\n"),
        ([query("m", Period=300)], "The parameter MetricDataQueries.member.1.Period belongs to an Expression"),
        ([query("m", AccountId="210987654321")], "The parameter MetricDataQueries.member.1.AccountId must be"),
    ],
)
def test_what_is_wrong_is_named(ask: Ask, queries: list[dict[str, Any]], text: str) -> None:
    code, got, status = refusal(ask, "GetMetricData", data(*queries))
    assert (code, status) == ("ValidationError", 400)
    assert text in got


@pytest.mark.parametrize("text", ["ANOMALY_DETECTION_BAND(m1)", 'SELECT AVG(x) FROM "AWS/SageMaker"'])
def test_what_is_not_served_is_refused_by_name(ask: Ask, text: str) -> None:
    with pytest.raises(NotServed):
        ask("GetMetricData", **data(query("m1"), math("e", text)))


def test_an_expression_reads_only_so_much(ask: Ask, store: MetricStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clary.telemetry.metric_data.READ_POINTS_MAX", 2)
    put(store, {60 * n: one(n) for n in range(1, 4)})
    assert "more than 2 data points" in refusal(ask, "GetMetricData", data(query("m"), math("e", "m * 2")))[1]


# -- GetMetricWidgetImage ----------------------------------------------------------------------------------------------


def test_a_widget_is_a_picture(served: Served, store: MetricStore) -> None:
    put(store, {60 * n: one(n) for n in range(1, 30)})
    boto = client(served, "query")
    metric = [NS, "M", "EndpointName", "Churn", "VariantName", "A"]
    widget = {
        "metrics": [[*metric, {"id": "m1", "period": 60}], [{"expression": "m1 * 2", "label": "twice"}]],
        "start": "-PT1H",
        "title": "M",
        "width": 320,
        "height": 200,
        "annotations": {"horizontal": [{"value": 10, "label": "limit"}]},
    }
    image = boto.get_metric_widget_image(MetricWidget=json.dumps(widget))["MetricWidgetImage"]
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", image[16:24]) == (320, 200)
    with pytest.raises(boto.exceptions.ClientError, match="width must be a whole number from 1 to 2000"):
        boto.get_metric_widget_image(MetricWidget=json.dumps({**widget, "width": 5000}))
    with pytest.raises(boto.exceptions.ClientError, match="MetricWidget is not JSON"):
        boto.get_metric_widget_image(MetricWidget="{")
    with pytest.raises(boto.exceptions.ClientError, match="it must be png"):
        boto.get_metric_widget_image(MetricWidget="{}", OutputFormat="image/png")


def test_without_matplotlib_the_remedy_is_named(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotServed, match=r"clary\[plots\]"):
        ask("GetMetricWidgetImage", MetricWidget=json.dumps({"metrics": [[NS, "M"]]}))
