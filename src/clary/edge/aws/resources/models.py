"""SageMaker models: CreateModel, DescribeModel, ListModels, DeleteModel."""

from __future__ import annotations

from typing import Any

from clary.control import images, models
from clary.control.desk import Desk
from clary.domain.errors import Invalid, NotServed
from clary.domain.model import SERVER, Container, ModelSpec
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.listing import NAMED_FIELDS, page_members, query_of
from clary.edge.aws.resources.members import caller_of, given, instant, tags_of, vpc_members, vpc_of
from clary.runtimes.images import Image, parse_image

_CONTAINER_FIELDS = {
    "ContainerHostname": Field.STORED,
    "Image": Field.SERVED,
    "ImageConfig": Field.REFUSED,
    "ImageConfig.RepositoryAccessMode": Field.STORED,
    "Mode": Field.SERVED,
    "ModelDataUrl": Field.SERVED,
    "ModelDataSource": Field.REFUSED,
    "ModelDataSource.S3DataSource": Field.REFUSED,
    "ModelDataSource.S3DataSource.S3Uri": Field.SERVED,
    "ModelDataSource.S3DataSource.S3DataType": Field.SERVED,
    "ModelDataSource.S3DataSource.CompressionType": Field.SERVED,
    "AdditionalModelDataSources": Field.REFUSED,
    "Environment": Field.SERVED,
    "ModelPackageName": Field.REFUSED,
    "InferenceSpecificationName": Field.REFUSED,
    "MultiModelConfig": Field.REFUSED,
    "ContainerMetricsConfig": Field.REFUSED,
}
_CONTAINER_NOTES = {
    "ContainerHostname": "Names a container of a pipeline; one container needs no name.",
    "ImageConfig": "Clary pulls no image, so that there are no credentials to give.",
    "ImageConfig.RepositoryAccessMode": "Clary pulls no image: the tag selects the behaviour.",
    "ModelDataSource": "Only one archive is served: S3Object with Gzip.",
    "ModelDataSource.S3DataSource": "Only one archive is served: S3Object with Gzip.",
    "AdditionalModelDataSources": "Adapters come with a later release; put everything into one archive.",
    "ModelPackageName": "Model packages come with a later release; give Image and ModelDataUrl.",
    "InferenceSpecificationName": "Belongs to model packages, which come with a later release.",
    "MultiModelConfig": "Multi-model endpoints come with a later release; create one model for each.",
    "ContainerMetricsConfig": "Metrics of a container's own come with a later release.",
}


def _below(prefix: str, table: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in table.items()}


