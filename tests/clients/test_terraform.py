"""The calls of Terraform's aws_sagemaker_model, _endpoint_configuration and _endpoint, and what the provider matches.

From the provider's source (hashicorp/terraform-provider-aws, internal/service/sagemaker: model.go, endpoint.go,
endpoint_configuration.go, find.go): each create is followed by a read and ListTags; a resource is gone where a
ValidationException contains the texts below; an endpoint that is Deleting counts as gone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.model import pack
from tests.support.server import IMAGE, ROLE, Server

SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
TAGS = [{"Key": "made-by", "Value": "terraform"}]
UNIQUE = "terraform-20260101120000000000000001"
"""What the provider calls a resource without a name."""


@pytest.fixture
def sagemaker(server: Server) -> Any:
    return server.client("sagemaker")


def refusal(call: Callable[..., Any], **members: Any) -> tuple[str, str]:
    """Code and message of a refused call."""
    with pytest.raises(ClientError) as refused:
        call(**members)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def tags_of(sagemaker: Any, arn: str) -> list[dict[str, str]]:
    """All tags of a resource, page by page."""
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return [tag for page in pages for tag in page["Tags"]]


def model(sagemaker: Any, name: str, url: str) -> str:
    """resourceModelCreate and its read."""
    sagemaker.create_model(
        ModelName=name,
        Tags=TAGS,
        ExecutionRoleArn=ROLE,
        EnableNetworkIsolation=False,
        PrimaryContainer={"Image": IMAGE, "Mode": "SingleModel", "ModelDataUrl": url, "Environment": {"A": "b"}},
    )
    read = sagemaker.describe_model(ModelName=name)
    assert (read["ModelName"], read["ExecutionRoleArn"], read["EnableNetworkIsolation"]) == (name, ROLE, False)
    container = read["PrimaryContainer"]
    assert (container["Image"], container["Mode"], container["ModelDataUrl"]) == (IMAGE, "SingleModel", url)
    assert container["Environment"] == {"A": "b"}
    assert not read.get("Containers")
    assert "VpcConfig" not in read
    assert "InferenceExecutionConfig" not in read
    assert tags_of(sagemaker, read["ModelArn"]) == TAGS
    return str(read["ModelArn"])


def configuration(sagemaker: Any, name: str, of: str) -> None:
    """resourceEndpointConfigurationCreate and its read: what is read back must be what was planned, or the next plan
    would replace it."""
    variant = {
        "ModelName": of,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.t2.medium",
        "VariantName": "variant-1",
        "InitialVariantWeight": 1.0,
        "EnableSSMAccess": False,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, Tags=TAGS, ProductionVariants=[variant])
    read = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    [found] = read["ProductionVariants"]
    assert {key: found.get(key, False) for key in variant} == variant
    assert not {"VolumeSizeInGB", "AcceleratorType", "ServerlessConfig", "CoreDumpConfig"} & set(found)
    assert not {"KmsKeyId", "DataCaptureConfig", "AsyncInferenceConfig"} & set(read)
    assert not read.get("ShadowProductionVariants")
    assert tags_of(sagemaker, read["EndpointConfigArn"]) == TAGS


def endpoint(sagemaker: Any, name: str) -> dict[str, Any]:
    """The waiter that follows each create and update, and the read."""
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    read = sagemaker.describe_endpoint(EndpointName=name)
    assert "LastDeploymentConfig" not in read, "none was given: a plan would show a difference"
    assert tags_of(sagemaker, read["EndpointArn"]) == TAGS
    return dict(read)


def test_apply_plan_change_and_destroy(server: Server, sagemaker: Any, regressor: Path) -> None:
    s3 = server.client("s3")
    s3.create_bucket(Bucket="terraform")
    s3.upload_file(str(regressor), "terraform", "model.tar.gz")
    assert server.client("sts").get_caller_identity()["Account"] == "123456789012"

    # apply: model, configuration, endpoint
    arn = model(sagemaker, UNIQUE, "s3://terraform/model.tar.gz")
    configuration(sagemaker, "one", UNIQUE)
    sagemaker.create_endpoint(EndpointName="tf", EndpointConfigName="one", Tags=TAGS)
    assert endpoint(sagemaker, "tf")["EndpointConfigName"] == "one"

    # a change of the configuration: the new one is created first, the endpoint updated, the old one deleted
    configuration(sagemaker, "two", UNIQUE)
    sagemaker.update_endpoint(EndpointName="tf", EndpointConfigName="two")
    assert endpoint(sagemaker, "tf")["EndpointConfigName"] == "two"
    sagemaker.delete_endpoint_config(EndpointConfigName="one")

    # a change of tags: what is new or different is added, what is gone removed
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["made-by"])
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "risk"}])
    assert tags_of(sagemaker, arn) == [{"Key": "team", "Value": "risk"}]

    # destroy: endpoint, configuration, model; each is gone after that
    sagemaker.delete_endpoint(EndpointName="tf")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="tf", WaiterConfig={"Delay": 1})
    sagemaker.delete_endpoint_config(EndpointConfigName="two")
    sagemaker.delete_model(ModelName=UNIQUE)
    assert sagemaker.list_models()["Models"] == []


def test_what_is_not_there_is_said_in_the_words_that_the_provider_matches(sagemaker: Any) -> None:
    for call, members, words in (
        (sagemaker.describe_model, {"ModelName": "none"}, "Could not find model"),
        (sagemaker.delete_model, {"ModelName": "none"}, "Could not find model"),
        (sagemaker.describe_endpoint_config, {"EndpointConfigName": "none"}, "Could not find endpoint configuration"),
        (sagemaker.delete_endpoint_config, {"EndpointConfigName": "none"}, "Could not find endpoint configuration"),
        (sagemaker.describe_endpoint, {"EndpointName": "none"}, "Could not find endpoint"),
        (sagemaker.delete_endpoint, {"EndpointName": "none"}, "Could not find endpoint"),
        (
            sagemaker.update_endpoint,
            {"EndpointName": "none", "EndpointConfigName": "none"},
            "Could not find endpoint",
        ),
    ):
        code, message = refusal(call, **members)
        assert code == "ValidationException"
        assert words in message


SLOW = """
import pathlib
import time


