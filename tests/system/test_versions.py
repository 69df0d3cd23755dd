"""Versions through the command line and real boto3: deploy again, roll back, compare, always under load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support import model
from tests.support.load import Load
from tests.support.model import ROW, expected
from tests.support.server import Server, wait_until

ANSWERS = [expected(model.regressor(seed), ROW)[0] for seed in range(2)]
CLIENTS = 16


def clary(server: Server, *arguments: str, code: int = 0) -> Any:
    """A command's JSON, or what it says where it is to fail."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CLARY_"))}
    argv = [sys.executable, "-m", "clary.cli.main", *arguments, "--url", server.url, "--home", str(server.home)]
    done = subprocess.run([*argv, "--json"], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout or "{}") if code == 0 else done.stderr


def refusal(server: Server, name: str, target: str) -> str:
    with pytest.raises(ClientError) as refused:
        server.invoke(name, ROW, TargetVariant=target)
    return str(refused.value.response["Error"]["Message"])


def asked(server: Server, name: str, version: int) -> float:
    """The answer of a version by its target variant."""
    answer = clary(server, "invoke", name, "--data", ROW, "--target-variant", f"v{version}")
    return float(answer["body"])


def by_path(server: Server, name: str, version: int) -> float:
    """The answer at a version's own path."""
    url = f"{server.url}/endpoints/{name}/versions/{version}/invocations"
    request = urllib.request.Request(url, ROW.encode(), {"Content-Type": "text/csv"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return float(answer.read())


def test_a_second_deploy_is_version_two_and_the_first_comes_back(server: Server, tmp_path: Path) -> None:
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"{seed}.json")
        model.regressor(seed).save_model(paths[seed])
    broken = tmp_path / "broken.ubj"
    whole = bytes(model.regressor().save_raw("ubj"))
    broken.write_bytes(whole[: len(whole) // 2])
    assert clary(server, "deploy", str(paths[0]), "--name", "fraud", "--instances", "2")["version"] == 1

    with Load(server, "fraud", ROW, clients=CLIENTS) as load:
        wait_until(lambda: load.answered > 300 or load.lost, "answers")
        made = clary(server, "deploy", str(paths[1]), "--name", "fraud")
        assert (made["version"], made["status"]) == (2, "InService")
        assert asked(server, "fraud", 2) == ANSWERS[1]
        assert refusal(server, "fraud", "v1").startswith("Version 1 of endpoint fraud is retired;")
        assert refusal(server, "fraud", "v3").startswith("Version 3 of endpoint fraud not found.")

        assert clary(server, "rollback", "fraud")["version"] == 1
        assert float(server.invoke("fraud", ROW)) == asked(server, "fraud", 1) == ANSWERS[0]
        assert clary(server, "rollback", "fraud", "--to", "2")["version"] == 2
        assert float(server.invoke("fraud", ROW)) == ANSWERS[1]
        said = clary(server, "deploy", str(broken), "--name", "fraud", code=7)
        assert "The update of fraud failed, and it goes on as it was:" in said
        # The status is told before the routers are.
        failed = "Version 3 of endpoint fraud is failed:"
        wait_until(lambda: refusal(server, "fraud", "v3").startswith(failed), "the routers know")
        assert float(server.invoke("fraud", ROW)) == by_path(server, "fraud", 2) == ANSWERS[1]
        more = load.answered + 300
        wait_until(lambda: load.answered > more or load.lost, "more answers")
    assert load.lost == []

    seen = clary(server, "versions", "fraud")["versions"]
    assert [(v["version"], v["state"], v["variants"][0]["instances"]) for v in seen] == [
        (3, "failed", 2),
        (2, "live", 2),
        (1, "retired", 2),
    ]
    assert "broken.ubj" in seen[0]["reason"]
    assert "live already" in clary(server, "rollback", "fraud", "--to", "2", code=5)
    assert "no version 7" in clary(server, "rollback", "fraud", "--to", "7", code=5)
    check_diff(server, tmp_path)
    check_end(server)


def check_diff(server: Server, tmp_path: Path) -> None:
    """Both versions predict, the retired one too, and nothing that serves is touched."""
    rows = tmp_path / "rows.csv"
    rows.write_text(f"{ROW}\n{ROW}\n")
    found = clary(server, "diff", "fraud", "1", "2", "--file", str(rows), "--variant", "AllTraffic")
    facts = {row["fact"]: (row["old"], row["new"]) for row in found["facts"]}
    assert facts["state"] == ("retired", "live")
    assert facts["columns"] == (4, 4)
    assert facts["library xgboost"][0] == facts["library xgboost"][1]
    assert found["predictions"]["rows"] == found["predictions"]["differing"] == 2
    assert float(found["predictions"]["examples"][0]["old"]) == ANSWERS[0]
    assert float(found["predictions"]["examples"][0]["new"]) == ANSWERS[1]
    wait_until(lambda: len(server.pids_of("clary: worker")) == 2, "the guests are gone")


def check_end(server: Server) -> None:
    """Deleting takes every version with it."""
    deleted = clary(server, "delete", "fraud", "--yes")["deleted"]
    kinds = [thing["kind"] for thing in deleted]
    assert kinds == ["endpoint", *["config", "model", "artifact"] * 3]
    assert server.client("sagemaker").list_models()["Models"] == []
    with pytest.raises(ClientError, match="not found"):
        server.invoke("fraud", ROW, TargetVariant="v1")
