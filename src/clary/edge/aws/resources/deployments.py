"""DeploymentConfig, both ways, and VariantStatus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clary.domain.errors import Invalid
from clary.domain.rollout import BlueGreen, CapacitySize, Deployment, Rolling, Shift, Unit
from clary.domain.rollout_stages import Stage
from clary.edge.aws.operation import Members
from clary.edge.aws.resources.members import given, instant


def deployment_of(members: Members) -> Deployment | None:
    """`DeploymentConfig`, where it is given; Invalid for an alarm without a name."""
    config: Mapping[str, Any] | None = members.get("DeploymentConfig")
    if not config:
        return None
    alarms = config.get("AutoRollbackConfiguration", {}).get("Alarms", ())
    if not all("AlarmName" in alarm for alarm in alarms):
        raise Invalid("An alarm of AutoRollbackConfiguration has no AlarmName.")
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    return Deployment(
        blue_green=None if blue_green is None else _blue_green(blue_green),
        rolling=None if rolling is None else _rolling(rolling),
        alarms=tuple(alarm["AlarmName"] for alarm in alarms),
    )


def _blue_green(policy: Mapping[str, Any]) -> BlueGreen:
    routing = policy["TrafficRoutingConfiguration"]
    return BlueGreen(
        shift=Shift(routing["Type"]),
        wait_s=routing["WaitIntervalInSeconds"],
        canary=_size(routing.get("CanarySize")),
        linear=_size(routing.get("LinearStepSize")),
        termination_wait_s=policy.get("TerminationWaitInSeconds"),
        timeout_s=policy.get("MaximumExecutionTimeoutInSeconds"),
    )


def _rolling(policy: Mapping[str, Any]) -> Rolling:
    batch = _size(policy["MaximumBatchSize"])
    assert batch is not None, "the shape requires it"
    return Rolling(
        batch=batch,
        wait_s=policy["WaitIntervalInSeconds"],
        timeout_s=policy.get("MaximumExecutionTimeoutInSeconds"),
        rollback_batch=_size(policy.get("RollbackMaximumBatchSize")),
    )


def _size(members: Mapping[str, Any] | None) -> CapacitySize | None:
    return None if members is None else CapacitySize(Unit(members["Type"]), members["Value"])


def deployment_members(deployment: Deployment | None) -> dict[str, Any] | None:
    """`LastDeploymentConfig`: as it was given."""
    if deployment is None:
        return None
    alarms = [{"AlarmName": name} for name in deployment.alarms]
    return given(
        BlueGreenUpdatePolicy=_blue_green_members(deployment.blue_green),
        RollingUpdatePolicy=_rolling_members(deployment.rolling),
        AutoRollbackConfiguration={"Alarms": alarms} if alarms else None,
    )


def _blue_green_members(policy: BlueGreen | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    return given(
        TrafficRoutingConfiguration=given(
            Type=policy.shift.value,
            WaitIntervalInSeconds=policy.wait_s,
            CanarySize=_size_members(policy.canary),
            LinearStepSize=_size_members(policy.linear),
        ),
        TerminationWaitInSeconds=policy.termination_wait_s,
        MaximumExecutionTimeoutInSeconds=policy.timeout_s,
    )


def _rolling_members(policy: Rolling | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    return given(
        MaximumBatchSize=_size_members(policy.batch),
        WaitIntervalInSeconds=policy.wait_s,
        MaximumExecutionTimeoutInSeconds=policy.timeout_s,
        RollbackMaximumBatchSize=_size_members(policy.rollback_batch),
    )


def _size_members(size: CapacitySize | None) -> dict[str, Any] | None:
    return None if size is None else {"Type": size.unit.value, "Value": size.value}


def stage_members(stage: Stage | None) -> list[dict[str, Any]] | None:
    """VariantStatus; None where nothing happens to the variant."""
    if stage is None:
        return None
    return [{"Status": stage.status, "StatusMessage": stage.message, "StartTime": instant(stage.since_us)}]