def model_fn(model_dir):
    while not pathlib.Path({gate!r}).exists():
        time.sleep(0.01)
    return None
"""


def test_an_endpoint_in_progress_is_neither_updated_nor_deleted(server: Server, sagemaker: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    archive = pack({"model.joblib": b"", "code/inference.py": SLOW.format(gate=str(gate)).encode()})
    server.host("busy", archive, image=SKLEARN, wait=False)
    for call, members in (
        (sagemaker.update_endpoint, {"EndpointName": "busy", "EndpointConfigName": "busy"}),
        (sagemaker.delete_endpoint, {"EndpointName": "busy"}),
    ):
        code, message = refusal(call, **members)
        assert code == "ValidationException"
        assert message.startswith("Cannot update in-progress endpoint")
        assert sagemaker.describe_endpoint(EndpointName="busy")["EndpointArn"] in message
    gate.touch()
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="busy", WaiterConfig={"Delay": 1})
    code, message = refusal(sagemaker.create_endpoint, EndpointName="busy", EndpointConfigName="busy")
    assert code == "ValidationException"
    assert message.startswith("Cannot create already existing endpoint")
    sagemaker.delete_endpoint(EndpointName="busy")
    assert refusal_or_status(sagemaker, "busy") in ("Deleting", "Could not find endpoint"), "both count as gone"


def refusal_or_status(sagemaker: Any, name: str) -> str:
    try:
        return str(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])
    except ClientError as error:
        return str(error.response["Error"]["Message"])[: len("Could not find endpoint")]
