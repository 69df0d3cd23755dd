"""Application Auto Scaling: scalable targets with their tags, and activities."""

from __future__ import annotations

from typing import Any

from clary.control import scaling, scaling_tags
from clary.control.desk import Desk
from clary.control.scaling import Registration
from clary.domain.scaling import NAMESPACE, bounds_of, target_arn
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.autoscaling_shapes import (
    RESOURCE_FIELDS,
    SERVICE,
    answer_page,
    page_of,
    resource_of,
    told,
)
from clary.edge.aws.resources.members import caller_of, given, instant
from clary.store.scaling import Target
from clary.store.scaling_activities import NOT_SCALED, Activity

REGISTER_FIELDS = {
    **RESOURCE_FIELDS,
    **dict.fromkeys(("MinCapacity", "MaxCapacity", "SuspendedState", "Tags"), Field.SERVED),
    "RoleARN": Field.STORED,
}
PAGE_FIELDS = dict.fromkeys(("ServiceNamespace", "ScalableDimension", "MaxResults", "NextToken"), Field.SERVED)
PAGE_MAX = 50


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of targets, activities and tags."""

    async def register(call: Call, members: Members) -> Members:
        resource = resource_of(members)
        arn = await told(scaling.register(desk, caller_of(call), resource, _registration(members)))
        return {"ScalableTargetARN": arn}

    async def describe(call: Call, members: Members) -> Members:
        name = "DescribeScalableTargets"
        found, more = await scaling.targets(desk, caller_of(call), page_of(call, name, members, PAGE_MAX))
        return answer_page(call, name, members, {"ScalableTargets": [_target(one) for one in found]}, more)

    async def deregister(call: Call, members: Members) -> Members:
        await told(scaling.deregister(desk, caller_of(call), resource_of(members)))
        return {}

    async def activities(call: Call, members: Members) -> Members:
        name = "DescribeScalingActivities"
        page = page_of(call, name, members, PAGE_MAX)
        more_too = members.get("IncludeNotScaledActivities", False)
        found, more = await scaling.activities(desk, caller_of(call), page, not_scaled=more_too)
        return answer_page(call, name, members, {"ScalingActivities": [_activity(one) for one in found]}, more)

    async def tag(call: Call, members: Members) -> Members:
        await told(scaling_tags.tag(desk, caller_of(call), members["ResourceARN"], dict(members["Tags"])))
        return {}

    async def untag(call: Call, members: Members) -> Members:
        await told(scaling_tags.untag(desk, caller_of(call), members["ResourceARN"], list(members["TagKeys"])))
        return {}

    async def list_tags(call: Call, members: Members) -> Members:
        return {"Tags": await told(scaling_tags.list_tags(desk, caller_of(call), members["ResourceARN"]))}

    served = Field.SERVED
    return (
        Operation(
            SERVICE,
            "RegisterScalableTarget",
            register,
            REGISTER_FIELDS,
            {"RoleARN": "Nothing assumes a role to scale here; the service-linked role's ARN is the default."},
        ),
        Operation(SERVICE, "DescribeScalableTargets", describe, {**PAGE_FIELDS, "ResourceIds": served}),
        Operation(SERVICE, "DeregisterScalableTarget", deregister, RESOURCE_FIELDS),
        Operation(
            SERVICE,
            "DescribeScalingActivities",
            activities,
            {**PAGE_FIELDS, "ResourceId": served, "IncludeNotScaledActivities": served},
        ),
        Operation(SERVICE, "TagResource", tag, {"ResourceARN": served, "Tags": served}),
        Operation(SERVICE, "UntagResource", untag, {"ResourceARN": served, "TagKeys": served}),
        Operation(SERVICE, "ListTagsForResource", list_tags, {"ResourceARN": served}),
    )


def _registration(members: Members) -> Registration:
    suspended = members.get("SuspendedState") or {}
    return Registration(
        min_capacity=members.get("MinCapacity"),
        max_capacity=members.get("MaxCapacity"),
        role_arn=members.get("RoleARN"),
        scale_in_suspended=suspended.get("DynamicScalingInSuspended"),
        scale_out_suspended=suspended.get("DynamicScalingOutSuspended"),
        scheduled_suspended=suspended.get("ScheduledScalingSuspended"),
        tags=dict(members.get("Tags") or {}),
    )


def _target(target: Target) -> dict[str, Any]:
    bounds, suspended = bounds_of(target.spec, target.memory.bounds), target.spec.suspended
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": target.resource_id,
        "ScalableDimension": target.dimension,
        "MinCapacity": bounds.min_capacity,
        "MaxCapacity": bounds.max_capacity,
        "RoleARN": target.spec.role_arn,
        "CreationTime": instant(target.created_us),
        "SuspendedState": {
            "DynamicScalingInSuspended": suspended.scale_in,
            "DynamicScalingOutSuspended": suspended.scale_out,
            "ScheduledScalingSuspended": suspended.scheduled,
        },
        "ScalableTargetARN": target_arn(target.scope, target.uid),
    }


def _activity(activity: Activity) -> dict[str, Any]:
    limits = {"AlreadyAtMaxCapacity": "MaxCapacity", "AlreadyAtMinCapacity": "MinCapacity"}
    return given(
        ActivityId=activity.uid,
        ServiceNamespace=NAMESPACE,
        ResourceId=activity.resource_id,
        ScalableDimension=activity.dimension,
        Description=activity.text.description,
        Cause=activity.text.cause,
        StartTime=instant(activity.started_us),
        EndTime=None if activity.ended_us is None else instant(activity.ended_us),
        StatusCode="Failed" if activity.status == NOT_SCALED else activity.status,
        StatusMessage=activity.text.message,
        NotScaledReasons=[
            given(Code=reason.code, **{limits[reason.code]: reason.limit}) for reason in activity.text.reasons
        ]
        or None,
    )
