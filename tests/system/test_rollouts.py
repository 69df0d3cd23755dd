"""Guarded rollouts through real boto3, with short real bakes, under 64 clients: no request is lost or fails."""

from __future__ import annotations

import functools
import http.client
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clary.cli.api import Api
from clary.cli.connect import Keys, Target
from tests.support import model
from tests.support.load import Load
from tests.support.model import ROW, expected, pack, packed_regressor
from tests.support.server import IMAGE, Server, wait_until
from tests.system.test_scripts import SKLEARN
from tests.system.test_updates import configure, more_answers, settled

ANSWERS = [expected(model.regressor(seed), ROW)[0] for seed in range(2)]
CLIENTS = 64
Config = dict[str, Any]

DIES_AT_FIRST = """
import os, signal

def model_fn(model_dir):
    return 0

def predict_fn(data, model):
    os.kill(os.getpid(), signal.SIGKILL)
"""
DIES_LATER = """
import os, signal, threading, time

def model_fn(model_dir):
    return []

def predict_fn(data, model):
    if not model:
        model.append(threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGKILL)))
        model[0].start()
    return data
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that tells at once how far a rollout is."""
    with Server(tmp_path_factory.mktemp("home"), "--no-long-poll") as running:
        yield running


@functools.cache
def sagemaker_of(server: Server) -> Any:
    """One client for all: making one takes longer than what it is asked."""
    return server.client("sagemaker")


def blue_green(kind: str, wait_s: int, *alarms: str, termination_wait_s: int = 0, **routing: Any) -> Config:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait_s, **routing}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": termination_wait_s}
    return {"BlueGreenUpdatePolicy": policy, **guarded(*alarms)}


def guarded(*alarms: str) -> Config:
    return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}} if alarms else {}


def percent(value: int) -> Config:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def canary(wait_s: int, *alarms: str, share: int = 10, termination_wait_s: int = 0) -> Config:
    return blue_green("CANARY", wait_s, *alarms, termination_wait_s=termination_wait_s, CanarySize=percent(share))


def rolling(wait_s: int, *alarms: str) -> Config:
    policy = {"MaximumBatchSize": percent(50), "WaitIntervalInSeconds": wait_s}
    return {"RollingUpdatePolicy": policy, **guarded(*alarms)}


def update(server: Server, name: str, config: str, deployment: Config) -> None:
    sagemaker = sagemaker_of(server)
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, DeploymentConfig=deployment)


def stage(server: Server, name: str) -> str:
    seen = sagemaker_of(server).describe_endpoint(EndpointName=name)
    variants = seen.get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])
    return str(variants[0].get("VariantStatus", [{}])[0].get("StatusMessage", seen["EndpointStatus"]))


def hosted(server: Server, name: str, regressor: Path) -> None:
    """An endpoint in service; waiters would sleep for half a minute where answers are not held."""
    server.host(name, regressor.read_bytes(), wait=False)
    wait_until(lambda: stage(server, name) == "InService", "in service", 60)


def answers(server: Server, name: str, count: int) -> Counter[str]:
    """What so many requests are answered, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=65)
    got: Counter[str] = Counter()
    for _ in range(count):
        connection.request("POST", f"/endpoints/{name}/invocations", ROW, {"Content-Type": "text/csv"})
        got[connection.getresponse().read().decode()] += 1
    connection.close()
    return got


def deleted(server: Server, name: str) -> None:
    sagemaker_of(server).delete_endpoint(EndpointName=name)
    wait_until(lambda: not sagemaker_of(server).list_endpoints(NameContains=name)["Endpoints"], "deleted", 60)


POLICIES = {
    "all-at-once": blue_green("ALL_AT_ONCE", 1),
    "canary": canary(1, termination_wait_s=1),
    "linear": blue_green("LINEAR", 1, LinearStepSize=percent(50)),
    "rolling": rolling(1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_no_policy_loses_a_request(server: Server, regressor: Path, name: str) -> None:
    configure(server, name, regressor.read_bytes(), count=2)
    configure(server, f"{name}-2", packed_regressor(1), count=2)
    sagemaker = sagemaker_of(server)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    wait_until(lambda: stage(server, name) == "InService", "in service", 60)
    with Load(server, name, ROW, clients=CLIENTS) as load:
        more_answers(load)
        update(server, name, f"{name}-2", POLICIES[name])
        # Nothing of the old configuration is needed any more.
        sagemaker.delete_endpoint_config(EndpointConfigName=name)
        seen = settled(server, name)
        more_answers(load)
    assert load.lost == []
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", f"{name}-2")
    assert seen["LastDeploymentConfig"] == POLICIES[name]
    assert "FailureReason" not in seen
    assert float(server.invoke(name, ROW)) == ANSWERS[1]
    deleted(server, name)


def test_a_canary_with_one_replica_takes_its_share_until_an_alarm_sends_it_back(
    server: Server, regressor: Path
) -> None:
    hosted(server, "share", regressor)
    configure(server, "share-2", packed_regressor(1))
    cloudwatch = server.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": "share"}, {"Name": "VariantName", "Value": "AllTraffic"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    with Load(server, "share", ROW, clients=16) as load:
        update(server, "share", "share-2", canary(600, "errors", share=20))
        wait_until(lambda: stage(server, "share").startswith("Baking"), "the canary bakes", 60)
        got = answers(server, "share", 400)
        assert sorted(map(float, got)) == sorted(ANSWERS)
        new = next(count for answer, count in got.items() if float(answer) == ANSWERS[1])
        assert 40 <= new <= 130, f"a fifth of 400, drawn: {new}"
        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a drill")
        seen = settled(server, "share")
        more_answers(load)
    assert load.lost == []
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", "share")
    assert seen["FailureReason"] == "The alarm errors is in ALARM. The endpoint goes on as it was before the update."
    assert set(map(float, answers(server, "share", 30))) == {ANSWERS[0]}
    # While it is in ALARM nothing is deployed by it.
    with pytest.raises(sagemaker_of(server).exceptions.ClientError, match="are in ALARM already: errors"):
        update(server, "share", "share-2", canary(1, "errors"))
    deleted(server, "share")


FAILS = """
def model_fn(model_dir):
    return 0

