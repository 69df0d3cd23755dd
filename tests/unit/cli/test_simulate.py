"""`clary simulate`: options to questions, tables, JSON and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clary.cli.exit_codes import CliError
from clary.cli.simulate import app


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, CliError), done.output
    return str(done.exception)


def test_scaling_as_a_table_json_and_a_picture(tmp_path: Path) -> None:
    asked = ("scaling", "--traffic", "step 20 200 at 10m", "--target", "1500", "--max", "10")
    assert "1 -> 8: monitor alarm" in run(*asked)
    document = json.loads(run(*asked, "--json"))
    assert document["summary"]["replicas_max"] == 8
    assert len(document["rows"]) == 30
    run(*asked, "--png", str(tmp_path / "s.png"), "--json")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_a_policy_and_a_recording_from_files(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(
        json.dumps(
            {
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": 1500,
                    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
                }
            }
        )
    )
    (tmp_path / "traffic.csv").write_text("0,20\n600,200\n")
    files = ("--traffic", str(tmp_path / "traffic.csv"), "--policy", str(tmp_path / "policy.json"))
    assert "monitor alarm" in run("scaling", *files)


def test_rollouts(tmp_path: Path) -> None:
    (tmp_path / "deployment.json").write_text(
        json.dumps(
            {
                "BlueGreenUpdatePolicy": {
                    "TrafficRoutingConfiguration": {
                        "Type": "CANARY",
                        "WaitIntervalInSeconds": 300,
                        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
                    }
                }
            }
        )
    )
    for how in (("--canary", "10%"), ("--config", str(tmp_path / "deployment.json"))):
        out = run("rollout", "--traffic", "20", *how, "--alarm", "errors < 1%", "--new-errors", "4%")
        assert "rolled back: The alarm errors < 1% is in ALARM" in out
    assert "in service" in run("rollout", "--traffic", "20", "--linear", "50%", "--bake", "1m")
    assert "in service" in run("rollout", "--traffic", "20", "--rolling", "50%", "--bake", "1m", "--replicas", "2")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("scaling", "--traffic", "5"), "Give --target or --policy"),
        (("scaling", "--traffic", "x", "--target", "1"), "cannot be read"),
        (("scaling", "--traffic", "5", "--target", "-1"), "TargetValue is -1"),
        (("scaling", "--traffic", "5", "--target", "1", "--for", "30d"), "1s to 14d"),
        (("scaling", "--traffic", "5", "--target", "1", "--service", "0s"), "must be above 0"),
        (("scaling", "--traffic", "5", "--policy", "/nowhere"), "cannot be read as JSON"),
        (("rollout", "--traffic", "5", "--canary", "10%", "--linear", "10%"), "Give one of"),
        (("rollout", "--traffic", "5", "--canary", "ten"), "give a percentage"),
        (("rollout", "--traffic", "5", "--canary", "70%"), "CanarySize is 70%"),
        (("rollout", "--traffic", "5", "--alarm", "good"), "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], says: str) -> None:
    assert says in refusal(*arguments)
