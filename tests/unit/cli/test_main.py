"""The command as a whole: statuses, errors for people and for programs, and how little it loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clary import __version__
from clary.cli import config, resources
from clary.cli.exit_codes import Exit
from clary.cli.main import main
from tests.unit.cli.conftest import Scripted


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No clary.toml, no HOME of Clary, no AWS settings from the outside."""
    for name in [n for n in os.environ if n.startswith(("AWS_", "CLARY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLARY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"clary {__version__}\n"


@pytest.mark.parametrize("argv", [["nonsense"], ["list", "--nonsense"], ["deploy"], ["list", "nonsense"]])
def test_a_wrong_command_line_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == Exit.USAGE
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_names_its_remedy_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--url", "nonsense"]) == Exit.USAGE
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err == "error: --url = 'nonsense' is not a URL.\nGive one like http://127.0.0.1:8430.\n"


def test_an_error_is_json_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--url", "nonsense", "--json"]) == Exit.USAGE
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "message": "--url = 'nonsense' is not a URL.",
            "remedy": "Give one like http://127.0.0.1:8430.",
            "exit_code": 2,
        }
    }


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["list", "nonsense"], "Invalid value for 'kind': 'nonsense' is not one of"),
        (["list", "--nonsense"], "No such option: --nonsense"),
        (["deploy"], "Missing argument 'PATH'"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_a_wrong_command_line_is_json_on_request(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--json"]) == Exit.USAGE
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["message"].startswith(said)
    assert error["exit_code"] == Exit.USAGE


def test_a_bug_is_one_line_unless_the_details_are_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(config, "resolve", broken)
    assert main(["config"]) == Exit.BUG
    assert "ZeroDivisionError: of all things" in capsys.readouterr().err
    monkeypatch.setenv("CLARY_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["config"])


def test_ctrl_c_ends_with_130_and_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(resources, "find", interrupted)
    assert main(["list"]) == Exit.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


def test_list_in_tables_and_json(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.say(
        "ListEndpoints",
        200,
        {
            "Endpoints": [
                {"EndpointName": "a", "EndpointArn": "arn:a", "CreationTime": 1.5e9, "EndpointStatus": "InService"},
                {"EndpointName": "longer", "EndpointArn": "arn:b", "CreationTime": 1.6e9, "EndpointStatus": "Failed"},
            ]
        },
    )
    assert main(["list", "--url", scripted.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "NAME    STATUS     CREATED (UTC)",
        "a       InService  2017-07-14 02:40:00",
        "longer  Failed     2020-09-13 12:26:40",
    ]
    assert main(["list", "--url", scripted.url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["endpoints"][0] == {
        "name": "a",
        "status": "InService",
        "created": "2017-07-14T02:40:00.000Z",
        "arn": "arn:a",
    }


def test_an_empty_list_says_what_to_do(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--url", scripted.url]) == 0
    assert "clary deploy PATH --name NAME" in capsys.readouterr().out


def test_describe_shows_an_endpoint_whose_configuration_is_gone(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.say(
        "DescribeEndpoint",
        200,
        {
            "EndpointName": "e",
            "EndpointArn": "arn:e",
            "EndpointConfigName": "c",
            "EndpointStatus": "InService",
            "CreationTime": 1.5e9,
            "LastModifiedTime": 1.5e9,
            "ProductionVariants": [{"VariantName": "v", "CurrentWeight": 1.0, "CurrentInstanceCount": 2}],
        },
    )
    scripted.say("DescribeEndpointConfig", 400, {"__type": "ValidationException", "message": "Could not find it"})
    scripted.say("GET /clary/api/endpoints/e/versions", 200, {"versions": [{"version": 3, "state": "live"}]})
    assert main(["describe", "e", "--url", scripted.url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["url"] == f"{scripted.url}/endpoints/e/invocations"
    assert document["version"] == 3
    assert document["variants"] == [
        {"variant": "v", "weight": 1.0, "instances": 2, "model": None, "image": None, "artifact": None}
    ]
    assert main(["describe", "e", "--url", scripted.url]) == 0
    assert "status    InService\n" in capsys.readouterr().out


def test_invoke_sends_type_and_variant_and_prints_the_bytes(
    scripted: Scripted, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scripted.say("POST /endpoints/e/invocations", 200, b"1.5\n", x_amzn_invoked_production_variant="B")
    (tmp_path / "row.json").write_bytes(b"[1]")
    common = ["invoke", "e", "--url", scripted.url]
    assert main([*common, "--file", "row.json", "--target-variant", "B", "--accept", "text/csv"]) == 0
    assert capfd.readouterr().out == "1.5\n"
    sent = scripted.asked[-1]
    assert sent.body == b"[1]"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["x-amzn-sagemaker-target-variant"] == "B"
    assert sent.headers["accept"] == "text/csv"
    assert main([*common, "--data", "1,2", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["variant"] == "B"
    assert scripted.asked[-1].headers["content-type"] == "text/csv"
    assert main([*common, "--data", "1", "--file", "row.json"]) == Exit.USAGE


def test_a_models_error_is_status_8(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.say(
        "POST /endpoints/e/invocations", 424, {"Message": "Received client error"}, x_amzn_errortype="ModelError"
    )
    assert main(["invoke", "e", "--data", "x", "--url", scripted.url]) == Exit.MODEL
    assert "Received client error" in capsys.readouterr().err


def test_logs_are_asked_for_by_variant_and_printed_as_they_are(
    scripted: Scripted, capfd: pytest.CaptureFixture[str]
) -> None:
    scripted.say("GET /clary/logs/e/B", 200, b"one\ntwo\xff\n")
    assert main(["logs", "e", "--variant", "B", "--follow", "--url", scripted.url, "--json"]) == 0
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == [
        {"line": "one"},
        {"line": "two\ufffd"},
    ]
    assert scripted.asked[-1].path == "/clary/logs/e/B?follow=1"
    scripted.say("GET /clary/logs/none", 404, {"message": "Endpoint none not found."})
    assert main(["logs", "none", "--url", scripted.url]) == Exit.NOT_FOUND


def test_delete_asks_only_a_person(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.say(
        "DescribeEndpoint", 200, {"EndpointName": "e", "EndpointConfigName": "c", "EndpointStatus": "InService"}
    )
    assert main(["delete", "e", "--url", scripted.url]) == Exit.USAGE
    assert "--yes" in capsys.readouterr().err
    assert "DeleteEndpoint" not in scripted.operations


def test_config_shows_where_each_value_comes_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("clary.toml").write_text("[serve]\nrouters = 2\n")
    monkeypatch.setenv("CLARY_PORT", "9000")
    assert main(["config", "--home", "/h", "--json"]) == 0
    found = {o["option"]: (o["value"], o["source"]) for o in json.loads(capsys.readouterr().out)["options"]}
    assert found["home"] == ("/h", "--home")
    assert found["port"] == ("9000", "CLARY_PORT")
    assert found["routers"] == ("2", "clary.toml")
    assert found["auth"] == ("none", "default")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "clary.cli.main", "config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(30) == 0


def test_completion_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    env = {**os.environ, "_CLARY_COMPLETE": "complete_bash", "COMP_WORDS": "clary de", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from clary.cli.main import main; sys.exit(main([]))"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["deploy", "describe", "delete"]


@pytest.mark.parametrize("argv", [["--version"], ["list"], ["env"], ["config"]])
def test_starting_loads_nothing_heavy(argv: list[str]) -> None:
    code = f"import sys; from clary.cli.main import main; main({argv!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & {
        "asyncio",
        "botocore",
        "boto3",
        "starlette",
        "uvicorn",
        "sqlalchemy",
        "numpy",
        "xgboost",
        "httpx",
        "rich",
    }
