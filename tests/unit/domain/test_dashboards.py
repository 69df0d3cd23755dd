"""What a dashboard's body may be."""

import json
from typing import Any

import pytest

from clary.domain.dashboards import WIDGETS_MAX, faults

PROPERTIES = {"metrics": [["AWS/SageMaker", "Invocations"]], "region": "us-east-1"}
TEXT = {"type": "text", "properties": {"markdown": "# hello"}}


def found(*widgets: Any, **more: Any) -> list[tuple[str, bool]]:
    return [(fault.path, fault.error) for fault in faults(json.dumps({"widgets": list(widgets), **more}))]


def test_what_is_right_has_no_faults() -> None:
    metric = {"type": "metric", "x": 0, "y": 3, "width": 24, "height": 1000, "properties": PROPERTIES}
    assert found(TEXT, metric, start="-PT3H", end="-PT1H", periodOverride="inherit") == []
    alarms = {"type": "metric", "properties": {"region": "x", "annotations": {"alarms": ["arn"]}}}
    assert found(alarms) == []


@pytest.mark.parametrize("body", ["", "[", "[]", "1", "null", '"a"', "{" * 100_000, '{"widgets": [], "start": NaN}'])
def test_a_body_is_a_json_object(body: str) -> None:
    (fault,) = faults(body)
    assert (fault.message, fault.error) == ("The field DashboardBody must be a valid JSON object", True)


@pytest.mark.parametrize(
    ("widget", "path"),
    [
        (1, "/widgets/0"),
        ({"type": "chart", "properties": {}}, "/widgets/0/type"),
        ({"type": "text"}, "/widgets/0/properties"),
        ({"type": "text", "properties": {}}, "/widgets/0/properties"),
        ({"type": "text", "properties": {"markdown": 1}}, "/widgets/0/properties/markdown"),
        ({**TEXT, "width": 25}, "/widgets/0/width"),
        ({**TEXT, "height": True}, "/widgets/0/height"),
        ({**TEXT, "x": 1}, "/widgets/0"),
        ({"type": "metric", "properties": {"region": "x"}}, "/widgets/0/properties"),
        ({"type": "metric", "properties": {**PROPERTIES, "metrics": [1]}}, "/widgets/0/properties/metrics/0"),
        ({"type": "metric", "properties": {**PROPERTIES, "metrics": "m"}}, "/widgets/0/properties/metrics"),
        ({"type": "metric", "properties": {**PROPERTIES, "view": "donut"}}, "/widgets/0/properties/view"),
        ({"type": "metric", "properties": {**PROPERTIES, "view": ["bar"]}}, "/widgets/0/properties/view"),
        ({**TEXT, "x": None, "y": 0}, "/widgets/0/x"),
    ],
)
def test_each_fault_is_an_error_at_its_place(widget: Any, path: str) -> None:
    assert found(widget) == [(path, True)]


def test_half_a_character_in_a_name_is_shown_as_what_can_be_sent() -> None:
    assert [fault.path for fault in faults('{"widgets": [], "\\ud800": 1}')] == ["/?"]


def test_what_may_not_be_shown_is_a_warning() -> None:
    log = {"type": "log", "properties": {"query": "fields @message"}}
    assert found(log, {**TEXT, "colour": "red"}, title="x") == [
        ("/title", False),
        ("/widgets/0", False),
        ("/widgets/1/colour", False),
    ]


def test_the_whole() -> None:
    assert found(*[TEXT] * (WIDGETS_MAX + 1)) == [("/widgets", True)]
    assert found(end="-PT1H", periodOverride="x") == [("/periodOverride", True), ("/end", True)]
    assert [fault.path for fault in faults("{}")] == ["/widgets"]
