"""Autoscaling through real boto3: the write-up's calls, and no request lost while replicas come and go."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.load import Load
from tests.support.model import ROW, packed_regressor
from tests.support.server import Server, wait_until

DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def resource(name: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/AllTraffic",
        "ScalableDimension": DIMENSION,
    }


@pytest.fixture
def scaling(server: Server) -> Any:
    return server.client("application-autoscaling")


@pytest.fixture(scope="module", autouse=True)
def elastic(server: Server, regressor: Path) -> Iterator[None]:
    server.host("elastic", regressor.read_bytes())
    yield
    server.client("sagemaker").delete_endpoint(EndpointName="elastic")


def counts(server: Server, name: str) -> tuple[int, int]:
    variant = server.client("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"][0]
    return variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]


def measured(server: Server, value: float) -> None:
    """The metric of the policy had this value in the last minutes."""
    now = datetime.now(UTC)
    data = [{"MetricName": "load", "Value": value, "Timestamp": now - timedelta(seconds=60 * k)} for k in range(4)]
    server.client("cloudwatch").put_metric_data(Namespace="mine", MetricData=data)


def alarmed(server: Server, name: str) -> None:
    """The alarm is in ALARM, until its next evaluation."""
    server.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")


def activities(scaling: Any, name: str, **more: Any) -> list[dict[str, Any]]:
    found = scaling.describe_scaling_activities(
        ServiceNamespace="sagemaker", ResourceId=resource(name)["ResourceId"], ScalableDimension=DIMENSION, **more
    )
    return found["ScalingActivities"]  # type: ignore[no-any-return]


def refusal(call: Any, **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        call(**members)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_the_write_ups_target_and_policy(server: Server, scaling: Any) -> None:
    """developer guide, "Autoscaling policy": register, put a policy on the predefined metric, describe, delete."""
    at = resource("elastic")
    arn = scaling.register_scalable_target(**at, MinCapacity=1, MaxCapacity=2, Tags={"team": "a"})["ScalableTargetARN"]
    target = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"], target["ScalableTargetARN"]) == (1, 2, arn)
    assert target["RoleARN"].endswith("AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint")
    policy = {
        "TargetValue": 70.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        "ScaleInCooldown": 600,
        "ScaleOutCooldown": 300,
    }
    made = scaling.put_scaling_policy(
        **at,
        PolicyName="invocations",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=policy,
    )
    names = [alarm["AlarmName"] for alarm in made["Alarms"]]
    assert names[0].startswith("TargetTracking-endpoint/elastic/variant/AllTraffic-AlarmHigh-")
    alarms = server.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    seen = {
        alarm["AlarmName"]: (alarm["Period"], alarm["EvaluationPeriods"], alarm["Threshold"], alarm["Statistic"])
        for alarm in alarms
    }
    assert [seen[name] for name in names] == [(60, 3, 70.0, "Sum"), (60, 15, 63.0, "Sum")]
    assert all(alarm["AlarmActions"] == [made["PolicyARN"]] for alarm in alarms)
    found = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert found[0]["TargetTrackingScalingPolicyConfiguration"] == policy
    assert found[0]["Alarms"] == made["Alarms"]
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"team": "a"}
    scaling.tag_resource(ResourceARN=arn, Tags={"stage": "b"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"stage": "b"}
    scaling.delete_scaling_policy(**at, PolicyName="invocations")
    assert server.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"] == []
    scaling.deregister_scalable_target(**at)
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_it_scales_out_and_in_under_load_without_a_lost_request(server: Server, scaling: Any) -> None:
    at = resource("elastic")
    scaling.register_scalable_target(**at, MinCapacity=1, MaxCapacity=3)
    rule = {
        "TargetValue": 10.0,
        "CustomizedMetricSpecification": {
            "Metrics": [
                {
                    "Id": "m1",
                    "MetricStat": {"Metric": {"Namespace": "mine", "MetricName": "load"}, "Stat": "Average"},
                    "ReturnData": False,
                },
                {"Id": "e1", "Expression": "m1 * 2", "Label": "twice"},
            ]
        },
        "ScaleInCooldown": 0,
        "ScaleOutCooldown": 0,
    }
    high, low = (
        alarm["AlarmName"]
        for alarm in scaling.put_scaling_policy(
            **at,
            PolicyName="mine",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=rule,
        )["Alarms"]
    )
    with Load(server, "elastic", ROW, clients=8) as load:
        measured(server, 13.0)
        alarmed(server, high)
        wait_until(lambda: counts(server, "elastic") == (3, 3), "three replicas", 30)
        first = wait_until(lambda: [a for a in activities(scaling, "elastic") if "EndTime" in a], "an end")[0]
        assert first["Description"] == "Setting desired instance count to 3."
        assert first["Cause"] == f"monitor alarm {high} in state ALARM triggered policy mine"
        assert first["StatusCode"] == "Successful"
        assert first["StatusMessage"].endswith("Change successfully fulfilled by sagemaker.")
        status = server.client("sagemaker").describe_endpoint(EndpointName="elastic")["EndpointStatus"]
        assert status == "InService"
        measured(server, 200.0)  # more than three can bear
        alarmed(server, high)
        reasons = wait_until(
            lambda: activities(scaling, "elastic", IncludeNotScaledActivities=True)[0].get("NotScaledReasons"),
            "why not",
        )
        assert reasons == [{"Code": "AlreadyAtMaxCapacity", "MaxCapacity": 3}]
        scaling.register_scalable_target(**at, MaxCapacity=2)
        wait_until(lambda: counts(server, "elastic") == (2, 2), "two replicas", 30)
        assert activities(scaling, "elastic")[0]["Cause"] == "maximum capacity was set to 2"
        answered = load.answered
        wait_until(lambda: load.answered > answered + 200 or load.lost, "more answers", 30)
    assert load.lost == []
    assert low
    scaling.deregister_scalable_target(**at)
    assert counts(server, "elastic") == (2, 2)


@pytest.fixture(autouse=True)
def unregistered(server: Server) -> Iterator[None]:
    """A test that fails leaves no target to the next."""
    yield
    scaling = server.client("application-autoscaling")
    for target in scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]:
        scaling.deregister_scalable_target(
            **{name: target[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension")}
        )


def test_a_schedule_moves_the_bounds_and_a_step_policy_hears_a_users_alarm(server: Server, scaling: Any) -> None:
    at = resource("elastic")
    scaling.register_scalable_target(**at, MinCapacity=2, MaxCapacity=3)
    wait_until(lambda: counts(server, "elastic")[1] >= 2, "two replicas", 30)
    scaling.register_scalable_target(**at, MinCapacity=1)
    soon = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%S")
    scaling.put_scheduled_action(
        **at, ScheduledActionName="calm", Schedule=f"at({soon})", ScalableTargetAction={"MaxCapacity": 1}
    )
    wait_until(lambda: counts(server, "elastic") == (1, 1), "one replica", 30)
    causes = [activity["Cause"] for activity in activities(scaling, "elastic")[:2]]
    assert causes == ["maximum capacity was set to 1", "scheduled action name calm was triggered"]
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"][0]["MaxCapacity"] == 1
    action = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"][0]
    assert (action["Schedule"], action["ScalableTargetAction"]) == (f"at({soon})", {"MaxCapacity": 1})
    scaling.delete_scheduled_action(**at, ScheduledActionName="calm")
    scaling.register_scalable_target(**at, MaxCapacity=3)
    policy = scaling.put_scaling_policy(
        **at,
        PolicyName="steps",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
            "Cooldown": 60,
        },
    )
    assert policy["Alarms"] == []
    cloudwatch = server.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="busy",
        Namespace="mine",
        MetricName="queue",
        Statistic="Maximum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=5.0,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[policy["PolicyARN"]],
    )
    alarmed(server, "busy")
    wait_until(lambda: counts(server, "elastic") == (2, 2), "another replica", 30)
    assert activities(scaling, "elastic")[0]["Cause"] == "monitor alarm busy in state ALARM triggered policy steps"
    cloudwatch.delete_alarms(AlarmNames=["busy"])
    scaling.deregister_scalable_target(**at)


def test_what_is_refused(server: Server, scaling: Any) -> None:
    """`No scalable target registered`, `No scaling policy found` and `must be deregistered` are the hosted service's
    words, from public reports; the others are ours."""
    at, nothing = resource("elastic"), resource("nobody")
    where = f"service namespace: sagemaker, resource ID: {nothing['ResourceId']}, scalable dimension: {DIMENSION}"
    assert refusal(scaling.register_scalable_target, **nothing, MinCapacity=1, MaxCapacity=2) == (
        "ValidationException",
        f"SageMaker endpoint variant doesn't exist: {nothing['ResourceId']}",
    )
    assert refusal(scaling.deregister_scalable_target, **nothing) == (
        "ObjectNotFoundException",
        f"No scalable target registered for {where}",
    )
    assert refusal(scaling.delete_scaling_policy, **nothing, PolicyName="p") == (
        "ObjectNotFoundException",
        f"No scaling policy found for {where}, policy name: p",
    )
    assert refusal(scaling.delete_scheduled_action, **nothing, ScheduledActionName="a") == (
        "ObjectNotFoundException",
        f"No scheduled action found for {where}, scheduled action name: a",
    )
    for wrong, words in (
        ({"MinCapacity": 0, "MaxCapacity": 0}, "MaxCapacity is 0"),
        ({"MinCapacity": 1}, "required"),
        ({"MinCapacity": 2, "MaxCapacity": 1}, "Maximum capacity cannot be less"),
    ):
        code, message = refusal(scaling.register_scalable_target, **at, **wrong)
        assert (code, words in message) == ("ValidationException", True), message
    code, message = refusal(
        scaling.describe_scalable_targets, ServiceNamespace="sagemaker", NextToken="bm8gdG9rZW4gb2Ygb3Vycw"
    )
    assert code == "InvalidNextTokenException"
    code, message = refusal(scaling.describe_scalable_targets, ServiceNamespace="ecs")
    assert "ecs is not served" in message
    code, message = refusal(scaling.get_predictive_scaling_forecast, **at, PolicyName="p", StartTime=0, EndTime=1)
    assert "GetPredictiveScalingForecast" in message
    missing = f"arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/{'0' * 26}"
    assert refusal(scaling.list_tags_for_resource, ResourceARN=missing)[0] == "ResourceNotFoundException"


def test_an_update_may_not_change_or_drop_a_registered_variant(server: Server, scaling: Any) -> None:
    sagemaker = server.client("sagemaker")
    variant = {"VariantName": "AllTraffic", "ModelName": "elastic", "InitialInstanceCount": 1}
    for name, changed in (("bigger", {"InstanceType": "ml.m5.large"}), ("renamed", {"VariantName": "Other"})):
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, "InstanceType": "ml.t3.medium", **changed}]
        )
    at = resource("elastic")
    scaling.register_scalable_target(**at, MinCapacity=2, MaxCapacity=3)
    wait_until(lambda: counts(server, "elastic")[1] >= 2, "the least", 30)
    for name in ("bigger", "renamed"):
        assert refusal(sagemaker.update_endpoint, EndpointName="elastic", EndpointConfigName=name) == (
            "ValidationException",
            'The variant(s) "[AllTraffic]" must be deregistered as scalable targets with AWS Auto Scaling before they '
            "can be removed or have their instance type updated.",
        )
    # Another model on the same instances is allowed, keeps the count where asked, and is clamped where not.
    sagemaker.update_endpoint(EndpointName="elastic", EndpointConfigName="elastic", RetainAllVariantProperties=True)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="elastic")
    assert counts(server, "elastic") == (2, 2)
    sagemaker.update_endpoint(EndpointName="elastic", EndpointConfigName="elastic")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="elastic")
    wait_until(lambda: counts(server, "elastic") == (2, 2), "the least again", 30)
    # Desired by hand beyond the most: the scaler takes it back.
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="elastic",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 4}],
    )
    wait_until(lambda: counts(server, "elastic") == (3, 3), "the most", 30)
    scaling.deregister_scalable_target(**at)


def test_an_endpoint_that_is_deleted_takes_its_target_along(server: Server, scaling: Any) -> None:
    server.host("fleeting", packed_regressor())
    scaling.register_scalable_target(**resource("fleeting"), MinCapacity=1, MaxCapacity=2)
    policy = scaling.put_scaling_policy(
        **resource("fleeting"),
        PolicyName="p",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 1.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            "DisableScaleIn": True,
        },
    )
    assert len(policy["Alarms"]) == 1
    server.client("sagemaker").delete_endpoint(EndpointName="fleeting")
    found = scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=["endpoint/fleeting/variant/AllTraffic"]
    )
    assert found["ScalableTargets"] == []
    names = [alarm["AlarmName"] for alarm in policy["Alarms"]]
    assert server.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"] == []


@pytest.mark.slow
def test_a_kill_of_control_in_the_middle_is_made_up_for(server: Server, scaling: Any) -> None:
    """Control is killed right after the wish, again and again: the count comes, noted once, and no request is lost."""
    at = resource("elastic")
    with Load(server, "elastic", ROW, clients=4) as load:
        for wanted in (3, 1, 2):
            scaling.register_scalable_target(**at, MinCapacity=wanted, MaxCapacity=wanted)
            os.kill(server.pid_of("clary.assembly"), signal.SIGKILL)
            wait_until(lambda wanted=wanted: reached(server, wanted), f"{wanted} replicas", 60)
        answered = load.answered
        wait_until(lambda: load.answered > answered + 100 or load.lost, "more answers", 30)
    assert load.lost == []
    done = [activity["Description"] for activity in activities(scaling, "elastic")]
    assert done[:2] == [f"Setting desired instance count to {count}." for count in (2, 1)]


@pytest.mark.slow
def test_concurrency_of_real_traffic_scales_out_within_a_minute(server: Server, scaling: Any) -> None:
    """Nothing is set by hand: routers count, alarms see three periods of ten seconds, replicas come."""
    at = resource("elastic")
    scaling.register_scalable_target(**at, MinCapacity=1, MaxCapacity=1)
    wait_until(lambda: reached(server, 1), "one replica", 30)
    scaling.register_scalable_target(**at, MaxCapacity=2)
    predefined = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    scaling.put_scaling_policy(
        **at,
        PolicyName="busy",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 0.2,
            "PredefinedMetricSpecification": {"PredefinedMetricType": predefined},
        },
    )
    with Load(server, "elastic", ROW, clients=8) as load:
        wait_until(lambda: reached(server, 2), "two replicas", 90)
    assert load.lost == []
    assert "AlarmHigh" in activities(scaling, "elastic")[0]["Cause"]


def reached(server: Server, wanted: int) -> bool:
    """Whether so many are wanted and there; False while control is down."""
    try:
        return counts(server, "elastic") == (wanted, wanted)
    except (ClientError, BotoCoreError):
        return False
