"""Metrics and logs of a real server, through real clients."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.support.model import ROW
from tests.support.server import Server, wait_until

DIMENSIONS = [{"Name": "EndpointName", "Value": "counted"}, {"Name": "VariantName", "Value": "AllTraffic"}]


def total(server: Server, metric: str) -> float:
    """Sum of all points of one metric."""
    now = datetime.now(UTC)
    answer = server.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=DIMENSIONS,
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in answer["Datapoints"]))


def test_every_invocation_is_counted_though_control_is_killed(server: Server, regressor: Path) -> None:
    server.host("counted", regressor.read_bytes())
    for _ in range(5):
        server.invoke("counted", ROW)
    control = server.pid_of("clary.assembly")
    os.kill(control, signal.SIGKILL)
    for _ in range(3):
        server.invoke("counted", ROW)
    with pytest.raises(ClientError) as refused:
        server.invoke("counted", "not,a,row")
    wait_until(lambda: not psutil.pid_exists(control) and server.healthy(), "control is back")
    wait_until(lambda: total(server, "Invocations") >= 9, "all invocations are counted")
    assert total(server, "Invocations") == 9
    assert total(server, "InvocationsPerInstance") == 9
    assert total(server, "Invocation4XXErrors") == 1
    assert total(server, "Invocation5XXErrors") == 0
    assert total(server, "InvocationModelErrors") == 1
    assert 0 < total(server, "ModelLatency") < 9 * 60e6
    (address,) = re.findall(r"See (\S+) in account", refused.value.response["Error"]["Message"])
    with urllib.request.urlopen(address) as view:
        assert b"The model is ready." in view.read()


def test_an_idle_variant_reports_zeros(server: Server, regressor: Path) -> None:
    server.host("idle", regressor.read_bytes())
    listed = server.client("cloudwatch").get_paginator("list_metrics")

    def names() -> set[str]:
        pages = listed.paginate(Namespace="AWS/SageMaker", Dimensions=[{"Name": "EndpointName", "Value": "idle"}])
        return {metric["MetricName"] for page in pages for metric in page["Metrics"]}

    wait_until(names, "the idle variant's metrics are listed")
    assert names() == {"Invocations", "InvocationsPerInstance", "ConcurrentRequestsPerModel"}
