"""Dashboards over every protocol. `must be a valid JSON object` and `does not exist` are the service's words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clary.control import dashboards as control
from clary.control.desk import Desk
from clary.edge.aws.resources import dashboards
from clary.kit.clock import VirtualClock
from clary.kit.ids import SystemIds
from clary.store.sqlite import SqliteStore
from tests.support.cloudwatch import client
from tests.support.door import Served, serve_door

PROTOCOLS = ["json", "query", "smithy-rpc-v2-cbor"]
WIDGET = {
    "type": "metric",
    "x": 0,
    "y": 0,
    "width": 12,
    "height": 6,
    "properties": {"metrics": [["AWS/SageMaker", "Invocations"]], "region": "us-east-1"},
}
BODY = json.dumps({"widgets": [WIDGET]})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    store = SqliteStore(tmp_path / "clary.db")
    with serve_door(dashboards.operations(Desk(store, VirtualClock(), SystemIds()))) as served:
        yield served
    store.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dashboard_from_put_to_delete(served: Served, protocol: str) -> None:
    boto = client(served, protocol)
    assert boto.put_dashboard(DashboardName="ops", DashboardBody='{"widgets": []}')["DashboardValidationMessages"] == []
    boto.put_dashboard(DashboardName="ops", DashboardBody=BODY)
    boto.put_dashboard(DashboardName="Ops-2", DashboardBody=BODY)
    got = boto.get_dashboard(DashboardName="ops")
    assert (got["DashboardName"], got["DashboardBody"]) == ("ops", BODY)
    assert got["DashboardArn"].endswith(":dashboard/ops")
    entries = boto.list_dashboards()["DashboardEntries"]
    assert [(entry["DashboardName"], entry["Size"]) for entry in entries] == [("Ops-2", len(BODY)), ("ops", len(BODY))]
    assert [e["DashboardName"] for e in boto.list_dashboards(DashboardNamePrefix="o")["DashboardEntries"]] == ["ops"]
    with pytest.raises(boto.exceptions.ClientError, match="Dashboard nope does not exist"):
        boto.delete_dashboards(DashboardNames=["ops", "nope"])
    boto.delete_dashboards(DashboardNames=["ops", "Ops-2"])
    assert boto.list_dashboards()["DashboardEntries"] == []
    with pytest.raises(boto.exceptions.ClientError) as missing:
        boto.get_dashboard(DashboardName="ops")
    assert missing.value.response["Error"]["Code"] == "ResourceNotFound"
    assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pages(served: Served, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PAGE", 2)
    boto = client(served, protocol)
    for number in range(5):
        boto.put_dashboard(DashboardName=f"d{number}", DashboardBody=BODY)
    found = boto.get_paginator("list_dashboards").paginate(DashboardNamePrefix="d")
    pages = [[entry["DashboardName"] for entry in page["DashboardEntries"]] for page in found]
    assert pages == [["d0", "d1"], ["d2", "d3"], ["d4"]]


@pytest.mark.parametrize("protocol", ["json", "smithy-rpc-v2-cbor"])
def test_a_wrong_body_is_refused_with_every_place(served: Served, protocol: str) -> None:
    boto = client(served, protocol)
    body = json.dumps({"widgets": [{**WIDGET, "properties": {"metrics": []}}, {"type": "chart"}], "end": "x"})
    with pytest.raises(boto.exceptions.ClientError) as refused:
        boto.put_dashboard(DashboardName="ops", DashboardBody=body)
    response: Any = refused.value.response
    assert response["Error"]["Code"] == "InvalidParameterInput"
    assert [message["DataPath"] for message in response["dashboardValidationMessages"]] == [
        "/end",
        "/widgets/0/properties/metrics",
        "/widgets/0/properties",
        "/widgets/1/type",
    ]
    with pytest.raises(boto.exceptions.ClientError, match="must be a valid JSON object"):
        boto.put_dashboard(DashboardName="ops", DashboardBody="[")
    assert boto.list_dashboards()["DashboardEntries"] == []


def test_a_warning_stores_the_dashboard(served: Served) -> None:
    boto = client(served, "json")
    body = json.dumps({"widgets": [{**WIDGET, "colour": "red"}]})
    messages = boto.put_dashboard(DashboardName="ops", DashboardBody=body)["DashboardValidationMessages"]
    assert messages == [{"DataPath": "/widgets/0/colour", "Message": "Is not a property that a dashboard has"}]
    assert boto.get_dashboard(DashboardName="ops")["DashboardBody"] == body


def test_names_and_tags(served: Served) -> None:
    boto = client(served, "json")
    with pytest.raises(boto.exceptions.ClientError, match="contains invalid characters"):
        boto.put_dashboard(DashboardName="a b", DashboardBody=BODY)
    with pytest.raises(boto.exceptions.ClientError, match="have no tags in Clary"):
        boto.put_dashboard(DashboardName="ops", DashboardBody=BODY, Tags=[{"Key": "a", "Value": "b"}])
    with pytest.raises(boto.exceptions.ClientError, match="1 to 100 names"):
        boto.delete_dashboards(DashboardNames=[])
