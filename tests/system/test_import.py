"""A twin of an endpoint in AWS: read from answers of the account's services, running on a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest
from botocore.model import Shape
from botocore.validate import ParamValidator

from clary.cli.exit_codes import Exit
from tests.support.model import ROW, expected, pack, packed_regressor, regressor
from tests.support.scripted import Asked, Scripted, scripting
from tests.support.server import Server
from tests.system.test_cli import document

ANSWERS = Path(__file__).parent / "data" / "aws-endpoint"
OBJECTS = {
    "/fraud-artifacts/train-7/output/model.tar.gz": packed_regressor(seed=0),
    "/fraud-artifacts/package-4/xgboost-model": bytes(regressor(seed=5).save_raw("ubj")),
    "/fraud-artifacts/package-4/": b"",
}
LISTED = b"""<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>package-4/</Key></Contents>
<Contents><Key>package-4/xgboost-model</Key></Contents></ListBucketResult>"""


def recorded(name: str) -> dict[str, Any]:
    return json.loads((ANSWERS / f"{name}.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def account() -> Iterator[Scripted]:
    """The account's services."""
    with scripting() as aws:
        for operation in ("DescribeEndpoint", "DescribeEndpointConfig", "DescribeModelPackage"):
            aws.say(operation, 200, recorded(operation))

        def model(asked: Asked) -> tuple[int, dict[str, str], bytes]:
            return 200, {}, json.dumps(recorded(f"DescribeModel.{asked.members['ModelName']}")).encode()

        aws.answers["DescribeModel"] = model
        for path, content in OBJECTS.items():
            aws.say(f"GET {path}", 200, content or b"\n")
        aws.say("GET /fraud-artifacts", 200, LISTED, content_type="application/xml")
        yield aws


