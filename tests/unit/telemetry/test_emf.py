"""The embedded metric format: what its specification's examples give, and what breaks its rules gives nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.telemetry.emf import LINE_BYTES_MAX, UNITS, Place, samples_of
from clary.telemetry.points import Sample

PLACE = Place("123456789012", "us-east-1")


def line(**changed: Any) -> dict[str, Any]:
    directive = {
        "Namespace": "Serving",
        "Dimensions": [["Variant", "Endpoint"], ["Endpoint"]],
        "Metrics": [{"Name": "Latency", "Unit": "Milliseconds", "StorageResolution": 60}],
    }
    directive.update({name: value for name, value in changed.items() if name in ("Namespace", "Dimensions", "Metrics")})
    root = {name: value for name, value in changed.items() if name not in directive and name != "Timestamp"}
    told = {"Timestamp": changed.get("Timestamp", 1924387200123), "CloudWatchMetrics": [directive]}
    return {"_aws": told, "Endpoint": "churn", "Variant": "blue", "Latency": [12.5, 14], "requestId": "r1", **root}


def read(document: Any) -> list[Sample]:
    return samples_of(json.dumps(document).encode(), PLACE)


def test_each_set_of_dimensions_is_a_metric_of_its_own() -> None:
    both, one = read(line())
    assert both.key.dimensions == (("Endpoint", "churn"), ("Variant", "blue"))
    assert one.key.dimensions == (("Endpoint", "churn"),)
    assert (one.key.namespace, one.key.metric, one.key.unit) == ("Serving", "Latency", "Milliseconds")
    assert (one.key.account, one.key.region, one.at_s) == ("123456789012", "us-east-1", 1924387200)
    assert (one.cell.count, one.cell.sum, one.cell.min, one.cell.max) == (2, 26.5, 12.5, 14)
    assert one.cell is not both.cell
    assert one.cell.sketch is not None
    assert one.cell.sketch.quantile(1) == pytest.approx(14, rel=0.01)


def test_no_dimensions_are_a_metric_without_any() -> None:
    for none in ([], [[]]):
        (sample,) = read(line(Dimensions=none))
        assert sample.key.dimensions == ()


def test_a_metric_that_is_not_there_leaves_the_others() -> None:
    metrics = [{"Name": "absent"}, {"Name": "requestId"}, {"Name": "flag"}, {"Name": "Latency"}]
    found = read(line(Metrics=metrics, Dimensions=[[]], flag=True))
    assert [(sample.key.metric, sample.key.unit) for sample in found] == [("Latency", "None")]


def test_negative_values_have_no_percentiles() -> None:
    (sample,) = read(line(Latency=-3, Dimensions=[[]]))
    assert (sample.cell.min, sample.cell.sketch) == (-3, None)


@pytest.mark.parametrize(
    "broken",
    [
        {"Namespace": ""},
        {"Namespace": "AWS/SageMaker"},
        {"Namespace": "/aws/sagemaker/Endpoints"},
        {"Namespace": 1},
        {"Namespace": "n" * 256},
        {"Dimensions": None},
        {"Dimensions": [["nobody"]]},
        {"Dimensions": ["Endpoint"]},
        {"Dimensions": [[1]]},
        {"Dimensions": [["Endpoint"] * 31]},
        {"Endpoint": 7},
        {"Endpoint": ""},
        {"Endpoint": "x" * 1025},
        {"Metrics": None},
        {"Metrics": ["Latency"]},
        {"Metrics": [{"Name": "Latency"}] * 101},
        {"Metrics": [{"Name": "Latency", "Unit": "Furlongs"}]},
        {"Metrics": [{"Name": "Latency", "Unit": ["Count"]}]},
        {"Metrics": [{"Name": "Latency", "StorageResolution": 5}]},
        {"Latency": [1] * 101},
        {"Latency": []},
        {"Latency": "12"},
        {"Latency": 1e200},
        {"Timestamp": None},
        {"Timestamp": "2031-01-05"},
        {"Timestamp": -1},
    ],
    ids=str,
)
def test_what_breaks_a_rule_gives_nothing(broken: dict[str, Any]) -> None:
    assert read(line(**broken)) == []


def test_what_is_no_such_line_gives_nothing() -> None:
    for other in (
        b"",
        b"INFO done",
        b'{"a": 1}',
        b'["CloudWatchMetrics"]',
        b'{"_aws": {"CloudWatchMetrics": 1, "Timestamp": 1}}',
        b'{"_aws": "CloudWatchMetrics"}',
        b'{"CloudWatchMetrics": ' + b"[" * 5000,
        b'{"_aws": {"Timestamp": 1e400, "CloudWatchMetrics": []}}',
        b'{"CloudWatchMetrics": "\xff"}',
    ):
        assert samples_of(other, PLACE) == []
    assert read(line(padding="x" * LINE_BYTES_MAX)) == []


def test_the_units_are_those_of_the_service_model() -> None:
    from clary.edge.aws.spec import Spec

    assert set(Spec().service("cloudwatch").shape_for("StandardUnit").enum) == UNITS


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["Namespace", "Dimensions", "Metrics", "Timestamp", "Latency", "Endpoint"]), json_values
    )
)
def test_nothing_that_is_json_breaks_the_reader(changed: dict[str, Any]) -> None:
    read(line(**changed))
