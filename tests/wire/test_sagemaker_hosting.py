"""Models, configurations and endpoints on the wire: whole answers, as snapshots.

Where a snapshot comes from stands beside it: aws-docs (API reference), public-issue (seen in public reports of the
service's answers), ours (Clary's own words).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from clary.edge.aws.resources.endpoints import HoldOptions, hold_s
from clary.reconcile.actions import Rules
from clary.reconcile.loop import LoopOptions
from tests.support.hosting import IMAGE, Host
from tests.support.placement import failed
from tests.support.wire import Wire, serving

ARN = "arn:aws:sagemaker:us-east-1:123456789012:"
ROLE = "arn:aws:iam::123456789012:role/Sage"
AT = 1_700_000_000
"""Seconds; where the virtual clock stands."""

CONTAINER = {"Image": IMAGE, "ModelDataUrl": "s3://models/m.tar.gz", "Environment": {"A": "1"}}
MODEL = {"ModelName": "My-Model", "PrimaryContainer": CONTAINER, "ExecutionRoleArn": ROLE}
VARIANT = {"VariantName": "A", "ModelName": "My-Model", "InitialInstanceCount": 2, "InstanceType": "ml.t3.medium"}
CONFIG = {"EndpointConfigName": "My-Config", "ProductionVariants": [VARIANT]}
ENDPOINT = {"EndpointName": "My-Endpoint", "EndpointConfigName": "My-Config"}


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    host = Host(tmp_path, options=LoopOptions(rules=Rules(drain_us=0)))
    host.source.put("models", "m.tar.gz", b"model")
    async with serving(host) as wire:
        yield wire
    host.close()


async def create(wire: Wire, *operations: str) -> None:
    inputs = {"CreateModel": MODEL, "CreateEndpointConfig": CONFIG, "CreateEndpoint": ENDPOINT}
    for operation in operations or inputs:
        status, answer = await wire.send(operation, inputs[operation])
        assert status == 200, answer


async def test_a_model(wire: Wire) -> None:
    # aws-docs: DescribeModel. Mode and Environment stand in the answer of the service whether given or not.
    assert await wire.send("CreateModel", MODEL) == (200, {"ModelArn": ARN + "model/my-model"})
    assert await wire.send("DescribeModel", {"ModelName": "my-MODEL"}) == (
        200,
        {
            "ModelName": "My-Model",
            "ModelArn": ARN + "model/my-model",
            "PrimaryContainer": {**CONTAINER, "Mode": "SingleModel"},
            "ExecutionRoleArn": ROLE,
            "CreationTime": AT,
            "EnableNetworkIsolation": False,
        },
    )
    summary = {"ModelName": "My-Model", "ModelArn": ARN + "model/my-model", "CreationTime": AT}
    assert await wire.send("ListModels", {}) == (200, {"Models": [summary]})
    assert await wire.send("DeleteModel", {"ModelName": "My-Model"}) == (200, None)
    assert await wire.send("ListModels", {}) == (200, {"Models": []})


async def test_a_model_is_described_the_way_it_was_created(wire: Wire) -> None:
    source = {"S3DataSource": {"S3Uri": "s3://b/k.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}}
    vpc = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]}
    container = {
        "ContainerHostname": "one",
        "Image": IMAGE,
        "ImageConfig": {"RepositoryAccessMode": "Platform"},
        "Mode": "SingleModel",
        "ModelDataSource": source,
    }
    given = {"ModelName": "m", "Containers": [container], "VpcConfig": vpc, "EnableNetworkIsolation": True}
    assert (await wire.send("CreateModel", given))[0] == 200
    _, described = await wire.send("DescribeModel", {"ModelName": "m"})
    assert described == {
        **given,
        "Containers": [{**container, "Environment": {}}],
        "ModelArn": ARN + "model/m",
        "CreationTime": AT,
    }


async def test_a_configuration(wire: Wire) -> None:
    # aws-docs: DescribeEndpointConfig; InitialVariantWeight defaults to 1.
    await create(wire, "CreateModel")
    assert await wire.send("CreateEndpointConfig", CONFIG) == (
        200,
        {"EndpointConfigArn": ARN + "endpoint-config/my-config"},
    )
    assert await wire.send("DescribeEndpointConfig", {"EndpointConfigName": "My-Config"}) == (
        200,
        {
            "EndpointConfigName": "My-Config",
            "EndpointConfigArn": ARN + "endpoint-config/my-config",
            "ProductionVariants": [{**VARIANT, "InitialVariantWeight": 1.0}],
            "CreationTime": AT,
        },
    )
    summary = {
        "EndpointConfigName": "My-Config",
        "EndpointConfigArn": ARN + "endpoint-config/my-config",
        "CreationTime": AT,
    }
    assert await wire.send("ListEndpointConfigs", {}) == (200, {"EndpointConfigs": [summary]})
    assert await wire.send("DeleteEndpointConfig", {"EndpointConfigName": "my-config"}) == (200, None)


async def test_what_is_stored_comes_back(wire: Wire) -> None:
    await create(wire, "CreateModel")
    variant = {
        **VARIANT,
        "InitialVariantWeight": 0.5,
        "VolumeSizeInGB": 30,
        "ModelDataDownloadTimeoutInSeconds": 600,
        "ContainerStartupHealthCheckTimeoutInSeconds": 120,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        "InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-2",
    }
    given = {
        **CONFIG,
        "ProductionVariants": [variant],
        "KmsKeyId": "alias/key",
        "ExecutionRoleArn": ROLE,
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        "EnableNetworkIsolation": False,
        "MetricsConfig": {
            "EnableEnhancedMetrics": True,
            "EnableDetailedObservability": False,
            "MetricPublishFrequencyInSeconds": 10,
        },
    }
    assert (await wire.send("CreateEndpointConfig", given))[0] == 200
    _, described = await wire.send("DescribeEndpointConfig", {"EndpointConfigName": "My-Config"})
    assert {name: value for name, value in described.items() if name in given} == given


async def test_an_endpoint_from_creating_to_gone(wire: Wire) -> None:
    # aws-docs: DescribeEndpoint. Before anything is deployed the service leaves ProductionVariants out.
    arn = ARN + "endpoint/my-endpoint"
    await create(wire, "CreateModel", "CreateEndpointConfig")
    assert await wire.send("CreateEndpoint", ENDPOINT) == (200, {"EndpointArn": arn})
    summary = {
        "EndpointName": "My-Endpoint",
        "EndpointArn": arn,
        "CreationTime": AT,
        "LastModifiedTime": AT,
        "EndpointStatus": "Creating",
    }
    described = {**summary, "EndpointConfigName": "My-Config"}
    assert await wire.send("DescribeEndpoint", {"EndpointName": "My-Endpoint"}) == (200, described)
    assert await wire.send("ListEndpoints", {}) == (200, {"Endpoints": [summary]})
    async with wire.host.reconciling():
        await wire.host.until_status("my-endpoint", "InService")
        _, serving_now = await wire.send("DescribeEndpoint", {"EndpointName": "my-endpoint"})
        variant = {
            "VariantName": "A",
            "DeployedImages": [{"SpecifiedImage": IMAGE, "ResolvedImage": IMAGE, "ResolutionTime": AT}],
            "CurrentWeight": 1.0,
            "DesiredWeight": 1.0,
            "CurrentInstanceCount": 2,
            "DesiredInstanceCount": 2,
        }
        assert serving_now == {
            **described,
            "EndpointStatus": "InService",
            "LastModifiedTime": serving_now["LastModifiedTime"],
            "ProductionVariants": [variant],
        }
        wire.host.placement.hold_stops = True
        assert await wire.send("DeleteEndpoint", {"EndpointName": "My-Endpoint"}) == (200, None)
        _, leaving = await wire.send("DescribeEndpoint", {"EndpointName": "My-Endpoint"})
        assert leaving["EndpointStatus"] == "Deleting"
        await wire.host.until(lambda: not wire.host.placement.specs)
        for uid in list(wire.host.placement.states):
            wire.host.placement.end(uid)
        await wire.host.until_gone("my-endpoint")
    assert await wire.send("ListEndpoints", {}) == (200, {"Endpoints": []})


async def test_a_failed_endpoint_tells_why(wire: Wire) -> None:
    wire.host.placement.become = failed("xgboost is not installed", "Install it with pip install 'clary[xgboost]'")
    await create(wire)
    async with wire.host.reconciling():
        await wire.host.until_status("my-endpoint", "Failed")
    _, described = await wire.send("DescribeEndpoint", {"EndpointName": "My-Endpoint"})
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"] == "xgboost is not installed. Install it with pip install 'clary[xgboost]'."


ERRORS = [
    # public-issue: aws/sagemaker-python-sdk 2112, hashicorp/terraform-provider-aws 40048 and 9383 of a user's project
    ("DescribeModel", {"ModelName": "Absent"}, f'Could not find model "{ARN}model/absent".'),
    ("DeleteModel", {"ModelName": "Absent"}, f'Could not find model "{ARN}model/absent".'),
    (
        "DescribeEndpointConfig",
        {"EndpointConfigName": "Absent"},
        f'Could not find endpoint configuration "{ARN}endpoint-config/absent".',
    ),
    ("DescribeEndpoint", {"EndpointName": "Absent"}, f'Could not find endpoint "{ARN}endpoint/absent".'),
    ("DeleteEndpoint", {"EndpointName": "Absent"}, f'Could not find endpoint "{ARN}endpoint/absent".'),
    ("CreateModel", MODEL, f'Cannot create already existing model "{ARN}model/my-model".'),
    (
        "CreateEndpointConfig",
        CONFIG,
        f'Cannot create already existing endpoint configuration "{ARN}endpoint-config/my-config".',
    ),
    ("CreateEndpoint", ENDPOINT, f'Cannot create already existing endpoint "{ARN}endpoint/my-endpoint".'),
    # public-issue: awslabs/stable-diffusion-aws-extension 342 (no delete while Creating or Updating)
    (
        "DeleteEndpoint",
        {"EndpointName": "My-Endpoint"},
        f'Cannot update in-progress endpoint "{ARN}endpoint/my-endpoint".',
    ),
    (
        "CreateEndpoint",
        {"EndpointName": "other", "EndpointConfigName": "Absent"},
        f'Could not find endpoint configuration "{ARN}endpoint-config/absent".',
    ),
    (
        "CreateEndpointConfig",
        {"EndpointConfigName": "other", "ProductionVariants": [{**VARIANT, "ModelName": "Absent"}]},
        f'Could not find model "{ARN}model/absent".',
    ),
]


async def test_exact_errors(wire: Wire) -> None:
    await create(wire)
    for operation, members, message in ERRORS:
        status, answer = await wire.send(operation, members)
        assert (status, answer["__type"], answer["message"]) == (400, "ValidationException", message)


def container(**change: Any) -> dict[str, Any]:
    return {"ModelName": "m", "PrimaryContainer": {**CONTAINER, **change}}


def variant(**change: Any) -> dict[str, Any]:
    kept = {name: value for name, value in {**VARIANT, **change}.items() if value is not None}
    return {"EndpointConfigName": "c", "ProductionVariants": [kept]}


S3 = {"S3Uri": "s3://b/k", "S3DataType": "S3Prefix", "CompressionType": "None"}
REFUSALS = [
    # ours
    ("CreateModel", {"ModelName": "m", "Containers": [CONTAINER] * 2}, "containers with 2 entries"),
    ("CreateModel", {"ModelName": "m", "Containers": [CONTAINER], "PrimaryContainer": CONTAINER}, "exclude each other"),
    ("CreateModel", {"ModelName": "m"}, "One of PrimaryContainer or Containers must be given"),
    ("CreateModel", container(Mode="MultiModel"), "Mode MultiModel"),
    ("CreateModel", container(Image="docker.io/library/nginx"), "docker.io/library/nginx"),
    ("CreateModel", {"ModelName": "m", "PrimaryContainer": {"ModelDataUrl": "s3://b/k"}}, "Image is missing"),
    ("CreateModel", {"ModelName": "m", "PrimaryContainer": {"Image": IMAGE}}, "ModelDataUrl is missing"),
    ("CreateModel", container(ModelDataSource={"S3DataSource": S3}), "exclude each other"),
    (
        "CreateModel",
        {"ModelName": "m", "PrimaryContainer": {"Image": IMAGE, "ModelDataSource": {"S3DataSource": S3}}},
        "S3DataType S3Prefix and CompressionType None",
    ),
    ("CreateModel", container(Environment={"A": "x" * 1025}), ""),
    ("CreateEndpointConfig", variant(InstanceType="ml.m5.tiny"), "ml.m5.tiny"),
    ("CreateEndpointConfig", variant(ModelName=None), "ModelName is missing in the production variant 'A'"),
    ("CreateEndpointConfig", variant(InitialInstanceCount=None), "InitialInstanceCount is missing"),
    ("CreateEndpointConfig", variant(RoutingConfig={"RoutingStrategy": "KV_AWARE"}), "RoutingStrategy KV_AWARE"),
    ("CreateEndpointConfig", variant(InitialVariantWeight=0), "no variant would get traffic"),
    (
        "CreateEndpointConfig",
        {**CONFIG, "MetricsConfig": {"MetricPublishFrequencyInSeconds": 20}},
        "is 20; valid values are 10, 30, 60, 120, 180, 240, 300",
    ),
    (
        "CreateEndpointConfig",
        {**CONFIG, "MetricsConfig": {"EnableDetailedObservability": True}},
        "MetricsConfig.EnableDetailedObservability",
    ),
    (
        "CreateEndpointConfig",
        variant(ServerlessConfig={"MemorySizeInMB": 1024, "MaxConcurrency": 1}),
        "erverlessConfig",
    ),
    (
        "CreateEndpoint",
        {**ENDPOINT, "DeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{}]}}},
        "An alarm of AutoRollbackConfiguration has no AlarmName.",
    ),
    ("CreateModel", {**MODEL, "Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "Duplicate tag keys"),
    ("ListTags", {"ResourceArn": ARN + "processing-job/x"}, "Tagging a processing-job"),
    ("ListEndpoints", {"NextToken": "forged"}, "NextToken is not valid"),
]


async def test_what_is_not_served_or_wrong_is_named(wire: Wire) -> None:
    await create(wire, "CreateModel")
    for operation, members, part in REFUSALS:
        status, answer = await wire.send(operation, members)
        assert (status, answer["__type"]) == (400, "ValidationException"), (operation, members, answer)
        assert part in answer["message"]


async def test_tags(wire: Wire) -> None:
    # aws-docs: AddTags answers with the tags of the resource.
    await create(wire, "CreateModel")
    arn = {"ResourceArn": ARN + "model/My-Model"}
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
    assert await wire.send("AddTags", {**arn, "Tags": tags}) == (200, {"Tags": tags})
    assert await wire.send("ListTags", arn) == (200, {"Tags": tags})
    assert await wire.send("DeleteTags", {**arn, "TagKeys": ["a"]}) == (200, {})
    assert await wire.send("ListTags", arn) == (200, {"Tags": tags[1:]})


async def test_pages_through_boto3(wire: Wire) -> None:
    await create(wire, "CreateModel")
    for index in range(25):
        await wire.send("CreateModel", {**MODEL, "ModelName": f"m-{index:02}"})

    def pages(client: Any) -> list[list[str]]:
        found = client.get_paginator("list_models").paginate(
            SortBy="Name", SortOrder="Ascending", NameContains="M-", PaginationConfig={"PageSize": 10}
        )
        return [[model["ModelName"] for model in page["Models"]] for page in found]

    found = await wire.threaded(pages)
    assert [len(page) for page in found] == [10, 10, 5]
    assert [name for page in found for name in page] == [f"m-{index:02}" for index in range(25)]


async def test_a_token_of_other_parameters_is_refused(wire: Wire) -> None:
    for index in range(3):
        await wire.send("CreateModel", {**MODEL, "ModelName": f"m-{index}"})
    _, page = await wire.send("ListModels", {"MaxResults": 1})
    token = {"NextToken": page["NextToken"]}
    assert (await wire.send("ListModels", {**token, "MaxResults": 2}))[0] == 200
    for other in ({"SortBy": "Name"}, {"NameContains": "m"}, {"SortOrder": "Ascending"}):
        assert (await wire.send("ListModels", {**token, **other}))[0] == 400
    assert (await wire.send("ListEndpointConfigs", token))[0] == 400


async def test_times_as_filters(wire: Wire) -> None:
    await create(wire, "CreateModel")
    at = datetime.fromtimestamp(AT, UTC)

    def count(client: Any, **query: Any) -> int:
        return len(client.list_models(**query)["Models"])

    assert await wire.threaded(lambda client: count(client, CreationTimeAfter=at)) == 1
    assert await wire.threaded(lambda client: count(client, CreationTimeBefore=at)) == 0


# -- Holding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "seconds"),
    [
        ("Boto3/1.40 md/Botocore#1.40 ua/2.1 os/linux m/Z,b,B,e cfg/retry-mode#legacy", 25.0),
        ("Boto3/1.40 md/Botocore#1.40 ua/2.1 os/linux m/B", 25.0),
        ("Boto3/1.40 md/Botocore#1.40 ua/2.1 os/linux m/Z,b,e", 5.0),
        ("Boto3/1.40 ua/2.1 exec-env/m/B", 5.0),
        ("aws-cli/2.15 md/Botocore m/AB,b", 5.0),
        ("", 5.0),
    ],
)
def test_a_waiter_is_told_by_its_user_agent(user_agent: str, seconds: float) -> None:
    assert hold_s(HoldOptions(), user_agent) == seconds
    assert hold_s(HoldOptions(long_poll=False), user_agent) == 0


async def test_boto3s_waiters_need_one_call_each(tmp_path: Path) -> None:
    host = Host(tmp_path, options=LoopOptions(rules=Rules(drain_us=0)))
    host.source.put("models", "m.tar.gz", b"model")

    def wait(name: str) -> Any:
        def run(client: Any) -> None:
            client.get_waiter(name).wait(EndpointName="My-Endpoint", WaiterConfig={"MaxAttempts": 2})

        return run

    async with serving(host, HoldOptions()) as wire:
        await create(wire)
        wire.called.clear()
        waiting = asyncio.ensure_future(wire.threaded(wait("endpoint_in_service")))
        await wire.called.wait()
        async with host.reconciling():
            await waiting
            await wire.threaded(lambda client: client.delete_endpoint(EndpointName="My-Endpoint"))
            await wire.threaded(wait("endpoint_deleted"))
        agents = [agent for name, agent in wire.calls if name == "DescribeEndpoint"]
        assert len(agents) == 2, "one round trip a waiter: a second would have slept 30 s first"
        assert all(hold_s(HoldOptions(), agent) == 25.0 for agent in agents)
    host.close()


async def test_a_failed_endpoint_ends_the_waiter(tmp_path: Path) -> None:
    host = Host(tmp_path)
    async with serving(host, HoldOptions()) as wire:
        host.source.put("models", "other.tar.gz", b"")
        await create(wire)
        async with host.reconciling():
            with pytest.raises(botocore.exceptions.WaiterError, match=r'terminal failure state.*"Failed"'):
                await wire.threaded(lambda client: client.get_waiter("endpoint_in_service").wait(
                    EndpointName="My-Endpoint"
                ))  # fmt: skip
    host.close()