def run(server: Server | None, aws: Scripted, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
    home = {"CLARY_HOME": str(server.home)} if server else {}
    argv = ["import", "--aws-region", "eu-west-1", "--aws-endpoint-url", aws.url, *more]
    return subprocess.run(
        [sys.executable, "-m", "clary.cli.main", *argv],
        env={**clean, "AWS_CONFIG_FILE": "/dev/null", **keys, **home, **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("path", sorted(ANSWERS.glob("*.json")), ids=lambda path: path.stem)
def test_the_answers_have_the_services_own_shapes(path: Path) -> None:
    model = botocore.session.Session().get_service_model("sagemaker")
    shape = model.operation_model(path.stem.partition(".")[0]).output_shape
    report = ParamValidator().validate(_typed(recorded(path.stem), shape), shape)
    assert not report.has_errors(), report.generate_report()


def _typed(value: Any, shape: Shape) -> Any:
    """JSON's instants as botocore has them."""
    if shape.type_name == "timestamp":
        return datetime.fromtimestamp(value, UTC)
    if shape.type_name == "structure":
        return {k: _typed(v, shape.members[k]) for k, v in value.items()}  # type: ignore[attr-defined]
    if shape.type_name == "list":
        return [_typed(one, shape.member) for one in value]  # type: ignore[attr-defined]
    return value


def test_a_running_twin(server: Server, account: Scripted) -> None:
    made = document(run(server, account, "--from-aws", "Fraud-Scores", "--json"))
    assert made["url"] == f"{server.url}/endpoints/Fraud-Scores/invocations"
    variants: Any = made["variants"]
    assert [(v["variant"], v["weight"], v["instances"]) for v in variants] == [("blue", 0.75, 1), ("green", 0.25, 1)]
    assert made["left_out"] == [
        "DataCaptureConfig", "KmsKeyId", "VpcConfig of the model fraud-xgb",
        "EnableNetworkIsolation of the model fraud-xgb", "ManagedInstanceScaling of the variant blue",
        "ServerlessConfig of the variant green",
    ]  # fmt: skip
    for variant, seed in (("blue", 0), ("green", 5)):
        assert float(server.invoke("Fraud-Scores", ROW, TargetVariant=variant)) == expected(regressor(seed), ROW)[0]

    sagemaker = server.client("sagemaker")
    config_name = sagemaker.describe_endpoint(EndpointName="fraud-scores")["EndpointConfigName"]
    blue, green = sagemaker.describe_endpoint_config(EndpointConfigName=config_name)["ProductionVariants"]
    assert blue["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    assert blue["ContainerStartupHealthCheckTimeoutInSeconds"] == 300
    assert (blue["InstanceType"], green["InstanceType"]) == ("ml.c5.xlarge", "ml.t3.medium")
    model = sagemaker.describe_model(ModelName=blue["ModelName"])
    assert model["ExecutionRoleArn"] == "arn:aws:iam::111122223333:role/fraud"
    assert model["PrimaryContainer"]["Environment"] == {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}

    again = run(server, account, "--from-aws", "Fraud-Scores")
    assert again.returncode == Exit.REFUSED

    gone = subprocess.run(
        [sys.executable, "-m", "clary.cli.main", "delete", "Fraud-Scores", "--yes", "--json"],
        env={**os.environ, "CLARY_HOME": str(server.home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    kinds = [thing["kind"] for thing in json.loads(gone.stdout)["deleted"]]
    assert kinds == ["endpoint", "config", "model", "artifact", "model", "artifact"]


def test_only_describes_and_reads_reach_the_account(account: Scripted) -> None:
    done = run(None, account, "--from-aws", "Fraud-Scores", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "blue: sagemaker-xgboost:1.7-1, s3://fraud-artifacts/train-7/output/model.tar.gz" in done.stderr
    assert "1 x ml.c5.xlarge (3 in AWS)" in done.stderr
    assert "Not carried over: DataCaptureConfig, KmsKeyId" in done.stderr
    assert all(name.startswith("Describe") for name in account.operations)
    assert all("AKIAIOSFODNN7EXAMPLE" in asked.headers["authorization"] for asked in account.asked)


def test_code_of_script_mode_comes_along_and_is_taken_back_on_a_refusal(server: Server, account: Scripted) -> None:
    described = recorded("DescribeModel.fraud-xgb")
    described["PrimaryContainer"]["Image"] = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/own-image:1"
    described["PrimaryContainer"]["Environment"] = {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://code/source.tar.gz"}
    account.say("DescribeModel", 200, described)
    account.say("GET /code/source.tar.gz", 200, pack({"inference.py": b""}))
    refused = run(server, account, "--from-aws", "Fraud-Scores", "--name", "own")
    assert refused.returncode == Exit.REFUSED
    assert "own-image" in refused.stderr
    assert "GET /code/source.tar.gz" in account.operations
    s3 = server.client("s3")
    assert "Contents" not in s3.list_objects_v2(Bucket="sagemaker-us-east-1-123456789012", Prefix="clary/own/")
    assert not server.client("sagemaker").list_models(NameContains="own")["Models"]


@pytest.mark.parametrize(
    ("operation", "status", "code", "message", "exit_code"),
    [
        ("DescribeEndpoint", 400, "ValidationException", "Could not find endpoint", Exit.NOT_FOUND),
        ("DescribeEndpointConfig", 400, "AccessDeniedException", "not authorized", Exit.DENIED),
    ],
)
def test_a_refusal_of_the_account_is_told(
    account: Scripted, operation: str, status: int, code: str, message: str, exit_code: Exit
) -> None:
    account.say(operation, status, {"__type": code, "message": message})
    done = run(None, account, "--from-aws", "none", "--dry-run")
    assert done.returncode == exit_code
    assert message in done.stderr


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "CLARYBQRUS53JFMYXFWQ"}, "keys of a Clary server"),
        ({"AWS_PROFILE": "none"}, "The config profile (none) could not be found"),
    ],
)
def test_wrong_credentials_are_told(account: Scripted, env: dict[str, str], said: str) -> None:
    done = run(None, account, "--from-aws", "Fraud-Scores", **env)
    assert done.returncode == Exit.USAGE
    assert said in done.stderr
    assert not account.asked


def test_a_pipeline_has_no_twin_yet(account: Scripted) -> None:
    described = recorded("DescribeModel.fraud-xgb")
    described["Containers"] = [described.pop("PrimaryContainer")] * 2
    account.say("DescribeModel", 200, described)
    done = run(None, account, "--from-aws", "Fraud-Scores", "--dry-run")
    assert done.returncode == Exit.REFUSED
    assert "pipeline of 2 containers" in done.stderr


def test_lists_longer_than_a_page_are_read_whole(server: Server, account: Scripted) -> None:
    def listed(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if "continuation-token" in parse_qs(urlsplit(asked.path).query):
            return 200, {}, LISTED
        first = b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        return 200, {}, first + b"</ListBucketResult>"

    account.answers["GET /fraud-artifacts"] = listed
    document(run(server, account, "--from-aws", "Fraud-Scores", "--name", "paged", "--json"))
    assert float(server.invoke("paged", ROW, TargetVariant="green")) == expected(regressor(5), ROW)[0]