CREATE_FIELDS = {
    "ModelName": Field.SERVED,
    "PrimaryContainer": Field.SERVED,
    **_below("PrimaryContainer", _CONTAINER_FIELDS),
    "Containers": Field.SERVED,
    **_below("Containers[]", _CONTAINER_FIELDS),
    "InferenceExecutionConfig": Field.REFUSED,
    "ExecutionRoleArn": Field.SERVED,
    "Tags": Field.SERVED,
    "VpcConfig": Field.STORED,
    "EnableNetworkIsolation": Field.STORED,
}
CREATE_NOTES = {
    **_below("PrimaryContainer", _CONTAINER_NOTES),
    **_below("Containers[]", _CONTAINER_NOTES),
    "InferenceExecutionConfig": "Pipelines of several containers come with a later release.",
    "VpcConfig": "Models run on this machine, in its network.",
    "EnableNetworkIsolation": "Models are not yet cut off the network.",
}


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of models."""

    async def create_model(call: Call, members: Members) -> Members:
        spec = await _spec(desk, call, members)
        return {"ModelArn": await models.create(desk, caller_of(call), members["ModelName"], spec, tags_of(members))}

    async def describe_model(call: Call, members: Members) -> Members:
        return _described(await models.describe(desk, caller_of(call), members["ModelName"]))

    async def list_models(call: Call, members: Members) -> Members:
        found, more = await models.list_models(desk, caller_of(call), query_of(call, "ListModels", members))
        items = [
            {"ModelName": model.name, "ModelArn": model.arn, "CreationTime": instant(model.created_us)}
            for model in found
        ]
        return page_members(call, "ListModels", members, {"Models": items}, more)

    async def delete_model(call: Call, members: Members) -> Members:
        await models.remove(desk, caller_of(call), members["ModelName"])
        return {}

    name = {"ModelName": Field.SERVED}
    return (
        Operation("sagemaker", "CreateModel", create_model, CREATE_FIELDS, CREATE_NOTES),
        Operation("sagemaker", "DescribeModel", describe_model, name),
        Operation("sagemaker", "ListModels", list_models, NAMED_FIELDS),
        Operation("sagemaker", "DeleteModel", delete_model, name),
    )


async def _spec(desk: Desk, call: Call, members: Members) -> ModelSpec:
    primary, several = members.get("PrimaryContainer"), members.get("Containers") or []
    if primary is not None and several:
        raise Invalid("PrimaryContainer and Containers exclude each other; give one of them.")
    if len(several) > 1:
        raise NotServed(f"Field containers with {len(several)} entries (an inference pipeline)", "Give one container.")
    given_containers = several or ([primary] if primary is not None else [])
    return ModelSpec(
        containers=tuple([await _container(desk, call, container) for container in given_containers]),
        role_arn=members.get("ExecutionRoleArn", ""),
        listed=bool(several),
        vpc=vpc_of(members),
        network_isolation=members.get("EnableNetworkIsolation", False),
    )


async def _container(desk: Desk, call: Call, members: Members) -> Container:
    if members.get("Mode", "SingleModel") != "SingleModel":
        raise NotServed("Mode MultiModel (a multi-model endpoint)", "Create one model for each artifact.")
    if "Image" not in members:
        raise Invalid("Image is missing: Clary tells the runtime from the image of the container.")
    own = await images.find(desk, caller_of(call), members["Image"])
    image = parse_image(members["Image"]) if own is None else Image(SERVER, own.tag, own.repository)
    url, source = members.get("ModelDataUrl", ""), members.get("ModelDataSource")
    if source is not None:
        if url:
            raise Invalid("ModelDataUrl and ModelDataSource exclude each other; give one of them.")
        url = _source_url(source)
    return Container(
        image=members["Image"],
        runtime=image.runtime,
        image_tag=image.tag,
        model_data_url=url,
        data_source=source is not None,
        environment=dict(members.get("Environment", {})),
        hostname=members.get("ContainerHostname", ""),
        image_access=members.get("ImageConfig", {}).get("RepositoryAccessMode", ""),
        server=None if own is None else own.spec,
    )


def _source_url(source: Members) -> str:
    s3 = source.get("S3DataSource")
    if s3 is None:
        raise Invalid("ModelDataSource is empty; give its S3DataSource, or ModelDataUrl.")
    if (s3["S3DataType"], s3["CompressionType"]) != ("S3Object", "Gzip"):
        raise NotServed(
            f"ModelDataSource with S3DataType {s3['S3DataType']} and CompressionType {s3['CompressionType']}",
            "Give S3Object and Gzip: one model.tar.gz.",
        )
    return str(s3["S3Uri"])


def _described(model: models.Model) -> Members:
    spec = model.spec
    containers = [_container_members(container) for container in spec.containers]
    return given(
        ModelName=model.name,
        ModelArn=model.arn,
        PrimaryContainer=None if spec.listed else containers[0],
        Containers=containers if spec.listed else None,
        ExecutionRoleArn=spec.role_arn,
        VpcConfig=vpc_members(spec.vpc),
        CreationTime=instant(model.created_us),
        EnableNetworkIsolation=spec.network_isolation,
    )


def _container_members(container: Container) -> dict[str, Any]:
    source = {"S3Uri": container.model_data_url, "S3DataType": "S3Object", "CompressionType": "Gzip"}
    access = {"RepositoryAccessMode": container.image_access} if container.image_access else None
    return given(
        ContainerHostname=container.hostname,
        Image=container.image,
        ImageConfig=access,
        Mode="SingleModel",
        ModelDataUrl="" if container.data_source else container.model_data_url,
        ModelDataSource={"S3DataSource": source} if container.data_source else None,
        Environment=container.environment,
    )
