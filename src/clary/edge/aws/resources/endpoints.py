"""SageMaker endpoints: create, describe, list, update, delete.

The example for resource modules: shapes are converted both ways here and nowhere below, every input field is listed
with how it is treated, and a handler is one call of a use case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clary.control import endpoint_changes, endpoints, rollouts
from clary.control.desk import Desk
from clary.domain.endpoint import Desired, Revision, RevisionVariant, VariantProperty
from clary.domain.rollout_stages import Stage, Way, new_stage, old_stage, scaling_stage
from clary.domain.states import EndpointStatus
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.deployments import deployment_members, deployment_of, stage_members
from clary.edge.aws.resources.listing import NAMED_FIELDS, page_members, query_of
from clary.edge.aws.resources.members import caller_of, given, instant, tags_of
from clary.store.endpoints import EndpointRecord

CREATE_FIELDS = {
    "EndpointName": Field.SERVED,
    "EndpointConfigName": Field.SERVED,
    "DeploymentConfig": Field.SERVED,
    "Tags": Field.SERVED,
}
UPDATE_FIELDS = {
    "EndpointName": Field.SERVED,
    "EndpointConfigName": Field.SERVED,
    "RetainAllVariantProperties": Field.SERVED,
    "ExcludeRetainedVariantProperties": Field.SERVED,
    "DeploymentConfig": Field.SERVED,
    "RetainDeploymentConfig": Field.SERVED,
}
RESCALE_FIELDS = {
    "EndpointName": Field.SERVED,
    "DesiredWeightsAndCapacities": Field.SERVED,
    "DesiredWeightsAndCapacities[].VariantName": Field.SERVED,
    "DesiredWeightsAndCapacities[].DesiredWeight": Field.SERVED,
    "DesiredWeightsAndCapacities[].DesiredInstanceCount": Field.SERVED,
    "DesiredWeightsAndCapacities[].ServerlessUpdateConfig": Field.REFUSED,
}
RESCALE_NOTES = {
    "DesiredWeightsAndCapacities[].ServerlessUpdateConfig": "Serverless variants come with a later release."
}
LIST_FIELDS = {
    **NAMED_FIELDS,
    **dict.fromkeys(("LastModifiedTimeBefore", "LastModifiedTimeAfter", "StatusEquals"), Field.SERVED),
}

_METRICS = re.compile(r"(?:^|\s)m/([A-Za-z0-9,+-]+)")
_WAITER = "B"
"""The feature id of a waiter in the SDKs' `m/` metrics (botocore.useragent, WAITER)."""


@dataclass(frozen=True)
class HoldOptions:
    """How long DescribeEndpoint of an endpoint in transition is held, so that a loop that sleeps 30 s between its
    polls finishes in one round trip."""

    long_poll: bool = True
    """False (`--no-long-poll`): every answer at once."""
    hold_s: float = 5.0
    """Seconds at most. Well below the shortest read timeout in use (60 s in the SDKs) and short enough for a person."""
    waiter_hold_s: float = 25.0
    """Seconds at most for an SDK's waiter, which has nothing else to do and would sleep 30 s."""


def hold_s(options: HoldOptions, user_agent: str) -> float:
    """How long this client's DescribeEndpoint may be held."""
    if not options.long_poll:
        return 0.0
    found = _METRICS.search(user_agent)
    waits = found is not None and _WAITER in found[1].split(",")
    return options.waiter_hold_s if waits else options.hold_s


def operations(desk: Desk, options: HoldOptions = HoldOptions()) -> tuple[Operation, ...]:
    """What is served of endpoints."""

    async def create_endpoint(call: Call, members: Members) -> Members:
        name, config = members["EndpointName"], members["EndpointConfigName"]
        deployment = deployment_of(members)
        arn = await endpoints.create(desk, caller_of(call), name, config, tags_of(members), deployment)
        return {"EndpointArn": arn}

    async def describe_endpoint(call: Call, members: Members) -> Members:
        wait_s = hold_s(options, call.user_agent)
        return _described(await endpoints.describe(desk, caller_of(call), members["EndpointName"], wait_s))

    async def list_endpoints(call: Call, members: Members) -> Members:
        query = query_of(call, "ListEndpoints", members)
        found, more = await endpoints.list_endpoints(desk, caller_of(call), query)
        return page_members(call, "ListEndpoints", members, {"Endpoints": [_summary(record) for record in found]}, more)

    async def update_endpoint(call: Call, members: Members) -> Members:
        name, config = members["EndpointName"], members["EndpointConfigName"]
        guard = rollouts.Guard(deployment_of(members), members.get("RetainDeploymentConfig", False))
        arn = await endpoint_changes.update_endpoint(desk, caller_of(call), name, config, _retain(members), guard)
        return {"EndpointArn": arn}

    async def update_endpoint_weights_and_capacities(call: Call, members: Members) -> Members:
        desired = [
            Desired(entry["VariantName"], entry.get("DesiredWeight"), entry.get("DesiredInstanceCount"))
            for entry in members["DesiredWeightsAndCapacities"]
        ]
        return {"EndpointArn": await endpoint_changes.rescale(desk, caller_of(call), members["EndpointName"], desired)}

    async def delete_endpoint(call: Call, members: Members) -> Members:
        await endpoints.remove(desk, caller_of(call), members["EndpointName"])
        return {}

    name = {"EndpointName": Field.SERVED}
    return (
        Operation("sagemaker", "CreateEndpoint", create_endpoint, CREATE_FIELDS),
        Operation("sagemaker", "DescribeEndpoint", describe_endpoint, name),
        Operation("sagemaker", "ListEndpoints", list_endpoints, LIST_FIELDS),
        Operation("sagemaker", "UpdateEndpoint", update_endpoint, UPDATE_FIELDS),
        Operation(
            "sagemaker",
            "UpdateEndpointWeightsAndCapacities",
            update_endpoint_weights_and_capacities,
            RESCALE_FIELDS,
            RESCALE_NOTES,
        ),
        Operation("sagemaker", "DeleteEndpoint", delete_endpoint, name),
    )


