"""Scaling with no configuration and from none, as users meet it: `clary scale`, `clary deploy`, real requests."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.load import Load
from tests.support.model import ROW
from tests.support.server import Server, wait_until

RESOURCE = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/bouncy/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
CORES = len(os.sched_getaffinity(0))


@pytest.fixture(scope="module", autouse=True)
def bouncy(server: Server, regressor: Path) -> Iterator[None]:
    server.host("bouncy", regressor.read_bytes())
    yield
    server.client("sagemaker").delete_endpoint(EndpointName="bouncy")


def clary(server: Server, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CLARY_"))}
    home = ["--home", str(server.home), "--url", server.url]
    command = [sys.executable, "-m", "clary.cli.main", *argv, *home]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


def scale(server: Server, *argv: str) -> dict[str, Any]:
    """What `clary scale bouncy ... --json` says of the one variant."""
    done = clary(server, "scale", "bouncy", *argv, "--json")
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["variants"]
    return one  # type: ignore[no-any-return]


def counts(server: Server) -> tuple[int, int]:
    variant = server.client("sagemaker").describe_endpoint(EndpointName="bouncy")["ProductionVariants"][0]
    return variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]


def test_it_is_shown_capped_and_turned_off(server: Server) -> None:
    assert scale(server)["by"] == "nothing"
    shown = clary(server, "scale", "bouncy", "--concurrency", "3", "--max", "64")
    assert f"{CORES} cores" in shown.stderr
    one = scale(server)
    assert (one["by"], one["concurrency"], one["min"], one["max"]) == ("load", 3, 1, CORES)
    assert scale(server, "--min", "0", "--variant", "alltraffic")["concurrency"] == 3
    assert scale(server, "--off")["by"] == "nothing"
    refused = clary(server, "scale", "bouncy", "--min", "999")
    assert (refused.returncode, f"this machine has {CORES} cores" in refused.stderr) == (5, True), refused
    refused = clary(server, "scale", "bouncy", "--concurrency", "3", "--variant", "other")
    assert "It has: AllTraffic." in refused.stderr
    assert clary(server, "scale", "nobody").returncode != 0


def test_application_auto_scaling_comes_before_it(server: Server) -> None:
    scale(server, "--concurrency", "3")
    scaling = server.client("application-autoscaling")
    scaling.register_scalable_target(**RESOURCE, MinCapacity=1, MaxCapacity=2)
    assert scale(server)["by"] == "target"
    refused = clary(server, "scale", "bouncy", "--concurrency", "3")
    assert "DeregisterScalableTarget" in refused.stderr
    scaling.deregister_scalable_target(**RESOURCE)
    assert scale(server)["by"] == "nothing"


def test_out_and_in_and_to_none_and_back_without_a_lost_request(server: Server) -> None:
    scale(server, "--concurrency", "1", "--min", "0", "--window", "5")
    with Load(server, "bouncy", ROW, 8) as load:
        wait_until(lambda: counts(server) == (CORES, CORES), "as many replicas as cores", 20)
        wait_until(lambda: load.answered > 500, "answers")
    assert load.lost == []
    wait_until(lambda: counts(server) == (0, 0), "no replica", 60)
    assert server.client("sagemaker").describe_endpoint(EndpointName="bouncy")["EndpointStatus"] == "InService"
    # A documented target takes over what rests (MinCapacity 0 is Clary's extension), and tells of the replica.
    scaling = server.client("application-autoscaling")
    scaling.register_scalable_target(**RESOURCE, MinCapacity=0, MaxCapacity=2)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: server.invoke("bouncy", ROW), range(16)))
    assert len(answers) == 1
    wait_until(lambda: counts(server) == (1, 1), "a replica")
    newest = scaling.describe_scaling_activities(**RESOURCE)["ScalingActivities"][0]
    assert newest["Description"] == "Setting desired instance count to 1."
    assert newest["Cause"] == "a request came while there was no instance"
    with pytest.raises(ClientError, match="MaxCapacity is 0"):
        scaling.register_scalable_target(**RESOURCE, MaxCapacity=0)
    scaling.deregister_scalable_target(**RESOURCE)


@pytest.mark.slow
def test_requests_for_none_wait_for_control(server: Server) -> None:
    """Control is down when the request comes: it waits, and is answered once control is back."""
    scale(server, "--concurrency", "4", "--min", "0", "--window", "5")
    wait_until(lambda: counts(server) == (0, 0), "no replica", 60)
    os.kill(server.pid_of("-m clary.assembly"), signal.SIGKILL)
    began = time.monotonic()
    assert server.invoke("bouncy", ROW)
    assert time.monotonic() - began < 30
    wait_until(server.healthy, "control is back")
    # What control forgot with its death it reads again; nothing goes before a whole window was seen.
    assert scale(server)["by"] == "load"
    scale(server, "--off")


@pytest.mark.slow
def test_an_update_of_what_rests_starts_it(server: Server) -> None:
    scale(server, "--min", "0", "--window", "5")
    wait_until(lambda: counts(server) == (0, 0), "no replica", 60)
    scale(server, "--off")
    sagemaker = server.client("sagemaker")
    sagemaker.update_endpoint(EndpointName="bouncy", EndpointConfigName="bouncy", RetainAllVariantProperties=True)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="bouncy", WaiterConfig={"Delay": 1})
    assert counts(server) == (1, 1)
    assert server.invoke("bouncy", ROW)
