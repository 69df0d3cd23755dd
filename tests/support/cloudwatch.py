"""CloudWatch for tests: metrics to put and to ask for, and clients of each protocol. Fixtures are in tests/wire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from clary.domain.principal import Principal, Scope
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call
from clary.telemetry.points import Cell, Sample, SeriesKey
from clary.telemetry.store import MetricStore
from tests.support.door import Served

NOW_S = 1_700_000_040
NOW = datetime.fromtimestamp(NOW_S, UTC)
SCOPE = Scope("123456789012", "us-east-1")
CALL = Call(Principal(SCOPE.account, "arn:aws:iam::123456789012:root", ""), SCOPE, "id", "", "http://127.0.0.1:1")
MODEL = botocore.session.get_session().get_service_model("cloudwatch")
DIMENSIONS = [{"Name": "VariantName", "Value": "A"}, {"Name": "EndpointName", "Value": "Churn"}]
NS = "AWS/SageMaker"

Ask = Callable[..., dict[str, Any]]


def check_output(members: Any, shape: Shape, path: str = "") -> None:
    if isinstance(shape, StructureShape):
        assert set(members) <= set(shape.members), path
        for name, member in members.items():
            check_output(member, shape.members[name], f"{path}.{name}")
    elif isinstance(shape, ListShape):
        for member in members:
            check_output(member, shape.member, f"{path}[]")
    elif isinstance(shape, MapShape):
        for member in members.values():
            check_output(member, shape.value, f"{path}{{}}")
    else:
        kinds = {"string": str, "timestamp": datetime, "double": (int, float), "boolean": bool, "integer": int}
        assert isinstance(members, kinds[shape.type_name]), path


def put(store: MetricStore, values: dict[int, Cell], metric: str = "M", unit: str = "None", **key: Any) -> None:
    """Cells by seconds before now."""
    dimensions = key.pop("dimensions", (("EndpointName", "Churn"), ("VariantName", "A")))
    series = SeriesKey(SCOPE.account, key.pop("region", SCOPE.region), NS, metric, dimensions, unit)
    for ago_s, cell in values.items():
        store.put([Sample(series, NOW_S - ago_s, cell)], (NOW_S - ago_s) * 10**6)


def one(value: float) -> Cell:
    return Cell(1, value, value, value)


def statistics(**members: Any) -> dict[str, Any]:
    base = {
        "Namespace": NS,
        "MetricName": "M",
        "Dimensions": DIMENSIONS,
        "StartTime": NOW - timedelta(hours=1),
        "EndTime": NOW,
        "Period": 60,
        "Statistics": ["Sum"],
    }
    return {key: value for key, value in {**base, **members}.items() if value is not None}


def query(id_: str = "q", metric: str = "M", stat: str = "Sum", period: int = 60, **more: Any) -> dict[str, Any]:
    wanted = {
        "Metric": {"Namespace": NS, "MetricName": metric, "Dimensions": DIMENSIONS},
        "Period": period,
        "Stat": stat,
    }
    return {"Id": id_, "MetricStat": wanted, **more}


def data(*queries: dict[str, Any], **members: Any) -> dict[str, Any]:
    base = {"StartTime": NOW - timedelta(hours=1), "EndTime": NOW, "MetricDataQueries": list(queries)}
    return {**base, **members}


def refusal(ask: Ask, name: str, members: dict[str, Any]) -> tuple[str, str, int]:
    with pytest.raises(AwsError) as refused:
        ask(name, **members)
    return refused.value.code, refused.value.message, refused.value.status


def client(served: Served, protocol: str) -> Any:
    """A client in the region of the metrics that `put` stores."""
    return served.speaking("cloudwatch", protocol, SCOPE.region)
