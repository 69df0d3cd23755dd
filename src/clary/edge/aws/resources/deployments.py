"""DeploymentConfig and the stages of a rollout, both ways. Messages of stages: developer guide, "Events that Amazon
SageMaker AI sends to Amazon EventBridge", Endpoint deployment state change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clary.control import endpoints
from clary.domain.endpoint import RevisionVariant
from clary.domain.errors import Invalid
from clary.domain.rollout import BlueGreen, CapacitySize, Deployment, Progress, Rolling, Shift, Step, Unit, steps_of
from clary.edge.aws.operation import Field, Members
from clary.edge.aws.resources.members import given, instant

FIELDS = {"DeploymentConfig": Field.SERVED}


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


def stage_members(pending: endpoints.Pending, variant: RevisionVariant, ready: int) -> list[dict[str, Any]]:
    """VariantStatus of a variant of the new fleet."""
    status, message, since_us = _stage(pending, variant, ready)
    return [{"Status": status, "StatusMessage": message, "StartTime": instant(since_us)}]


def _stage(pending: endpoints.Pending, variant: RevisionVariant, ready: int) -> tuple[str, str, int]:
    progress = pending.progress
    if pending.deployment is None or progress is None:
        lacking = variant.instance_count - ready
        if lacking > 0:
            return "Creating", f"Launching {lacking} instance(s).", pending.started_us
        return "ActivatingTraffic", _activating(variant.instance_count, full=True), pending.started_us
    step = steps_of(pending.deployment, pending.revision)[progress.step - 1]
    if progress.reason:
        return "Deleting", f"Terminating {ready} instance(s). {progress.reason}", progress.entered_us
    if progress.reached_us is not None:
        return "Baking", _baking(step, variant), progress.reached_us
    lacking = step.counts[variant.name] - ready
    if lacking > 0:
        return "Creating", f"Launching {lacking} instance(s).", progress.entered_us
    return "ActivatingTraffic", _activating(_active(step, variant), full=step.full), progress.entered_us


def _activating(count: int, *, full: bool) -> str:
    return f"Activating traffic on {'full' if full else 'canary'} capacity of {count} instance(s)."


def _baking(step: Step, variant: RevisionVariant) -> str:
    what = "full" if step.full else "canary"
    return (
        f"Baking for {step.wait_s} seconds ({step.wait_name}) with traffic enabled on {what} capacity of "
        f"{_active(step, variant)} instance(s): {float(100 * step.share(variant.name)):g}% of the traffic."
    )


def _active(step: Step, variant: RevisionVariant) -> int:
    return step.counts[variant.name]


def shrinking_members(
    pending: endpoints.Pending | None, variant: RevisionVariant, ready: int
) -> list[dict[str, Any]] | None:
    """VariantStatus of a variant of the old fleet: what of it ends, or is started again, beside the new one."""
    if pending is None or pending.deployment is None or pending.progress is None:
        return None
    progress: Progress = pending.progress
    kept = steps_of(pending.deployment, pending.revision)[progress.step - 1].kept_of(
        variant.name, variant.instance_count
    )
    if progress.reason and ready < variant.instance_count:
        message = f"Launching {variant.instance_count - ready} instance(s)."
        return [{"Status": "Updating", "StatusMessage": message, "StartTime": instant(progress.entered_us)}]
    if not progress.reason and ready > kept:
        message = f"Terminating {ready - kept} instance(s)."
        return [{"Status": "Deleting", "StatusMessage": message, "StartTime": instant(progress.entered_us)}]
    return None
