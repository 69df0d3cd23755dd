"""SageMaker endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from typing import Any

from clary.control import endpoint_configs
from clary.control.desk import Desk
from clary.domain.endpoint import PUBLISH_S, EndpointConfigSpec, MetricsConfig, VariantSpec
from clary.domain.errors import Invalid, NotServed
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.listing import NAMED_FIELDS, page_members, query_of
from clary.edge.aws.resources.members import caller_of, given, instant, tags_of, vpc_members, vpc_of

_VARIANT_FIELDS = {
    "VariantName": Field.SERVED,
    "ModelName": Field.SERVED,
    "InitialInstanceCount": Field.SERVED,
    "InstanceType": Field.SERVED,
    "InstancePools": Field.REFUSED,
    "VariantInstanceProvisionTimeoutInSeconds": Field.REFUSED,
    "InitialVariantWeight": Field.SERVED,
    "AcceleratorType": Field.REFUSED,
    "CoreDumpConfig": Field.REFUSED,
    "ServerlessConfig": Field.REFUSED,
    "VolumeSizeInGB": Field.STORED,
    "ModelDataDownloadTimeoutInSeconds": Field.STORED,
    "ContainerStartupHealthCheckTimeoutInSeconds": Field.SERVED,
    "EnableSSMAccess": Field.REFUSED,
    "ManagedInstanceScaling": Field.REFUSED,
    "RoutingConfig": Field.SERVED,
    "RoutingConfig.PrefixAwareRoutingConfig": Field.REFUSED,
    "InferenceAmiVersion": Field.STORED,
    "CapacityReservationConfig": Field.REFUSED,
    "AcceleratorPartitionLayouts": Field.REFUSED,
}
_VARIANT_NOTES = {
    "InstancePools": "Replicas run on this machine; give InstanceType.",
    "VariantInstanceProvisionTimeoutInSeconds": "Belongs to InstancePools: replicas run on this machine.",
    "AcceleratorType": "Elastic Inference is no longer offered by the service either.",
    "CoreDumpConfig": "Core dumps of workers are not collected.",
    "ServerlessConfig": "Serverless variants come with a later release; give InitialInstanceCount and InstanceType.",
    "VolumeSizeInGB": "Artifacts lie in the server's HOME; no volume is made.",
    "ModelDataDownloadTimeoutInSeconds": "Artifacts come from the object store beside the server.",
    "EnableSSMAccess": "There is no instance to log in to.",
    "ManagedInstanceScaling": "Scaling is Application Auto Scaling's: RegisterScalableTarget and PutScalingPolicy.",
    "RoutingConfig.PrefixAwareRoutingConfig": "Prefix-aware routing is not served.",
    "InferenceAmiVersion": "No machine image is started.",
    "CapacityReservationConfig": "No capacity is bought.",
    "AcceleratorPartitionLayouts": "Accelerators are not partitioned.",
}

CREATE_FIELDS = {
    "EndpointConfigName": Field.SERVED,
    "ProductionVariants": Field.SERVED,
    **{f"ProductionVariants[].{name}": how for name, how in _VARIANT_FIELDS.items()},
    "DataCaptureConfig": Field.REFUSED,
    "Tags": Field.SERVED,
    "KmsKeyId": Field.STORED,
    "AsyncInferenceConfig": Field.REFUSED,
    "ExplainerConfig": Field.REFUSED,
    "ShadowProductionVariants": Field.REFUSED,
    "ExecutionRoleArn": Field.STORED,
    "VpcConfig": Field.STORED,
    "EnableNetworkIsolation": Field.STORED,
    "MetricsConfig": Field.SERVED,
    "MetricsConfig.EnableEnhancedMetrics": Field.SERVED,
    "MetricsConfig.EnableDetailedObservability": Field.SERVED,
    "MetricsConfig.MetricPublishFrequencyInSeconds": Field.SERVED,
    "CrossRegionTrafficConfig": Field.REFUSED,
}
CREATE_NOTES = {
    **{f"ProductionVariants[].{name}": note for name, note in _VARIANT_NOTES.items()},
    "DataCaptureConfig": "Data capture comes with a later release.",
    "KmsKeyId": "Artifacts are not yet encrypted at rest.",
    "AsyncInferenceConfig": "Asynchronous inference comes with a later release.",
    "ExplainerConfig": "Explanations come with a later release.",
    "ShadowProductionVariants": "Shadow variants come with a later release.",
    "ExecutionRoleArn": "Models read their artifact with the rights of the server.",
    "VpcConfig": "Models run on this machine, in its network.",
    "EnableNetworkIsolation": "Models are not yet cut off the network.",
    "MetricsConfig.EnableDetailedObservability": "False only: metrics of a model server's own page and of accelerators "
    "are not collected.",
    "MetricsConfig.MetricPublishFrequencyInSeconds": "Of utilisation; invocations are counted each second "
    "whatever it says.",
    "CrossRegionTrafficConfig": "There is one region: this machine.",
}

_ROUTINGS = ("LEAST_OUTSTANDING_REQUESTS", "RANDOM")
"""Where none is given, requests go to the replica with the fewest outstanding ones. (The hosted service's default is
RANDOM, which answers later under load and promises nothing that this breaks.)"""


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of endpoint configurations."""

    async def create_endpoint_config(call: Call, members: Members) -> Members:
        name, spec = members["EndpointConfigName"], _spec(members)
        return {"EndpointConfigArn": await endpoint_configs.create(desk, caller_of(call), name, spec, tags_of(members))}

    async def describe_endpoint_config(call: Call, members: Members) -> Members:
        return _described(await endpoint_configs.describe(desk, caller_of(call), members["EndpointConfigName"]))

    async def list_endpoint_configs(call: Call, members: Members) -> Members:
        query = query_of(call, "ListEndpointConfigs", members)
        found, more = await endpoint_configs.list_configs(desk, caller_of(call), query)
        items = [
            {
                "EndpointConfigName": config.name,
                "EndpointConfigArn": config.arn,
                "CreationTime": instant(config.created_us),
            }
            for config in found
        ]
        return page_members(call, "ListEndpointConfigs", members, {"EndpointConfigs": items}, more)

    async def delete_endpoint_config(call: Call, members: Members) -> Members:
        await endpoint_configs.remove(desk, caller_of(call), members["EndpointConfigName"])
        return {}

    name = {"EndpointConfigName": Field.SERVED}
    return (
        Operation("sagemaker", "CreateEndpointConfig", create_endpoint_config, CREATE_FIELDS, CREATE_NOTES),
        Operation("sagemaker", "DescribeEndpointConfig", describe_endpoint_config, name),
        Operation("sagemaker", "ListEndpointConfigs", list_endpoint_configs, NAMED_FIELDS),
        Operation("sagemaker", "DeleteEndpointConfig", delete_endpoint_config, name),
    )


