"""Hosting through real boto3: create, wait, invoke, delete."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.support import model
from tests.support.model import ROW, expected, pack
from tests.support.server import IMAGE, ROLE, Server, wait_until

REGRESSOR = model.regressor()


def code_and_text(error: ClientError) -> tuple[str, str]:
    return error.response["Error"]["Code"], error.response["Error"]["Message"]


def test_a_model_is_hosted_answers_as_itself_and_is_gone_after_deletion(server: Server, regressor: Path) -> None:
    server.host("whole-life", regressor.read_bytes())
    sagemaker = server.client("sagemaker")
    seen = sagemaker.describe_endpoint(EndpointName="whole-life")
    assert seen["EndpointStatus"] == "InService"
    assert seen["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    answer = server.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="whole-life", Body=f"{ROW}\n{ROW}", ContentType="text/csv"
    )
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["ContentType"].startswith("text/csv")
    values = [float(line) for line in answer["Body"].read().split()]
    assert values == expected(REGRESSOR, f"{ROW}\n{ROW}")

    sagemaker.delete_endpoint(EndpointName="whole-life")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="whole-life")
    with pytest.raises(ClientError) as refused:
        server.invoke("whole-life", ROW)
    assert code_and_text(refused.value) == (
        "ValidationError",
        "Endpoint whole-life of account 123456789012 not found.",
    )
    wait_until(lambda: not server.pids_of("clary: worker"), "no worker is left")


def test_serving_goes_on_when_model_configuration_and_bucket_are_deleted(server: Server, regressor: Path) -> None:
    server.host("pinned", regressor.read_bytes())
    sagemaker, s3 = server.client("sagemaker"), server.client("s3")
    sagemaker.delete_endpoint_config(EndpointConfigName="pinned")
    sagemaker.delete_model(ModelName="pinned")
    s3.delete_object(Bucket="pinned", Key="model.tar.gz")
    s3.delete_bucket(Bucket="pinned")
    assert float(server.invoke("pinned", ROW)) == expected(REGRESSOR, ROW)[0]
    sagemaker.delete_endpoint(EndpointName="pinned")


def test_of_fifty_parallel_creates_of_one_name_exactly_one_wins(server: Server) -> None:
    def create(_: int) -> str:
        try:
            server.client("sagemaker", retries={"total_max_attempts": 1}).create_model(
                ModelName="contested",
                ExecutionRoleArn=ROLE,
                PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://none/model.tar.gz"},
            )
        except ClientError as error:
            return code_and_text(error)[1]
        return "won"

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(create, range(50)))
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model/contested"
    assert sorted(results) == [f'Cannot create already existing model "{arn}".'] * 49 + ["won"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"xgboost-model": b"this is no model"}, "xgboost-model"),
        ({}, "holds no file"),
        ({"a": b"1", "b": b"2"}, "a"),
    ],
)
def test_a_bad_artifact_fails_in_seconds_with_cause_and_remedy(
    server: Server, files: dict[str, bytes], says: str
) -> None:
    name = f"bad-{len(files)}-{says[0]}"
    started = time.monotonic()
    server.host(name, pack(files), wait=False)
    sagemaker = server.client("sagemaker")
    seen = wait_until(
        lambda: (d := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] != "Creating" and d, "an end"
    )
    assert seen["EndpointStatus"] == "Failed"
    assert says in seen["FailureReason"]
    assert time.monotonic() - started < 15
    sagemaker.delete_endpoint(EndpointName=name)


def test_a_missing_artifact_names_its_url(server: Server, regressor: Path) -> None:
    server.client("s3").create_bucket(Bucket="hollow")
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName="hollow",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://hollow/absent.tar.gz"},
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="hollow",
        ProductionVariants=[
            {"VariantName": "a", "ModelName": "hollow", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        ],
    )
    sagemaker.create_endpoint(EndpointName="hollow", EndpointConfigName="hollow")
    seen = sagemaker.describe_endpoint(EndpointName="hollow")
    assert seen["EndpointStatus"] == "Failed"
    assert "s3://hollow/absent.tar.gz" in seen["FailureReason"]
    sagemaker.delete_endpoint(EndpointName="hollow")


def test_a_wrong_width_is_the_models_own_error(server: Server, regressor: Path) -> None:
    server.host("narrow", regressor.read_bytes())
    with pytest.raises(ClientError) as refused:
        server.invoke("narrow", "1,2,3,4,5,6,7,8,9")
    assert refused.value.response["Error"]["Code"] == "ModelError"
    assert refused.value.response["OriginalStatusCode"] == 400
    assert "Unable to evaluate payload provided" in refused.value.response["OriginalMessage"]
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    with pytest.raises(ClientError) as refused:
        server.invoke("narrow", ROW, TargetModel="a.tar.gz")
    assert code_and_text(refused.value) == (
        "ValidationError",
        "Endpoint narrow is not a multi-model endpoint and does not support target model header.",
    )
    server.client("sagemaker").delete_endpoint(EndpointName="narrow")
