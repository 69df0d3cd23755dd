"""`clary rollout`, `status`, `promote` and `rollback` against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clary.cli.exit_codes import Exit
from tests.support import model
from tests.support.load import Load
from tests.support.model import ROW, expected
from tests.support.server import Server, wait_until
from tests.system.test_cli import clary, document, environment
from tests.system.test_updates import more_answers

ANSWERS = [expected(model.regressor(seed), ROW)[0] for seed in range(2)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("home"), "--no-long-poll") as running:
        yield running


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of two models."""
    folder = tmp_path_factory.mktemp("models")
    for seed in range(2):
        model.regressor(seed).save_model(folder / f"{seed}.json")
    return [str(folder / f"{seed}.json") for seed in range(2)]


def seen(server: Server, name: str) -> Any:
    return document(clary(server, "status", name, "--json"))


def baking(server: Server, name: str) -> Any:
    """The status once the rollout bakes."""
    return wait_until(
        lambda: (found := seen(server, name))["rollout"] and found["rollout"]["stage"] == "baking" and found,
        "it bakes",
        60,
    )


def shares(found: Any) -> list[tuple[int, float]]:
    return [(fleet["version"], fleet["variants"][0]["share"]) for fleet in found["fleets"]]


def test_a_rollout_is_watched_promoted_taken_back_and_guarded(server: Server, models: list[str]) -> None:
    document(clary(server, "deploy", models[0], "--name", "Fraud", "--json"))
    with Load(server, "Fraud", ROW, clients=4) as load:
        more_answers(load)
        made = document(
            clary(server, "rollout", "fraud", models[1], "--canary", "20%", "--bake", "1h", "--no-wait", "--json")
        )
        assert (made["name"], made["version"], made["status"]) == ("Fraud", 2, "Updating")
        found = baking(server, "Fraud")
        assert shares(found) == [(1, 0.8), (2, 0.2)]
        assert 3500 < found["rollout"]["bake_left_s"] <= 3600
        shown = clary(server, "status", "Fraud").stdout
        assert "version 2 has 20% of the traffic and bakes (step 1 of 2); " in shown, shown

        watching = subprocess.Popen(
            [sys.executable, "-m", "clary.cli.main", "status", "Fraud", "--watch"],
            env=environment(CLARY_HOME=str(server.home)),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watching.stdout is not None
        assert "20% of the traffic" in watching.stdout.readline()
        promoted = clary(server, "promote", "Fraud")
        assert promoted.returncode == 0, promoted.stderr
        assert "version 2 has 100% of the traffic and bakes (step 2 of 2)" in promoted.stderr
        assert "100% of the traffic" in watching.stdout.readline()
        watching.terminate()
        watching.communicate()
        assert document(clary(server, "promote", "Fraud", "--json"))["status"] == "InService"
        assert float(server.invoke("Fraud", ROW)) == ANSWERS[1]

        clary(server, "rollout", "Fraud", models[0], "--all-at-once", "--bake", "1h", "--no-wait")
        baking(server, "Fraud")
        back = document(clary(server, "rollback", "Fraud", "--json"))
        assert (back["version"], back["status"]) == (2, "InService")

        made = document(
            clary(server, "rollout", "Fraud", models[0], "--bake", "1h", "--alarm", "p99 < 30s", "--alarm",
                  "errors < 50%", "--no-wait", "--json")
        )  # fmt: skip
        found = baking(server, "Fraud")
        assert [alarm["name"] for alarm in found["alarms"] if alarm["guards"]] == made["alarms"]
        assert len(made["alarms"]) == 2  # type: ignore[arg-type]
        server.client("cloudwatch").set_alarm_state(
            AlarmName=made["alarms"][1],  # type: ignore[index]
            StateValue="ALARM",
            StateReason="a drill",
        )
        wait_until(lambda: seen(server, "Fraud")["status"] == "InService", "it is taken back", 30)
        more_answers(load)
    assert load.lost == []
    assert "is in ALARM" in seen(server, "Fraud")["failure_reason"]
    assert clary(server, "promote", "Fraud").returncode == Exit.REFUSED
    assert clary(server, "delete", "Fraud", "--yes").returncode == 0
    assert server.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


def test_a_rollout_that_ends_says_how(server: Server, models: list[str], tmp_path: Path) -> None:
    document(clary(server, "deploy", models[0], "--name", "plain", "--json"))
    done = clary(server, "rollout", "plain", models[1], "--linear", "50%", "--bake", "0s")
    assert done.returncode == 0, done.stderr
    assert "Version 2 of plain is live" in done.stderr
    broken = tmp_path / "model.json"
    broken.write_bytes(Path(models[0]).read_bytes()[:-200] + b"}")
    failed = clary(server, "rollout", "plain", str(broken), "--canary", "10%", "--bake", "1s", "--json")
    assert failed.returncode == Exit.FAILED
    assert (
        "Version 3 of plain did not come into service" in json.loads(failed.stderr.splitlines()[-1])["error"]["message"]
    )
    assert float(server.invoke("plain", ROW)) == ANSWERS[1]
    assert clary(server, "rollout", "none", models[0]).returncode == Exit.NOT_FOUND
    assert clary(server, "rollout", "plain", models[0], "--canary", "1%", "--rolling", "5%").returncode == Exit.USAGE
    refused = clary(server, "rollout", "plain", models[0], "--canary", "80%", "--alarm", "p99 < 1s")
    assert refused.returncode == Exit.REFUSED
    assert "CanarySize is 80%" in refused.stderr
    assert server.client("cloudwatch").describe_alarms()["MetricAlarms"] == [], "taken back with the rest"
    assert clary(server, "delete", "plain", "--yes").returncode == 0


@pytest.mark.slow
def test_an_objective_that_is_missed_takes_the_rollout_back(server: Server, models: list[str]) -> None:
    document(clary(server, "deploy", models[0], "--name", "strict", "--json"))
    with Load(server, "strict", ROW, clients=4) as load:
        more_answers(load)
        failed = clary(
            server, "rollout", "strict", models[1], "--canary", "50%", "--bake", "40s", "--alarm", "p99 < 1us"
        )
        more_answers(load)
    assert load.lost == []
    assert failed.returncode == Exit.FAILED, failed.stderr
    assert "The alarm rollout/strict/" in failed.stderr
    assert float(server.invoke("strict", ROW)) == ANSWERS[0]
    assert clary(server, "delete", "strict", "--yes").returncode == 0