def _summary(record: EndpointRecord) -> dict[str, Any]:
    return {
        "EndpointName": record.name,
        "EndpointArn": endpoints.arn(record),
        "CreationTime": instant(record.created_us),
        "LastModifiedTime": instant(record.modified_us),
        "EndpointStatus": record.status.value,
    }


def _retain(members: Members) -> endpoint_changes.Retain:
    excluded = members.get("ExcludeRetainedVariantProperties", ())
    return endpoint_changes.Retain(
        members.get("RetainAllVariantProperties", False),
        frozenset(VariantProperty(entry["VariantPropertyType"]) for entry in excluded),
    )


def _described(endpoint: endpoints.Endpoint) -> Members:
    record = endpoint.record
    # Of a failed update, too: the endpoint is InService then, as before the update.
    told = record.status in (EndpointStatus.FAILED, EndpointStatus.IN_SERVICE, EndpointStatus.ROLLBACK_FAILED)
    return given(
        **_summary(record),
        EndpointConfigName=endpoint.revision.config_name,
        ProductionVariants=_variants(endpoint),
        FailureReason=record.failure_reason if told else "",
        LastDeploymentConfig=deployment_members(endpoint.last_deployment),
        PendingDeploymentSummary=_pending(endpoint),
    )


def _variants(endpoint: endpoints.Endpoint) -> list[dict[str, Any]] | None:
    """What is deployed. Before anything is, the service leaves the list out, and so do we."""
    if endpoint.record.status in (EndpointStatus.CREATING, EndpointStatus.FAILED):
        return None
    pending = endpoint.pending
    desired = pending.revision if pending is not None and pending.same_version else endpoint.revision
    return [
        given(
            **_variant(variant, wanted, endpoint.ready, endpoint.record),
            VariantStatus=stage_members(_old_stage(endpoint, variant, wanted)),
        )
        for variant, wanted in zip(endpoint.revision.variants, desired.variants, strict=True)
    ]


def _old_stage(endpoint: endpoints.Endpoint, variant: RevisionVariant, wanted: RevisionVariant) -> Stage | None:
    pending = endpoint.pending
    if pending is None:
        return None
    if pending.same_version:
        return scaling_stage(variant, wanted, pending.started_us)
    return old_stage(_way(pending), variant, endpoint.ready.get(variant.name, 0))


def _way(pending: endpoints.Pending) -> Way:
    return Way(pending.revision, pending.started_us, pending.deployment, pending.progress)


def _pending(endpoint: endpoints.Endpoint) -> dict[str, Any] | None:
    """The update that is under way, where it is to a new configuration (API reference, PendingDeploymentSummary)."""
    pending = endpoint.pending
    if pending is None or pending.same_version:
        return None
    variants: Revision = pending.revision
    return {
        "EndpointConfigName": variants.config_name,
        "ProductionVariants": [
            {
                **_variant(variant, variant, pending.ready, endpoint.record),
                "InstanceType": variant.instance_type,
                "VariantStatus": stage_members(new_stage(_way(pending), variant, pending.ready.get(variant.name, 0))),
            }
            for variant in variants.variants
        ],
        "StartTime": instant(pending.started_us),
    }


def _variant(
    variant: RevisionVariant, desired: RevisionVariant, ready: Mapping[str, int], record: EndpointRecord
) -> dict[str, Any]:
    # The tag resolves to behaviour of this Clary, not to a digest that could be pulled: both names are the same.
    image = {"SpecifiedImage": variant.container.image, "ResolvedImage": variant.container.image}
    return given(
        VariantName=variant.name,
        DeployedImages=[{**image, "ResolutionTime": instant(record.created_us)}],
        CurrentWeight=variant.weight,
        DesiredWeight=desired.weight,
        CurrentInstanceCount=ready.get(variant.name, 0),
        DesiredInstanceCount=desired.instance_count,
        RoutingConfig={"RoutingStrategy": variant.routing} if variant.routing else None,
    )
