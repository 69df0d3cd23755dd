"""UpdateEndpoint with a DeploymentConfig on the wire: its limits, what DescribeEndpoint shows on the way, its end.

Where a snapshot comes from: aws-docs (API reference, developer guide), ours.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, literal_column, select

from clary.control import rollouts
from clary.domain.alarms import AlarmValue, Comparison, MetricAlarm, MetricQuery, MetricStat
from clary.reconcile.actions import Rules
from clary.reconcile.loop import LoopOptions
from clary.store import alarms
from clary.store.tables import events_out
from tests.support.hosting import CALLER, IMAGE, SCOPE, Host
from tests.support.placement import failed, ready, starting
from tests.support.wire import Wire, serving

P99 = MetricAlarm(
    (MetricQuery("m1", MetricStat("AWS/SageMaker", "ModelLatency", (), 60, "p99")),), 1, 50_000.0, Comparison.GREATER
)
ROLE = "arn:aws:iam::123456789012:role/Sage"
Config = dict[str, Any]


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    host = Host(tmp_path, options=LoopOptions(rules=Rules(drain_us=0)))
    async with serving(host) as wire:
        yield wire
    host.close()


async def good(wire: Wire, operation: str, **members: Any) -> Any:
    status, answer = await wire.send(operation, members)
    assert status == 200, answer
    return answer


async def refused(wire: Wire, operation: str, **members: Any) -> str:
    status, answer = await wire.send(operation, members)
    assert (status, answer["__type"]) == (400, "ValidationException"), answer
    return str(answer["message"])


async def configure(wire: Wire, name: str, count: int = 1) -> None:
    url = wire.host.source.put("models", f"{name}.tar.gz", name.encode())
    container = {"Image": IMAGE, "ModelDataUrl": url}
    await good(wire, "CreateModel", ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "A", "ModelName": name, "InitialInstanceCount": count, "InstanceType": "ml.t3.medium"}
    await good(wire, "CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=[variant])


async def created(wire: Wire, count: int = 1, **members: Any) -> None:
    await configure(wire, "one", count)
    await configure(wire, "two", count)
    await good(wire, "CreateEndpoint", EndpointName="e", EndpointConfigName="one", **members)
    await wire.host.until_status("e", "InService")


def size(value: int, unit: str = "CAPACITY_PERCENT") -> Config:
    return {"Type": unit, "Value": value}


def blue_green(kind: str, wait_s: int = 60, *alarm: str, policy: Config | None = None, **routing: Any) -> Config:
    config: Config = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": wait_s, **routing},
            **(policy or {}),
        }
    }
    if alarm:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarm]}
    return config


def rolling(batch: Config, wait_s: int = 60, **policy: Any) -> Config:
    return {"RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": wait_s, **policy}}


def canary(percent: int = 10, wait_s: int = 60, *alarm: str, **policy: Any) -> Config:
    return blue_green("CANARY", wait_s, *alarm, policy=policy, CanarySize=size(percent))


HALF = "it must be less than or equal to 50% of the variant's total instance count."
REFUSED: dict[str, tuple[Config, str]] = {
    "a canary above half": (canary(51), f"CanarySize is 51%; {HALF}"),
    "a canary of one of one": (
        blue_green("CANARY", CanarySize=size(3, "INSTANCE_COUNT")),
        "CanarySize is 3 instance(s), 75% of the 4 of variant 'A'; it must be less than or equal to 50%",
    ),
    "a canary without its size": (
        blue_green("CANARY"),
        "TrafficRoutingConfiguration of Type CANARY needs CanarySize.",
    ),
    "a canary with a step": (
        blue_green("CANARY", CanarySize=size(10), LinearStepSize=size(10)),
        "TrafficRoutingConfiguration of Type CANARY takes no LinearStepSize.",
    ),
    "all at once with a canary": (
        blue_green("ALL_AT_ONCE", CanarySize=size(10)),
        "TrafficRoutingConfiguration of Type ALL_AT_ONCE takes no CanarySize.",
    ),
    "a step below a tenth": (
        blue_green("LINEAR", LinearStepSize=size(9)),
        "LinearStepSize is 9%; it must be between 10% and 50% of the variant's total instance count.",
    ),
    "a step above half": (
        blue_green("LINEAR", LinearStepSize=size(51)),
        "LinearStepSize is 51%; it must be between 10% and 50%",
    ),
    "a batch below a twentieth": (rolling(size(4)), "MaximumBatchSize is 4%; it must be between 5% and 50%"),
    "a batch above half": (
        rolling(size(3, "INSTANCE_COUNT")),
        "MaximumBatchSize is 3 instance(s), 75% of the 4 of variant 'A'; it must be between 5% and 50%",
    ),
    "a batch back of more than there is": (
        rolling(size(50), RollbackMaximumBatchSize=size(5, "INSTANCE_COUNT")),
        "RollbackMaximumBatchSize is 5 instance(s), 125% of the 4 of variant 'A'",
    ),
    "two policies": (
        {**canary(), **rolling(size(50))},
        "DeploymentConfig holds BlueGreenUpdatePolicy and RollingUpdatePolicy; only one may be given.",
    ),
    "waits that take longer than the whole may": (
        blue_green(
            "LINEAR",
            100,
            LinearStepSize=size(25),
            policy={"MaximumExecutionTimeoutInSeconds": 600, "TerminationWaitInSeconds": 200},
        ),
        "MaximumExecutionTimeoutInSeconds is 600, which must be larger than the total waiting time of the deployment, "
        "600 seconds.",
    ),
    "an alarm twice": (canary(10, 60, "a", "a"), "AutoRollbackConfiguration names an alarm twice."),
    "an alarm without a name": (
        {"AutoRollbackConfiguration": {"Alarms": [{}]}},
        "An alarm of AutoRollbackConfiguration has no AlarmName.",
    ),
    "an alarm that is not there": (
        canary(10, 60, "absent"),
        "AutoRollbackConfiguration names alarms that account 123456789012 does not have in us-east-1: absent.",
    ),
    "an alarm that is in ALARM": (
        canary(10, 60, "loud"),
        "The deployment cannot start: alarms of its AutoRollbackConfiguration are in ALARM already: loud.",
    ),
    # aws-docs: limits of the shapes.
    "a wait above an hour": (canary(10, 3601), "less than or equal to 3600"),
    "a termination wait above an hour": (canary(TerminationWaitInSeconds=3601), "less than or equal to 3600"),
    "a time limit below ten minutes": (canary(MaximumExecutionTimeoutInSeconds=599), "greater than or equal to 600"),
    "a time limit above eight hours": (canary(MaximumExecutionTimeoutInSeconds=28801), "less than or equal to 28800"),
    "no alarms": ({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}] * 11}}, "less than or equal to 10"),
    "a size of nothing": (canary(0), "greater than or equal to 1"),
    "another type": (blue_green("SLOWLY"), "enum value set"),
}


async def add_alarm(wire: Wire, name: str, value: AlarmValue = AlarmValue.OK) -> str:
    now_us = wire.host.clock.now_us()
    uid = f"alarm-{name}"

    def work(connection: Any) -> None:
        alarms.put(connection, SCOPE, name, P99, uid, now_us)
        alarms.note(connection, {uid: state_of(value, now_us)})

    await wire.host.store.write(work)
    return uid


def state_of(value: AlarmValue, now_us: int) -> dict[str, Any]:
    return {"state": value.value, "transitioned_us": now_us, "evaluated_us": now_us}


async def alarmed(wire: Wire, uid: str) -> None:
    """The alarm goes into ALARM."""
    observed = {uid: state_of(AlarmValue.ALARM, wire.host.clock.now_us())}
    await wire.host.store.write(lambda connection: alarms.note(connection, observed))


async def test_what_breaks_a_limit_is_refused_and_changes_nothing(wire: Wire) -> None:
    async with wire.host.reconciling():
        await created(wire, 4)
    await add_alarm(wire, "loud", AlarmValue.ALARM)
    before = await good(wire, "DescribeEndpoint", EndpointName="e")
    for why, (config, text) in REFUSED.items():
        said = await refused(
            wire, "UpdateEndpoint", EndpointName="e", EndpointConfigName="two", DeploymentConfig=config
        )
        assert text in said, why
    said = await refused(
        wire,
        "UpdateEndpoint",
        EndpointName="e",
        EndpointConfigName="two",
        DeploymentConfig=canary(),
        RetainDeploymentConfig=True,
    )
    assert said == "Give either DeploymentConfig or RetainDeploymentConfig, not both."
    assert await good(wire, "DescribeEndpoint", EndpointName="e") == before


async def test_a_canary_from_its_request_to_its_end(wire: Wire) -> None:
    host = wire.host
    config = canary(10, 60, "p99", TerminationWaitInSeconds=30)
    async with host.reconciling():
        await created(wire)
        uid = await add_alarm(wire, "p99")
        host.placement.become = starting
        two = {"EndpointName": "e", "EndpointConfigName": "two"}
        await good(wire, "UpdateEndpoint", **two, DeploymentConfig=config)
        assert await stage(wire) == ("Creating", "Launching 1 instance(s).")
        await host.until(lambda: len(host.placement.states) == 2)
        host.placement.turn_all_ready()
        await until_stage(wire, "Baking")
        # aws-docs: the message's first part.
        assert await stage(wire) == (
            "Baking",
            "Baking for 60 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s): "
            "10% of the traffic.",
        )
        assert [(v.config, v.share, v.trial) for v in host.snapshot.endpoints[0].variants] == [
            ("one", 0.9, False),
            ("two", 0.1, True),
        ]
        # At most: time goes on here while a thread of control does not get its turn.
        full = "with traffic enabled on full capacity of 1 instance(s): 100% of the traffic."
        assert 60 <= await until_message(wire, uid, f"Baking for 60 seconds (WaitIntervalInSeconds) {full}") < 100
        assert [v.share for v in host.snapshot.endpoints[0].variants] == [0.0, 1.0]
        assert 60 <= await until_message(wire, uid, f"Baking for 30 seconds (TerminationWaitInSeconds) {full}") < 100
        assert host.placement.drained == [], "the old fleet stays until the new one is proven"
        assert 30 <= await until_message(wire, uid, "") < 70
        seen = await good(wire, "DescribeEndpoint", EndpointName="e")
        assert (seen["EndpointConfigName"], seen["LastDeploymentConfig"]) == ("two", config)
        assert "FailureReason" not in seen
        await host.until(lambda: len(host.placement.specs) == 1)
    told = await events(wire)
    # aws-docs: "Events that Amazon SageMaker AI sends to Amazon EventBridge".
    statuses = [e["detail"]["EndpointStatus"] for e in told if e["detail-type"] == "SageMaker Endpoint State Change"]
    assert statuses == ["CREATING", "IN_SERVICE", "UPDATING", "IN_SERVICE"]
    moves = [e for e in told if e["detail-type"] == "SageMaker Endpoint Deployment State Change"]
    stages = [m["detail"]["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0] for m in moves]
    assert [stage["Status"] for stage in stages][-6:] == ["Creating", "Baking", "ActivatingTraffic"] + [
        "Baking", "ActivatingTraffic", "Baking",
    ]  # fmt: skip
    assert (moves[-1]["source"], moves[-1]["resources"]) == ("aws.sagemaker", [seen["EndpointArn"]])
    assert moves[-1]["detail"] == {
        "EndpointName": "e",
        "EndpointArn": seen["EndpointArn"],
        "EndpointConfigName": "one",
        "EndpointStatus": "UPDATING",
        "CreationTime": moves[0]["detail"]["CreationTime"],
        "LastModifiedTime": moves[-1]["detail"]["LastModifiedTime"],
        "Tags": {},
        "ProductionVariants": [{"VariantName": "A", **counts(1)}],
        "PendingDeploymentSummary": {
            "EndpointConfigName": "two",
            "StartTime": moves[-1]["detail"]["PendingDeploymentSummary"]["StartTime"],
            "ProductionVariants": [
                {
                    "VariantName": "A",
                    **counts(1),
                    "VariantStatus": [
                        {
                            "Status": "Baking",
                            "StatusMessage": f"Baking for 30 seconds (TerminationWaitInSeconds) {full}",
                            "StartTime": stages[-1]["StartTime"],
                        }
                    ],
                }
            ],
        },
    }


async def test_an_alarm_during_a_bake_sends_the_traffic_back(wire: Wire) -> None:
    host = wire.host
    async with host.reconciling():
        await created(wire)
        uid = await add_alarm(wire, "p99")
        two = {"EndpointName": "e", "EndpointConfigName": "two"}
        await good(wire, "UpdateEndpoint", **two, DeploymentConfig=canary(10, 600, "p99"))
        await until_stage(wire, "Baking")
        await keep_evaluated(host, uid, 120.0)
        await alarmed(wire, uid)
        # No time passes: it is told at once, not found at the next look.
        await host.until(lambda: len(host.snapshot.endpoints[0].variants) == 1, step_s=0.0)
        await host.until_status("e", "InService")
        seen = await good(wire, "DescribeEndpoint", EndpointName="e")
        assert (seen["EndpointConfigName"], seen["FailureReason"]) == (
            "one",
            "The alarm p99 is in ALARM. The endpoint goes on as it was before the update.",
        )
        (variant,) = host.snapshot.endpoints[0].variants
        assert (variant.config, variant.share) == ("one", 1.0)


async def test_a_rolling_update_that_cannot_be_taken_back_is_told_and_mended_by_an_update(wire: Wire) -> None:
    host = wire.host
    endpoint = {"EndpointName": "e"}
    async with host.reconciling():
        await created(wire, 3)
        uid = await add_alarm(wire, "p99")
        batch = {"Type": "INSTANCE_COUNT", "Value": 1}
        await good(
            wire,
            "UpdateEndpoint",
            **endpoint,
            EndpointConfigName="two",
            DeploymentConfig={
                **rolling(batch, 600),
                "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "p99"}]},
            },
        )
        await until_stage(wire, "Baking")
        await promoted(wire)
        await host.until(lambda: [v.share for v in host.snapshot.endpoints[0].variants] == [1 / 3, 2 / 3])
        # The old model is lost, and the new one is bad.
        host.placement.become = failed("The old model is gone", "Restore it")
        await alarmed(wire, uid)
        await host.until_status("e", "UpdateRollbackFailed")
        seen = await good(wire, "DescribeEndpoint", **endpoint)
        # aws-docs: the endpoint is in service with a mix of the old and the new configuration.
        assert seen["EndpointConfigName"] == "one"
        assert seen["FailureReason"] == (
            "The alarm p99 is in ALARM. The endpoint goes on as it was before the update. The way back failed, too: "
            "The old model is gone. Restore it. Update the endpoint again, to either configuration, or delete it."
        )
        listed = await good(wire, "ListEndpoints", StatusEquals="UpdateRollbackFailed")
        assert [one["EndpointName"] for one in listed["Endpoints"]] == ["e"]
        said = await refused(
            wire,
            "UpdateEndpointWeightsAndCapacities",
            **endpoint,
            DesiredWeightsAndCapacities=[{"VariantName": "A", "DesiredWeight": 2.0}],
        )
        assert "serves a mix of two configurations (UpdateRollbackFailed)" in said
        await host.until(lambda: len(host.placement.specs) == 4)
        host.placement.become = ready
        # aws-docs: another UpdateEndpoint returns it to a healthy state.
        await good(wire, "UpdateEndpoint", **endpoint, EndpointConfigName="one")
        await host.until_status("e", "InService")
        assert "FailureReason" not in await good(wire, "DescribeEndpoint", **endpoint)
        (variant,) = host.snapshot.endpoints[0].variants
        assert (variant.config, variant.share, len(variant.replicas)) == ("one", 1.0, 3)
        await host.until(lambda: len(host.placement.specs) == 3)


async def test_a_deployment_configuration_of_create_endpoint_is_kept_to_be_retained(wire: Wire) -> None:
    host = wire.host
    async with host.reconciling():
        await created(wire, DeploymentConfig=canary(20, 2))
        seen = await good(wire, "DescribeEndpoint", EndpointName="e")
        assert seen["LastDeploymentConfig"] == canary(20, 2)
        two = {"EndpointName": "e", "EndpointConfigName": "two"}
        await good(wire, "UpdateEndpoint", **two, RetainDeploymentConfig=True)
        await until_stage(wire, "Baking")
        assert [v.share for v in host.snapshot.endpoints[0].variants] == [0.8, 0.2]
        await host.until_status("e", "InService")
        assert (await good(wire, "DescribeEndpoint", EndpointName="e"))["EndpointConfigName"] == "two"
        # Without it the next one goes all at once; what was given last is still known.
        await good(wire, "UpdateEndpoint", EndpointName="e", EndpointConfigName="one")
        await host.until_status("e", "InService")
        seen = await good(wire, "DescribeEndpoint", EndpointName="e")
        assert (seen["EndpointConfigName"], seen["LastDeploymentConfig"]) == ("one", canary(20, 2))


def counts(count: int) -> dict[str, float]:
    return {"CurrentWeight": 1.0, "DesiredWeight": 1.0, "CurrentInstanceCount": count, "DesiredInstanceCount": count}


async def events(wire: Wire) -> list[dict[str, Any]]:
    def read(connection: Connection) -> list[dict[str, Any]]:
        # Several are of one instant here: in the order in which they were written.
        rows = connection.execute(select(events_out).order_by(literal_column("rowid")))
        return [json.loads(row.body) for row in rows if row.source == "aws.sagemaker"]

    return await wire.host.store.read(read)


async def stage(wire: Wire) -> tuple[str, str]:
    seen = await good(wire, "DescribeEndpoint", EndpointName="e")
    for variant in seen.get("PendingDeploymentSummary", {}).get("ProductionVariants", ()):
        (status,) = variant["VariantStatus"]
        return status["Status"], status["StatusMessage"]
    return "", ""


async def until_stage(wire: Wire, wanted: str) -> None:
    for _ in range(200):
        if (await stage(wire))[0] == wanted:
            return
        await wire.host.clock.advance(0.1)
    raise AssertionError(f"never {wanted}")


async def promoted(wire: Wire) -> None:
    """End the bake under way, as soon as it is one."""
    await rollouts.promote(wire.host.desk, CALLER, "e")


async def until_message(wire: Wire, uid: str, wanted: str) -> float:
    """Let time pass until the stage has this message, an alarm being evaluated; the seconds that it took."""
    start_s = wire.host.clock.monotonic_s()
    for _ in range(200):
        await keep_evaluated(wire.host, uid, 1.0)
        if (await stage(wire))[1] == wanted:
            return wire.host.clock.monotonic_s() - start_s
    raise AssertionError(f"never {wanted}, but {await stage(wire)}")


async def keep_evaluated(host: Host, uid: str, passing_s: float) -> None:
    """Let time pass while an alarm is evaluated."""
    for _ in range(round(passing_s)):
        now_us = host.clock.now_us()
        await host.store.write(lambda connection, at_us=now_us: alarms.note(connection, {uid: {"evaluated_us": at_us}}))
        await host.clock.advance(1.0)
