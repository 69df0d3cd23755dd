"""`clary plan` and `clary apply` against a real server: what a file says runs, and doing it again changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clary.cli.exit_codes import Exit
from tests.support import model
from tests.support.model import ROW, expected, packed_regressor
from tests.support.server import IMAGE, Server
from tests.system.test_cli import clary, document

ANSWERS = [expected(model.regressor(seed), ROW)[0] for seed in range(2)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(2):
        model.regressor(seed).save_model(tmp_path / f"{seed}.json")
    return tmp_path


def written(folder: Path, description: Any) -> str:
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(description, sort_keys=False))
    return str(path)


def changes(done: Any) -> dict[str, tuple[str, list[str]]]:
    """Kind and name to the action and the fields that differ."""
    return {
        f"{change['kind']} {change['name']}": (change["action"], [field["field"] for field in change["fields"]])
        for change in document(done)["changes"]  # type: ignore[attr-defined]
    }


def test_what_is_described_runs(server: Server, folder: Path) -> None:
    s3 = server.client("s3")
    s3.create_bucket(Bucket="own")
    s3.put_object(Bucket="own", Key="model.tar.gz", Body=packed_regressor(1))
    described: Any = {
        "name": "shop",
        "actions": {"page": {"command": ["cat"], "retries": 1}},
        "endpoints": {
            "Fraud": {
                "model": "0.json",
                "env": {"LEVEL": "1"},
                "scaling": {"min": 1, "max": 2, "invocations_per_minute": 6000},
                "rollout": {"canary": "50%", "bake": "0s"},
                "alarms": {
                    "slow": {"objective": "p99 < 50ms for 3 of 5 minutes", "actions": ["page"]},
                    "errors": {"objective": "errors < 1%"},
                },
                "tags": {"team": "risk"},
            },
            "pair": {
                "variants": {
                    "A": {"model": "s3://own/model.tar.gz", "image": IMAGE, "weight": 3},
                    "B": {"model": "1.json"},
                }
            },
        },
    }
    file = written(folder, described)
    before = changes(clary(server, "plan", file, "--json"))
    assert {name: action for name, (action, _) in before.items()} == dict.fromkeys(
        ["action page", "endpoint Fraud", "endpoint pair", "scaling Fraud/AllTraffic", "alarm Fraud-slow",
         "alarm Fraud-errors"], "create"
    )  # fmt: skip
    assert clary(server, "apply", file).returncode == Exit.USAGE, "nobody could be asked"
    assert clary(server, "list", "--json").stdout.count("name") == 0
    done = clary(server, "apply", file, "--yes")
    assert done.returncode == 0, done.stderr
    assert float(server.invoke("Fraud", ROW)) == ANSWERS[0]
    assert {float(server.invoke("pair", ROW, TargetVariant=name)) for name in "AB"} == {ANSWERS[1]}
    alarm = server.client("cloudwatch").describe_alarms(AlarmNames=["Fraud-slow"])["MetricAlarms"][0]
    assert alarm["AlarmActions"][0].endswith(":function:page")
    for command in (["plan", file], ["apply", file, "--yes"]):
        again = clary(server, *command)
        assert again.stdout == "Nothing to change: what runs is what is described.\n", again.stdout + again.stderr

    # By the load instead; what cores bound is no difference.
    pair = described["endpoints"]["pair"]
    pair["variants"]["A"]["scaling"] = {"min": 1, "max": 500, "concurrency": 2}
    described["endpoints"]["Fraud"]["scaling"] = {"min": 1, "max": 1, "concurrency": 3}
    file = written(folder, described)
    done = clary(server, "apply", file, "--yes")
    assert done.returncode == 0, done.stderr
    assert changes(clary(server, "plan", file, "--json")) == {}
    assert document(clary(server, "status", "Fraud", "--json"))["load"][0]["concurrency"] == 3  # type: ignore[index]
    assert "one for each 3 requests at once" in clary(server, "status", "Fraud").stdout
    described["endpoints"]["Fraud"]["scaling"] = {"min": 1, "max": 2, "invocations_per_minute": 6000}

    # Every kind of change, in one go.
    described["actions"]["page"]["retries"] = 2
    fraud, pair = described["endpoints"]["Fraud"], described["endpoints"]["pair"]
    fraud |= {"model": "1.json", "env": {"DEPTH": "2"}, "tags": {"team": "fraud"}}
    fraud["scaling"]["max"] = 4
    fraud["alarms"]["slow"]["objective"] = "p99 < 60ms for 3 of 5 minutes"
    pair["variants"]["B"] |= {"weight": 2, "instances": 2}
    file = written(folder, described)
    assert changes(clary(server, "plan", file, "--json")) == {
        "action page": ("update", ["retries"]),
        "endpoint Fraud": (
            "update",
            [
                "variants.AllTraffic.model",
                "variants.AllTraffic.env.DEPTH",
                "tags.team",
                "variants.AllTraffic.env.LEVEL",
            ],
        ),
        "endpoint pair": ("update", ["variants.B.weight", "variants.B.instances"]),
        "scaling Fraud/AllTraffic": ("update", ["max", "concurrency", "invocations_per_minute"]),
        "alarm Fraud-slow": ("update", ["Threshold", "AlarmDescription"]),
    }
    done = clary(server, "apply", file, "--yes")
    assert done.returncode == 0, done.stderr
    assert changes(clary(server, "apply", file, "--yes", "--json")) == {}
    assert float(server.invoke("Fraud", ROW)) == ANSWERS[1]
    sagemaker = server.client("sagemaker")
    routing = sagemaker.describe_endpoint(EndpointName="Fraud")["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert routing["TrafficRoutingConfiguration"]["Type"] == "CANARY"
    assert [v["version"] for v in document(clary(server, "versions", "pair", "--json"))["versions"]] == [1]  # type: ignore[attr-defined]

    # What deploy made can be described: nothing differs.
    document(clary(server, "deploy", str(folder / "0.json"), "--name", "plain", "--instances", "1", "--json"))
    described["endpoints"]["plain"] = {"model": "0.json"}
    assert changes(clary(server, "plan", written(folder, described), "--json")) == {}
    clary(server, "delete", "plain", "--yes")

    # What the description does not hold any more stays, until it is asked for.
    del described["endpoints"]["pair"], described["endpoints"]["plain"], fraud["alarms"]["errors"]
    file = written(folder, described)
    assert changes(clary(server, "apply", file, "--yes", "--json")) == {}
    assert changes(clary(server, "apply", file, "--yes", "--prune", "--json")) == {
        "alarm Fraud-errors": ("delete", []),
        "endpoint pair": ("delete", []),
    }
    names = [one["name"] for one in document(clary(server, "list", "--json"))["endpoints"]]  # type: ignore[attr-defined]
    assert names == ["Fraud"]


def test_a_description_that_is_wrong_says_where(server: Server, folder: Path) -> None:
    path = folder / "shop.toml"
    path.write_text('[endpoints.fraud]\nmodel = "0.json"\n\n[endpoints.fraud.rollout]\ncanari = "10%"\n')
    refused = clary(server, "plan", str(path))
    assert refused.returncode == Exit.USAGE
    assert "shop.toml:5: unknown field 'endpoints.fraud.rollout.canari'; did you mean 'canary'?" in refused.stderr
    path.write_text('[endpoints.fraud]\nmodel = "0.json"\n')
    assert "needs a 'name'" in clary(server, "plan", str(path), "--prune").stderr
