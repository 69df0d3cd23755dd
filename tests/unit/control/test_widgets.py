"""Metric widgets as GetMetricWidgetImage takes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clary.control.widgets import Widget, read_widget
from clary.domain.errors import Invalid, NotServed
from clary.telemetry.statistics import Percentile

NOW = datetime(2031, 1, 5, 8, tzinfo=UTC)
INVOCATIONS = ["AWS/SageMaker", "Invocations", "EndpointName", "churn", "VariantName", "A"]


def read(*metrics: Any, **more: Any) -> Widget:
    return read_widget({"metrics": list(metrics) or [INVOCATIONS], **more}, NOW, "us-east-1")


def test_defaults() -> None:
    widget = read()
    (line,) = widget.lines
    assert (widget.width, widget.height, widget.view, widget.legend) == (600, 400, "timeSeries", "bottom")
    assert (widget.start_s, widget.end_s) == ((NOW - timedelta(hours=3)).timestamp(), NOW.timestamp())
    assert (line.stat, line.period_s, line.visible, line.right) == ("Average", 300, True, False)


def test_dots_stand_for_what_was_before() -> None:
    widget = read(INVOCATIONS, [".", "ModelLatency", ".", ".", ".", "."], ["...", "B", {"stat": "p99", "id": "b"}])
    names = [line.metric.name for line in widget.lines if line.metric]
    assert names == ["Invocations", "ModelLatency", "ModelLatency"]
    last = widget.lines[2]
    assert last.metric is not None
    assert last.metric.dimensions == (("EndpointName", "churn"), ("VariantName", "B"))
    assert (last.stat, last.id) == (Percentile(0.99), "b")


def test_widget_defaults_and_metrics_of_their_own() -> None:
    widget = read([*INVOCATIONS, {"period": 10}], ["N", "M", {"stat": "Sum", "yAxis": "right"}], period=60, stat="p50")
    assert [(line.period_s, line.stat, line.right) for line in widget.lines] == [
        (10, Percentile(0.5), False),
        (60, "Sum", True),
    ]


def test_expressions_and_annotations() -> None:
    widget = read(
        [*INVOCATIONS, {"id": "m1", "visible": False}],
        [{"expression": "m1 * 2", "label": "twice ${LAST}", "color": "#ff0000"}],
        annotations={
            "horizontal": [{"value": 5, "label": "limit", "fill": "above"}, [{"value": 1}, {"value": 2}]],
            "vertical": [{"value": "2031-01-05T07:00:00Z"}, {"value": "2031-01-05T07:00:00Z", "visible": False}],
        },
        yAxis={"left": {"min": 0, "max": 10, "label": "n"}},
    )
    assert widget.lines[1].expression is not None
    assert [mark.values for mark in widget.horizontal] == [(5.0,), (1.0, 2.0)]
    assert [mark.values for mark in widget.vertical] == [((NOW - timedelta(hours=1)).timestamp(),)]
    assert (widget.left.least, widget.left.most) == (0, 10)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metrics": []}, "metrics must be an array of 1 to 100"),
        ({"metrics": [["a"]]}, "must hold a namespace, a metric"),
        ({"metrics": [["...", "x"]]}, "has no entry before it"),
        ({"metrics": [[".", "x"]]}, "has nothing before it"),
        ({"metrics": [["a", "b", "c"]]}, "pairs of dimension and value"),
        ({"metrics": [["a", 1]]}, "must hold texts"),
        ({"metrics": [[{}]]}, "either a metric or an expression"),
        ({"metrics": [["a", "b", {"expression": "1"}]]}, "either a metric or an expression"),
        ({"metrics": [[{"expression": "m1 +"}]]}, "Unexpected end"),
        ({"metrics": [[{"expression": "m9 * 2"}]]}, "refers to 'm9'"),
        ({"metrics": [["a", "b", {"id": "X"}]]}, "must begin with a small letter"),
        ({"metrics": [["a", "b", {"id": "x"}], ["a", "c", {"id": "x"}]]}, "given twice"),
        ({"metrics": [["a", "b", {"shape": 1}]]}, "is not a property"),
        ({"metrics": [["a", "b", {"stat": "Mode"}]]}, "is not a valid statistic"),
        ({"metrics": [["a", "b", {"color": "red"}]]}, "hexadecimal"),
        ({"period": 7}, "period must be"),
        ({"width": 0}, "width must be a whole number from 1 to 2000"),
        ({"height": 2001}, "height must be a whole number from 1 to 2000"),
        ({"view": "donut"}, "view must be one of"),
        ({"start": "soon"}, "is neither a time such as"),
        ({"start": "-PT0H"}, "start must be before end"),
        ({"timezone": "CET"}, "four digits"),
        ({"region": "eu-west-1"}, "region must be us-east-1"),
        ({"nonsense": 1}, "'nonsense' is not a field"),
        ({"annotations": {"diagonal": []}}, "annotations.diagonal is not known"),
        ({"annotations": {"horizontal": [{}]}}, "must be an object with a value"),
        ({"annotations": {"horizontal": [{"value": "x"}]}}, "is not a number"),
        ({"annotations": {"vertical": [{"value": 1}]}}, "is not a time such as"),
        ({"yAxis": {"left": {"min": 2, "max": 1}}}, "must be less than its max"),
        ({"legend": {"position": "top"}}, "position must be one of"),
        ({"stacked": 1}, "stacked must be true or false"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read_widget({"metrics": [INVOCATIONS], **given}, NOW, "us-east-1")


@pytest.mark.parametrize(
    "given",
    [
        {"view": "pie"},
        {"annotations": {"alarms": ["arn"]}},
        {"metrics": [["a", "b", {"region": "eu-west-1"}]]},
        {"metrics": [["a", "b", {"accountId": "1"}]]},
        {"metrics": [[{"expression": "ANOMALY_DETECTION_BAND(m1)"}]]},
    ],
)
def test_what_is_not_served_is_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(NotServed):
        read_widget({"metrics": [INVOCATIONS], **given}, NOW, "us-east-1")
