"""Application Auto Scaling: scaling policies and scheduled actions."""

from __future__ import annotations

from typing import Any

from clary.control import scaling
from clary.control.desk import Desk
from clary.domain.scaling import NAMESPACE, ScheduledSpec, action_arn, policy_arn
from clary.domain.schedules import Times
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.autoscaling_shapes import (
    RESOURCE_FIELDS,
    SERVICE,
    answer_page,
    page_of,
    policy_members,
    policy_spec,
    resource_of,
    told,
)
from clary.edge.aws.resources.members import caller_of, given, instant, instant_us
from clary.store.scaling import Policy, ScheduledAction, Target

_SERVED = Field.SERVED
POLICY_FIELDS = {
    **RESOURCE_FIELDS,
    **dict.fromkeys(
        (
            "PolicyName",
            "PolicyType",
            "StepScalingPolicyConfiguration",
            "TargetTrackingScalingPolicyConfiguration",
        ),
        _SERVED,
    ),
    "StepScalingPolicyConfiguration.MetricAggregationType": Field.STORED,
    "PredictiveScalingPolicyConfiguration": Field.REFUSED,
}
POLICY_NOTES = {
    "StepScalingPolicyConfiguration.MetricAggregationType": "A step is chosen by the newest value of the alarm's own "
    "statistic.",
    "PredictiveScalingPolicyConfiguration": "Predictive scaling is the hosted service's for ECS only; use "
    "TargetTrackingScaling, StepScaling or a scheduled action.",
}
LIST_FIELDS = dict.fromkeys(("ServiceNamespace", "ResourceId", "ScalableDimension", "MaxResults", "NextToken"), _SERVED)
POLICIES_PAGE_MAX = 10
ACTIONS_PAGE_MAX = 50


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of policies and scheduled actions."""

    async def put_policy(call: Call, members: Members) -> Members:
        resource, spec = resource_of(members), policy_spec(members)
        policy, arn = await told(scaling.put_policy(desk, caller_of(call), resource, members["PolicyName"], spec))
        return {"PolicyARN": arn, "Alarms": _alarms(call, policy)}

    async def describe_policies(call: Call, members: Members) -> Members:
        name = "DescribeScalingPolicies"
        page = page_of(call, name, members, POLICIES_PAGE_MAX, "PolicyNames")
        found, more = await scaling.policies(desk, caller_of(call), page)
        items = [_policy(call, policy, target) for policy, target in found]
        return answer_page(call, name, members, {"ScalingPolicies": items}, more)

    async def delete_policy(call: Call, members: Members) -> Members:
        await told(scaling.delete_policy(desk, caller_of(call), resource_of(members), members["PolicyName"]))
        return {}

    async def put_action(call: Call, members: Members) -> Members:
        name, spec = members["ScheduledActionName"], _scheduled(members)
        await told(scaling.put_action(desk, caller_of(call), resource_of(members), name, spec))
        return {}

    async def describe_actions(call: Call, members: Members) -> Members:
        name = "DescribeScheduledActions"
        page = page_of(call, name, members, ACTIONS_PAGE_MAX, "ScheduledActionNames")
        found, more = await scaling.actions(desk, caller_of(call), page)
        items = [_action(action, target) for action, target in found]
        return answer_page(call, name, members, {"ScheduledActions": items}, more)

    async def delete_action(call: Call, members: Members) -> Members:
        name = members["ScheduledActionName"]
        await told(scaling.delete_action(desk, caller_of(call), resource_of(members), name))
        return {}

    action_fields = dict.fromkeys(
        ("ScheduledActionName", "Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction"), _SERVED
    )
    return (
        Operation(SERVICE, "PutScalingPolicy", put_policy, POLICY_FIELDS, POLICY_NOTES),
        Operation(SERVICE, "DescribeScalingPolicies", describe_policies, {**LIST_FIELDS, "PolicyNames": _SERVED}),
        Operation(SERVICE, "DeleteScalingPolicy", delete_policy, {**RESOURCE_FIELDS, "PolicyName": _SERVED}),
        Operation(SERVICE, "PutScheduledAction", put_action, {**RESOURCE_FIELDS, **action_fields}),
        Operation(
            SERVICE, "DescribeScheduledActions", describe_actions, {**LIST_FIELDS, "ScheduledActionNames": _SERVED}
        ),
        Operation(SERVICE, "DeleteScheduledAction", delete_action, {**RESOURCE_FIELDS, "ScheduledActionName": _SERVED}),
    )


def _alarms(call: Call, policy: Policy) -> list[dict[str, str]]:
    return [{"AlarmName": name, "AlarmARN": arn} for name, arn in scaling.alarms_of(policy, call.scope)]


def _policy(call: Call, policy: Policy, target: Target) -> dict[str, Any]:
    return {
        "PolicyARN": policy_arn(target.scope, policy.guid, target.resource_id, policy.name),
        "PolicyName": policy.name,
        "ServiceNamespace": NAMESPACE,
        "ResourceId": target.resource_id,
        "ScalableDimension": target.dimension,
        "PolicyType": policy.kind,
        "CreationTime": instant(policy.created_us),
        "Alarms": _alarms(call, policy),
        **policy_members(policy.spec),
    }


def _scheduled(members: Members) -> ScheduledSpec:
    bounds = members.get("ScalableTargetAction") or {}
    times = Times(
        members.get("Schedule", ""),
        members.get("Timezone", ""),
        instant_us(members.get("StartTime")),
        instant_us(members.get("EndTime")),
    )
    return ScheduledSpec(times, bounds.get("MinCapacity"), bounds.get("MaxCapacity"))


def _action(action: ScheduledAction, target: Target) -> dict[str, Any]:
    times = action.spec.times
    return given(
        ScheduledActionName=action.name,
        ScheduledActionARN=action_arn(target.scope, action.guid, target.resource_id, action.name),
        ServiceNamespace=NAMESPACE,
        Schedule=times.schedule,
        Timezone=times.time_zone,
        ResourceId=target.resource_id,
        ScalableDimension=target.dimension,
        StartTime=None if times.start_us is None else instant(times.start_us),
        EndTime=None if times.end_us is None else instant(times.end_us),
        ScalableTargetAction=given(MinCapacity=action.spec.min_capacity, MaxCapacity=action.spec.max_capacity),
        CreationTime=instant(action.created_us),
    )
