"""Temporary credentials through real boto3, on a server that verifies its callers; routers alone verify them too."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from clary.store.seal import load_seal
from clary.store.sessions import Session, Sessions, new_key_pair
from tests.support.model import ROW
from tests.support.server import IMAGE, ROLE, Server, wait_until

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


def test_an_ended_session_is_told_so_by_every_service(guarded: Server) -> None:
    root = json.loads((guarded.home / "secrets" / "root.json").read_text())
    sessions = Sessions(load_seal(guarded.home / "secrets" / "kek").derive("sessions"))
    key_id, secret = new_key_pair()
    over = Session(
        key_id, secret, root["account"], root["arn"], "id", expires_s=round(time.time()) - 1, parent=root["key_id"]
    )
    held = {"AccessKeyId": key_id, "SecretAccessKey": secret, "SessionToken": sessions.seal(over)}
    calls = {
        "ExpiredToken": (client(guarded, "sts", held).get_caller_identity, client(guarded, "s3", held).list_buckets),
        "ExpiredTokenException": (
            client(guarded, "sagemaker", held).list_models,
            lambda: client(guarded, "sagemaker-runtime", held).invoke_endpoint(EndpointName="e", Body=b""),
        ),
    }
    for code, tried in calls.items():
        for call in tried:
            with pytest.raises(ClientError) as refused:
                call()
            assert refused.value.response["Error"]["Code"] == code


def test_sessions_end_with_the_key_that_made_them_and_bear_its_name_in_the_audit(guarded: Server) -> None:
    clary = [sys.executable, "-m", "clary.cli.main", "keys"]
    home = ["--home", str(guarded.home)]
    made = subprocess.run([*clary, "create", "ann", "--json", *home], check=True, capture_output=True)
    key = json.loads(made.stdout)
    ann = {"AccessKeyId": key["key_id"], "SecretAccessKey": key["secret"], "SessionToken": None}
    held = client(guarded, "sts", ann).assume_role(RoleArn=ROLE, RoleSessionName="night-job")["Credentials"]
    client(guarded, "sagemaker", held).create_model(
        ModelName="audited", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://b/k"}
    )
    with sqlite3.connect(f"file:{guarded.home}/clary.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT principal_arn, session FROM audit WHERE action = 'CreateModel'").fetchall()
    database.close()
    assert ("arn:aws:sts::123456789012:assumed-role/any/night-job", "night-job") in rows
    subprocess.run([*clary, "revoke", key["key_id"], *home], check=True, capture_output=True)

    def refused() -> bool:
        try:
            client(guarded, "sagemaker", held).list_models()
        except ClientError as error:
            return error.response["Error"]["Code"] == "UnrecognizedClientException"
        return False

    wait_until(refused, "the session has ended with its key")
