"""Servers of one's own through `clary images add` and real boto3: contract, errors, streams, crashes, failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import ROLE, Server, wait_until

SCRIPT = Path(__file__).parents[1] / "support" / "own_server.py"


def add(server: Server, name: str, *more: str, arguments: str = "") -> str:
    command = f"{sys.executable} {SCRIPT} {arguments}"
    argv = [sys.executable, "-m", "clary.cli.main", "images", "add", name, "--command", command, "--json", *more]
    done = subprocess.run([*argv, "--home", str(server.home)], capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["uri"])


def host(server: Server, name: str, image: str, **container: Any) -> Any:
    """Model, configuration and endpoint; the endpoint as described once it has settled."""
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": image, **container}
    )  # fmt: skip
    variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return wait_until(
        lambda: (d := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] != "Creating" and d, "an end"
    )


def invoke(server: Server, name: str, body: bytes, **more: Any) -> Any:
    runtime = server.client("sagemaker-runtime", retries={"total_max_attempts": 1})
    return runtime.invoke_endpoint(EndpointName=name, Body=body, **more)


def test_the_containers_contract(server: Server) -> None:
    uri = add(server, "own", "--env", "MODE=image", "--env", "LEVEL=image")
    assert host(server, "own", uri, Environment={"LEVEL": "model"})["EndpointStatus"] == "InService"
    answer = invoke(server, "own", b"1,2", ContentType="text/csv", Accept="application/json", CustomAttributes="a=1")
    assert (answer["ContentType"], answer["CustomAttributes"]) == ("application/json", "seen")
    seen = json.loads(answer["Body"].read())
    assert (seen["path"], seen["body"]) == ("/invocations", "1,2")
    given = {name.lower(): value for name, value in seen["headers"].items()}
    assert (given["content-type"], given["accept"]) == ("text/csv", "application/json")
    assert given["x-amzn-sagemaker-custom-attributes"] == "a=1"
    assert (seen["env"]["MODE"], seen["env"]["LEVEL"]) == ("image", "model")
    assert not [name for name in seen["env"] if name.startswith("CLARY_")]
    assert json.loads((server.home / "secrets" / "root.json").read_text())["secret"] not in json.dumps(seen["env"])
    # boto3 in it is the model's role.
    arn = invoke(server, "own", b"who")["Body"].read().decode()
    assert arn == "arn:aws:sts::123456789012:assumed-role/any/own"


def test_errors_streams_and_a_crash(server: Server) -> None:
    with pytest.raises(ClientError) as refused:
        invoke(server, "own", b"teapot")
    assert refused.value.response["OriginalStatusCode"] == 418
    assert refused.value.response["OriginalMessage"] == "short and stout"
    runtime = server.client("sagemaker-runtime")
    stream = runtime.invoke_endpoint_with_response_stream(EndpointName="own", Body=b"stream")["Body"]
    assert b"".join(event["PayloadPart"]["Bytes"] for event in stream) == b"one two three"
    with pytest.raises(ClientError) as died:
        invoke(server, "own", b"die")
    assert died.value.response["Error"]["Code"] == "ModelError"

    def back() -> bool:
        try:
            return bool(invoke(server, "own", b"again")["Body"].read())
        except ClientError:
            return False

    wait_until(back, "the server is started anew")
    (log,) = (server.home / "logs" / "endpoints").glob("*/v/*.log")
    assert "The command exited with status 3. The worker ends." in log.read_text()
    server.client("sagemaker").delete_endpoint(EndpointName="own")
    wait_until(lambda: not server.pids_of("own_server.py"), "no command is left")


def test_an_app_with_a_route_of_its_own_needs_no_ping(server: Server) -> None:
    uri = add(server, "routed", "--route", "/predict", arguments="--route /predict")
    assert host(server, "routed", uri.partition(":")[0] + ":latest")["EndpointStatus"] == "InService"
    assert json.loads(invoke(server, "routed", b"x")["Body"].read())["path"] == "/predict"
    server.client("sagemaker").delete_endpoint(EndpointName="routed")


def test_a_command_that_does_not_come_up_says_how_it_ended(server: Server) -> None:
    seen = host(server, "broken", add(server, "broken", arguments="--broken"))
    assert seen["EndpointStatus"] == "Failed"
    assert "The command exited with status 4 before it answered /ping." in seen["FailureReason"]
    server.client("sagemaker").delete_endpoint(EndpointName="broken")
    with pytest.raises(ClientError, match="There is no image 'clary/none:latest'"):
        host(server, "none", "clary/none:latest")


def test_the_flask_app_of_the_how_to_is_served_as_it_stands(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("flask")
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "own-server.md").read_text()
    (tmp_path / "app.py").write_text(page.split("```python\n")[1].split("```")[0])
    command = f"{sys.executable} -m flask --app app run --port {{port}}"
    argv = [
        sys.executable,
        "-m",
        "clary.cli.main",
        "images",
        "add",
        "sums",
        "--route",
        "/predict",
        "--command",
        command,
    ]
    subprocess.run([*argv, "--dir", str(tmp_path), "--home", str(server.home)], check=True, capture_output=True)
    assert host(server, "sums", "clary/sums:latest")["EndpointStatus"] == "InService"
    answer = invoke(server, "sums", b'{"rows": [[1, 2], [3, 4]]}', ContentType="application/json")
    assert json.loads(answer["Body"].read()) == {"sums": [3, 7]}
    server.client("sagemaker").delete_endpoint(EndpointName="sums")