def _spec(members: Members) -> EndpointConfigSpec:
    return EndpointConfigSpec(
        variants=tuple(_variant(variant) for variant in members["ProductionVariants"]),
        kms_key_id=members.get("KmsKeyId", ""),
        role_arn=members.get("ExecutionRoleArn", ""),
        vpc=vpc_of(members),
        network_isolation=members.get("EnableNetworkIsolation"),
        metrics=_metrics(members.get("MetricsConfig")),
    )


def _metrics(members: Members | None) -> MetricsConfig | None:
    if members is None:
        return None
    publish_s, detailed = members.get("MetricPublishFrequencyInSeconds"), members.get("EnableDetailedObservability")
    if publish_s is not None and publish_s not in PUBLISH_S:
        raise Invalid(
            f"MetricPublishFrequencyInSeconds is {publish_s}; valid values are {', '.join(map(str, PUBLISH_S))}."
        )
    if detailed:
        raise NotServed(
            "MetricsConfig.EnableDetailedObservability", "Leave it out: a model server's own metrics are not collected."
        )
    return MetricsConfig(members.get("EnableEnhancedMetrics"), publish_s, detailed)


def _metrics_members(metrics: MetricsConfig | None) -> Members | None:
    if metrics is None:
        return None
    return given(
        EnableEnhancedMetrics=metrics.enhanced,
        EnableDetailedObservability=metrics.detailed,
        MetricPublishFrequencyInSeconds=metrics.publish_s,
    )


def _variant(members: Members) -> VariantSpec:
    name = members["VariantName"]
    for needed in ("ModelName", "InitialInstanceCount", "InstanceType"):
        if needed not in members:
            raise Invalid(f"{needed} is missing in the production variant '{name}'.")
    routing = members.get("RoutingConfig", {}).get("RoutingStrategy", "")
    if routing and routing not in _ROUTINGS:
        raise NotServed(f"RoutingStrategy {routing}", f"Give one of {', '.join(_ROUTINGS)}.")
    return VariantSpec(
        name=name,
        model_name=members["ModelName"],
        instance_count=members["InitialInstanceCount"],
        instance_type=members["InstanceType"],
        weight=members.get("InitialVariantWeight", 1.0),
        load_timeout_s=members.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        download_timeout_s=members.get("ModelDataDownloadTimeoutInSeconds"),
        volume_gb=members.get("VolumeSizeInGB"),
        routing=routing,
        ami_version=members.get("InferenceAmiVersion", ""),
    )


def _described(config: endpoint_configs.EndpointConfig) -> Members:
    spec = config.spec
    return given(
        EndpointConfigName=config.name,
        EndpointConfigArn=config.arn,
        ProductionVariants=[_variant_members(variant) for variant in spec.variants],
        KmsKeyId=spec.kms_key_id,
        CreationTime=instant(config.created_us),
        ExecutionRoleArn=spec.role_arn,
        VpcConfig=vpc_members(spec.vpc),
        EnableNetworkIsolation=spec.network_isolation,
        MetricsConfig=_metrics_members(spec.metrics),
    )


def _variant_members(variant: VariantSpec) -> dict[str, Any]:
    return given(
        VariantName=variant.name,
        ModelName=variant.model_name,
        InitialInstanceCount=variant.instance_count,
        InstanceType=variant.instance_type,
        InitialVariantWeight=variant.weight,
        VolumeSizeInGB=variant.volume_gb,
        ModelDataDownloadTimeoutInSeconds=variant.download_timeout_s,
        ContainerStartupHealthCheckTimeoutInSeconds=variant.load_timeout_s,
        RoutingConfig={"RoutingStrategy": variant.routing} if variant.routing else None,
        InferenceAmiVersion=variant.ami_version,
    )
