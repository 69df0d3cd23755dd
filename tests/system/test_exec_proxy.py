"""`clary exec --proxy --role`: code that names no endpoint and no server finds a real one, with and without --auth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.model import packed_regressor
from tests.support.server import Server

CALLS = """
import os, sys
from pathlib import Path

import boto3
from botocore.exceptions import ClientError, ProxyConnectionError

assert "AWS_ENDPOINT_URL" not in os.environ
assert boto3.client("sts", endpoint_url="https://sts.amazonaws.com").get_caller_identity()["Arn"].endswith(
    ":assumed-role/notebook/SageMaker"
)
s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
assert sagemaker.meta.endpoint_url == "https://api.sagemaker.us-east-1.amazonaws.com"
for bucket in ("plain-bucket", "my.dotted.bucket"):
    s3.create_bucket(Bucket=bucket)
    for key in ("model.tar.gz", "a//b/../c d+e'(1)%2F~\\u00fc"):
        s3.upload_file(sys.argv[1], bucket, key)
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == Path(sys.argv[1]).read_bytes()
sagemaker.create_model(
    ModelName="m",
    ExecutionRoleArn="arn:aws:iam::123456789012:role/notebook",
    PrimaryContainer={
        "Image": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
        "ModelDataUrl": "s3://plain-bucket/model.tar.gz",
    },
)
variant = {"VariantName": "a", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
sagemaker.create_endpoint_config(EndpointConfigName="m", ProductionVariants=[variant])
sagemaker.create_endpoint(EndpointName="m", EndpointConfigName="m")
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="m")
said = boto3.client("sagemaker-runtime").invoke_endpoint(EndpointName="m", ContentType="text/csv", Body="1,2,3,4")
float(said["Body"].read())
sagemaker.delete_endpoint(EndpointName="m")
assert boto3.client("iam").list_roles()["Roles"] == []
for ask in (boto3.client("ecr").describe_repositories, boto3.client("secretsmanager").list_secrets):
    try:
        ask()
    except ProxyConnectionError:
        continue
    raise AssertionError("a service that is not served was answered")
print("done")
"""


@pytest.mark.parametrize("auth", ["none", "sigv4"])
def test_code_that_names_no_endpoint_is_served(tmp_path: Path, auth: str) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(packed_regressor())
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    home = tmp_path / "home"
    home.mkdir()
    with Server(home, "--auth", auth) as server:
        command = [sys.executable, "-m", "clary.cli.main", "exec", "--home", str(server.home), "--proxy"]
        command += ["--role", "notebook", "--", "env", "-u", "AWS_ENDPOINT_URL", sys.executable, "-c", CALLS]
        done = subprocess.run([*command, str(archive)], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
    assert done.stderr.splitlines() == [
        "clary exec --proxy refused api.ecr.us-east-1.amazonaws.com: Clary does not serve it.",
        "clary exec --proxy refused secretsmanager.us-east-1.amazonaws.com: Clary does not serve it.",
    ]
