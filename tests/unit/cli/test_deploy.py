"""Deploy's own rules, against a scripted server: what is refused, what is taken back, what is replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clary.cli import deploy
from clary.cli.exit_codes import CliError, Exit
from clary.cli.main import main
from clary.cli.recognise import recognised
from clary.cli.resources import TAG
from tests.support.model import regressor
from tests.unit.cli.conftest import Asked, Scripted

SCALED = {"variant": "AllTraffic", "by": "load", "concurrency": 4, "min": 1, "max": 2, "wanted": 5}
GONE = {"__type": "ValidationException", "message": "Could not find it"}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLARY_HOME", str(tmp_path / "home"))
    path = tmp_path / "model.json"
    regressor().save_model(path)
    return path


@pytest.fixture
def server(scripted: Scripted) -> Scripted:
    """Knows no endpoint until one is created; then it is InService at once."""
    created: list[str] = []

    def describe(_: Asked) -> tuple[int, dict[str, str], bytes]:
        document = {"EndpointName": "e", "EndpointStatus": "InService"} if created else GONE
        return (200 if created else 400), {}, json.dumps(document).encode()

    def create(_: Asked) -> tuple[int, dict[str, str], bytes]:
        created.append("e")
        return 200, {}, b"{}"

    def put(_: Asked) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps({"variants": [SCALED]}).encode()

    scripted.answers |= {"DescribeEndpoint": describe, "CreateEndpoint": create}
    scripted.answers["PUT /clary/api/endpoints/e/scale"] = put
    scripted.answers["GET /clary/api/endpoints/e/scale"] = lambda _: (200, {}, b'{"variants": []}')
    scripted.say("POST /", 200, b"<Account>111122223333</Account>")
    return scripted


def run(server: Scripted, model: Path, *more: str) -> int:
    return main(["deploy", str(model), "--name", "e", "--url", server.url, *more])


def test_the_steps_are_the_apis_own_in_order(server: Scripted, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, model, "--instances", "2", "--instance-type", "ml.m5.large", "--json") == 0
    steps = [name for name in server.operations if not name.startswith("PUT /sagemaker-us-east-1-111122223333/")]
    assert steps == [
        "DescribeEndpoint",
        "POST /",
        "PUT /sagemaker-us-east-1-111122223333",
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "DescribeEndpoint",
        "GET /endpoints/e/openapi.json",
    ]
    document = json.loads(capsys.readouterr().out)
    assert document["url"] == f"{server.url}/endpoints/e/invocations"
    made = {asked.operation: asked.members for asked in server.asked if asked.operation.startswith("Create")}
    variant = made["CreateEndpointConfig"]["ProductionVariants"][0]  # type: ignore[index]
    assert (variant["InitialInstanceCount"], variant["InstanceType"]) == (2, "ml.m5.large")
    assert made["CreateModel"]["PrimaryContainer"]["ModelDataUrl"] == document["artifact"]  # type: ignore[index]
    assert all(members["Tags"] == [{"Key": TAG, "Value": "e"}] for members in made.values())


def test_people_get_the_url_on_stdout_and_the_rest_on_stderr(
    server: Scripted, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["PUT /clary/api/endpoints/e/scale"] = lambda _: (
        200,
        {},
        json.dumps({"variants": [SCALED]}).encode(),
    )
    assert run(server, model) == 0
    seen = capsys.readouterr()
    assert "1 to 2 replicas, 4 requests at once for each (clary scale e)" in seen.err
    assert seen.out == f"{server.url}/endpoints/e/invocations\n"
    assert f"curl {server.url}/endpoints/e/invocations" in seen.err
    assert "invoke_endpoint(" in seen.err
    assert "an XGBoost model (json" in seen.err


VERSIONS = {
    "name": "e",
    "versions": [
        {"version": 2, "state": "failed", "config": "e-new", "variants": [{"instances": 9, "instance_type": "no"}]},
        {"version": 1, "state": "live", "config": "c", "variants": [{"instances": 3, "instance_type": "ml.m5.large"}]},
    ],
}


def test_a_name_in_service_is_updated_at_the_size_it_has(
    server: Scripted, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.say("DescribeEndpoint", 200, {"EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": "InService"})
    server.answers["GET /clary/api/endpoints/e/versions"] = lambda _: (200, {}, json.dumps(VERSIONS).encode())

    def updated(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        VERSIONS["versions"][0]["config"] = asked.members["EndpointConfigName"]  # type: ignore[index]
        return 200, {}, b"{}"

    server.answers["UpdateEndpoint"] = updated
    assert run(server, model, "--json") == 0
    assert "CreateEndpoint" not in server.operations
    config = next(asked.members for asked in server.asked if asked.operation == "CreateEndpointConfig")
    variant = config["ProductionVariants"][0]  # type: ignore[index]
    assert (variant["InitialInstanceCount"], variant["InstanceType"]) == (3, "ml.m5.large")
    assert json.loads(capsys.readouterr().out)["version"] == 2


@pytest.mark.parametrize(("more", "count", "off"), [((), 5, 0), (("--no-scale",), 3, 1), (("--instances", "2"), 2, 1)])
def test_an_update_keeps_how_it_is_scaled_unless_it_is_told_a_count(
    server: Scripted, model: Path, more: tuple[str, ...], count: int, off: int
) -> None:
    server.say("DescribeEndpoint", 200, {"EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": "InService"})
    server.answers["GET /clary/api/endpoints/e/versions"] = lambda _: (200, {}, json.dumps(VERSIONS).encode())
    server.answers["GET /clary/api/endpoints/e/scale"] = lambda _: (
        200,
        {},
        json.dumps({"variants": [SCALED]}).encode(),
    )
    run(server, model, "--no-wait", "--json", *more)
    config = next(asked.members for asked in server.asked if asked.operation == "CreateEndpointConfig")
    assert config["ProductionVariants"][0]["InitialInstanceCount"] == count  # type: ignore[index]
    assert server.operations.count("DELETE /clary/api/endpoints/e/scale") == off


def test_a_failed_update_says_that_the_endpoint_goes_on(
    server: Scripted, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {"EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": "InService"}
    after = [{**before, "EndpointStatus": "Updating"}, {**before, "FailureReason": "Bad model. Mend it."}]
    answers = iter([(200, {}, json.dumps(document).encode()) for document in (before, *after)])
    server.answers["DescribeEndpoint"] = lambda _: next(answers)
    server.answers["GET /clary/api/endpoints/e/versions"] = lambda _: (200, {}, json.dumps(VERSIONS).encode())
    assert run(server, model) == Exit.FAILED
    assert "goes on as it was: Bad model. Mend it." in capsys.readouterr().err


def test_a_name_in_transition_is_refused_before_anything_is_made(
    server: Scripted, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.say("DescribeEndpoint", 200, {"EndpointName": "E", "EndpointArn": "arn", "EndpointStatus": "Updating"})
    assert run(server, model) == Exit.REFUSED
    assert "it is Updating" in capsys.readouterr().err
    assert not any(name.startswith(("Create", "PUT")) for name in server.operations)


def test_somebody_elses_failed_endpoint_is_not_replaced(server: Scripted, model: Path) -> None:
    server.say("DescribeEndpoint", 200, {"EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": "Failed"})
    assert run(server, model) == Exit.REFUSED
    assert "DeleteEndpoint" not in server.operations


@pytest.mark.parametrize(
    ("refusing", "taken_back"),
    [
        ("CreateModel", []),
        ("CreateEndpointConfig", ["DeleteModel"]),
        ("CreateEndpoint", ["DeleteEndpointConfig", "DeleteModel"]),
    ],
)
def test_what_was_made_before_a_refusal_is_taken_back(
    server: Scripted, model: Path, refusing: str, taken_back: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.say(refusing, 400, {"__type": "ValidationException", "message": "No such type"})
    assert run(server, model) == Exit.REFUSED
    assert "No such type" in capsys.readouterr().err
    assert [name for name in server.operations if name.startswith("Delete")] == taken_back
    assert server.operations[-1].startswith("DELETE /sagemaker-us-east-1-111122223333/clary/e/")


def test_a_failed_endpoint_ends_with_its_reason(
    server: Scripted, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {"EndpointStatus": "Failed", "FailureReason": "No such thing. Do this."}
    answers = iter([(400, {}, json.dumps(GONE).encode()), (200, {}, json.dumps(failed).encode())])
    server.answers["DescribeEndpoint"] = lambda _: next(answers)
    assert run(server, model) == Exit.FAILED
    error = capsys.readouterr().err
    assert "The endpoint e is Failed: No such thing. Do this." in error
    assert "clary logs e" in error


def test_ctrl_c_while_waiting_says_that_the_endpoint_goes_on(
    server: Scripted, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "wait_in_service", interrupted)
    assert run(server, model) == Exit.INTERRUPTED
    assert "`clary delete e` takes it back" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "-a", "a-", "a_b", "a" * 64])
def test_a_name_that_cannot_be_is_refused_without_asking(server: Scripted, model: Path, name: str) -> None:
    assert main(["deploy", str(model), f"--name={name}", "--url", server.url]) == Exit.USAGE
    assert not server.asked


def test_what_is_no_model_is_refused_with_what_would_be(tmp_path: Path, server: Scripted) -> None:
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(CliError) as refused:
        recognised(tmp_path / "x.txt")
    assert refused.value.code is Exit.REFUSED
    assert "XGBoost" in refused.value.remedy
    assert main(["deploy", str(tmp_path / "none"), "--name", "e", "--url", server.url]) == Exit.USAGE


def test_a_long_name_still_makes_resource_names_of_63_characters(server: Scripted, model: Path) -> None:
    name = "a" * 42 + "-" + "b" * 20
    assert main(["deploy", str(model), "--name", name, "--no-scale", "--url", server.url, "--json"]) == 0
    made = next(asked.members for asked in server.asked if asked.operation == "CreateModel")
    assert len(str(made["ModelName"])) <= 63
    assert "--" not in str(made["ModelName"])


def test_what_a_pickle_would_import_is_told_and_refused_where_it_is_unknown(
    server: Scripted, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model.parent / "model.pkl"
    path.write_bytes(b"\x80\x03csklearn.linear_model._ridge\nRidge\ncos\nsystem\n0.")
    assert run(server, path, "--untrusted") == Exit.REFUSED
    said = capsys.readouterr().err
    assert "would import what fitted models do not hold: os.system" in said
    assert server.operations == []
    assert run(server, path) == 0
    assert "unknown to Clary: os.system" in capsys.readouterr().err
