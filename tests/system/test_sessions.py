"""Temporary credentials through real boto3, on a server that verifies its callers; routers alone verify them too."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from tests.support.model import ROW
from tests.support.server import ROLE, Server

NOBODY = {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("home"), "--auth", "sigv4") as running:
        yield running


def client(server: Server, service: str, credentials: dict[str, Any]) -> Any:
    return boto3.client(
        service,
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


def test_a_session_reaches_every_service_and_invokes_while_control_is_away(guarded: Server, regressor: Path) -> None:
    guarded.host("by-session", regressor.read_bytes())
    made = guarded.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="notebook")
    held = made["Credentials"]
    identity = client(guarded, "sts", held).get_caller_identity()
    assert identity["Arn"] == made["AssumedRoleUser"]["Arn"] == "arn:aws:sts::123456789012:assumed-role/any/notebook"
    assert identity["UserId"] == made["AssumedRoleUser"]["AssumedRoleId"]
    assert client(guarded, "sagemaker", held).list_models()["Models"]
    assert client(guarded, "s3", held).head_object(Bucket="by-session", Key="model.tar.gz")

    control = psutil.Process(guarded.pid_of("clary.assembly"))
    control.send_signal(signal.SIGSTOP)
    try:
        runtime = client(guarded, "sagemaker-runtime", held)
        answer = runtime.invoke_endpoint(EndpointName="by-session", Body=ROW, ContentType="text/csv")
        assert float(answer["Body"].read())
        stranger = client(guarded, "sagemaker-runtime", {**held, "SessionToken": "A" * 356})
        with pytest.raises(ClientError) as refused:
            stranger.invoke_endpoint(EndpointName="by-session", Body=ROW, ContentType="text/csv")
        assert refused.value.response["Error"]["Code"] in NOBODY
    finally:
        control.send_signal(signal.SIGCONT)
    guarded.client("sagemaker").delete_endpoint(EndpointName="by-session")


@pytest.mark.parametrize(("service", "call"), [("sts", "get_caller_identity"), ("s3", "list_buckets")])
def test_a_token_without_its_secret_or_of_nobody_is_refused(guarded: Server, service: str, call: str) -> None:
    held = guarded.client("sts").get_session_token()["Credentials"]
    assert getattr(client(guarded, service, held), call)()
    for wrong in ({"SecretAccessKey": "x" * 40}, {"SessionToken": "AAAA" * 90}, {"AccessKeyId": "CLAST" + "A" * 15}):
        with pytest.raises(ClientError) as refused:
            getattr(client(guarded, service, {**held, **wrong}), call)()
        assert refused.value.response["Error"]["Code"] in NOBODY | {"SignatureDoesNotMatch"}