def predict_fn(data, model):
    raise ValueError("a bug")
"""


@pytest.mark.slow
def test_errors_of_the_new_fleet_alone_trip_an_alarm_that_takes_it_back(server: Server, regressor: Path) -> None:
    hosted(server, "real", regressor)
    configure(server, "real-2", pack({"code/inference.py": FAILS.encode()}), image=SKLEARN, variant="AllTraffic")
    dimensions = {"EndpointName": "real", "VariantName": "AllTraffic", "EndpointConfigName": "real-2"}
    server.client("cloudwatch").put_metric_alarm(
        AlarmName="real-errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        Statistic="Average",
        Period=10,
        EvaluationPeriods=1,
        Threshold=0.5,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    with Load(server, "real", ROW, clients=4) as load:
        update(server, "real", "real-2", canary(600, "real-errors", share=10))
        wait_until(lambda: stage(server, "real") == "InService", "taken back", 90)
        lost = len(load.lost)
        more_answers(load)
    assert lost > 0, "a model that answers is not asked again elsewhere: that is what a canary is for"
    assert len(load.lost) == lost, "nothing is lost once the traffic is back"
    seen = sagemaker_of(server).describe_endpoint(EndpointName="real")
    assert seen["FailureReason"].startswith("The alarm real-errors is in ALARM.")
    deleted(server, "real")


CRASHES = {
    "load": (IMAGE, {"xgboost-model": b"this is no model"}),
    "first": (SKLEARN, {"code/inference.py": DIES_AT_FIRST.encode()}),
    "later": (SKLEARN, {"code/inference.py": DIES_LATER.encode()}),
}


@pytest.mark.slow
@pytest.mark.parametrize("when", CRASHES)
def test_a_new_version_that_crashes_is_taken_back_and_no_request_is_lost(
    server: Server, regressor: Path, when: str
) -> None:
    name, (image, files) = f"crash-{when}", CRASHES[when]
    hosted(server, name, regressor)
    configure(server, f"{name}-2", pack(files), image=image)
    with Load(server, name, ROW, clients=CLIENTS) as load:
        more_answers(load)
        update(server, name, f"{name}-2", canary(20))
        seen = settled(server, name)
        more_answers(load)
    assert load.lost == []
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", name)
    wanted = "xgboost-model" if when == "load" else "Processes of the new fleet ended 2 times during the deployment."
    assert wanted in seen["FailureReason"]
    deleted(server, name)


def own(server: Server, method: str, path: str) -> dict[str, Any]:
    """Clary's own API, signed by the server's root key."""
    key = json.loads((server.home / "secrets" / "root.json").read_text())
    keys = Keys(key["key_id"], key["secret"], "", "test")
    return Api(Target(server.url, "--url", "us-east-1", keys, server.home)).admin(method, f"/endpoints/{path}")


@pytest.mark.slow
def test_a_rollout_goes_on_where_it_was_when_control_is_killed(server: Server, regressor: Path) -> None:
    hosted(server, "firm", regressor)
    configure(server, "firm-2", packed_regressor(1))
    with Load(server, "firm", ROW, clients=16) as load:
        update(server, "firm", "firm-2", canary(3))
        for _ in range(3):
            os.kill(server.pid_of("clary.assembly"), signal.SIGKILL)
            wait_until(server.healthy, "control is back", 30)
            more_answers(load)
        seen = settled(server, "firm")
        more_answers(load)
    assert load.lost == []
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", "firm-2")
    deleted(server, "firm")


def test_by_hand_a_bake_ends_or_the_traffic_goes_back(server: Server, regressor: Path) -> None:
    hosted(server, "hand", regressor)
    configure(server, "hand-2", packed_regressor(1))
    update(server, "hand", "hand-2", canary(3600))
    wait_until(lambda: stage(server, "hand").startswith("Baking"), "the canary bakes", 60)
    assert own(server, "POST", "hand/promote") == {"name": "hand", "step": 1}
    wait_until(lambda: "100% of the traffic" in stage(server, "hand"), "everything", 20)
    found = own(server, "GET", "hand/rollout")["rollout"]
    assert (found["stage"], found["step"], found["steps"], found["shares"]) == ("baking", 2, 2, {"A": 1.0})
    assert 3500 < found["bake_left_s"] <= 3600
    assert own(server, "POST", "hand/rollback") == {"name": "hand", "version": 1}
    seen = settled(server, "hand")
    assert (seen["EndpointConfigName"], seen["FailureReason"]) == ("hand", "The deployment was rolled back by hand.")
    assert own(server, "GET", "hand/rollout") == {"name": "hand", "rollout": None}
    deleted(server, "hand")
