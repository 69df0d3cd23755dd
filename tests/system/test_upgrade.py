"""The HOME of an older Clary, served by this one; that of a newer one, refused."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import clary
from tests.support.load import Load
from tests.support.server import Server, free_port, wait_until

OLD = Path(__file__).parent / "data" / "home-0001.tar.gz"
"""Told of in tests/unit/store/test_migrations.py."""
ANSWER = "-1.3183585405349731\n"
"""What the old server answered to 1,2,3,4."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path / "home", filter="data")
    return tmp_path / "home"


@pytest.mark.timeout(180)
def test_an_old_home_serves_as_before_and_takes_new_work(home: Path, regressor: Path) -> None:
    with Server(home, "--auth", "sigv4") as server:
        sagemaker = server.client("sagemaker")  # signed with the root key of the old server
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="old")
        assert server.invoke("old", "1,2,3,4") == ANSWER
        assert sagemaker.describe_endpoint(EndpointName="broken")["EndpointStatus"] == "Failed"
        assert "is not a gzip file" in sagemaker.describe_endpoint(EndpointName="broken")["FailureReason"]
        arn = sagemaker.describe_endpoint(EndpointName="old")["EndpointArn"]
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "growth"}]
        # What the old schema had no room for: a second version.
        server.client("s3").put_object(Bucket="old", Key="two.tar.gz", Body=regressor.read_bytes())
        role = "arn:aws:iam::123456789012:role/any"
        image = sagemaker.describe_model(ModelName="old")["PrimaryContainer"]["Image"]
        container = {"Image": image, "ModelDataUrl": "s3://old/two.tar.gz"}
        sagemaker.create_model(ModelName="two", ExecutionRoleArn=role, PrimaryContainer=container)
        variant = {"VariantName": "AllTraffic", "ModelName": "two", "InitialInstanceCount": 1}
        variant["InstanceType"] = "ml.t3.medium"
        sagemaker.create_endpoint_config(EndpointConfigName="two", ProductionVariants=[variant])
        sagemaker.update_endpoint(EndpointName="old", EndpointConfigName="two")
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="old")
        assert sagemaker.describe_endpoint(EndpointName="old")["EndpointConfigName"] == "two"
        assert server.invoke("old", "1,2,3,4")


def newer_home(home: Path) -> None:
    (home / "format").write_text("2\n")


def newer_store(home: Path) -> None:
    with contextlib.closing(sqlite3.connect(home / "clary.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def newer_index(home: Path) -> None:
    with contextlib.closing(sqlite3.connect(home / "buckets" / ".index.db")) as connection:
        connection.execute("PRAGMA user_version = 9")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (newer_home, "has format 2, written by a newer Clary"),
        (newer_store, "clary.db has schema 9999; this Clary knows up to"),
        (newer_index, ".index.db has format 9; this Clary knows up to"),
    ],
)
def test_a_newer_home_is_refused_with_the_reason(home: Path, change: Callable[[Path], None], says: str) -> None:
    change(home)
    argv = [sys.executable, "-m", "clary.cli.main", "serve", "--home", str(home), "--port", str(free_port())]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_upgrade_under_load_loses_no_request(tmp_path: Path, regressor: Path) -> None:
    """Another version of the code takes a server over whose agent was killed; workers go on, the rest is replaced."""
    package = tmp_path / "release" / "clary"
    shutil.copytree(Path(clary.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    init = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text(init.replace(f'"{clary.__version__}"', '"0.0.1"'))
    (tmp_path / "home").mkdir()
    old = Server(tmp_path / "home", environ={"PYTHONPATH": str(package.parent)})
    with Server(tmp_path / "home") as new:
        new.stop()
        old.port, old.url = new.port, new.url
        old.start()
        old.host("steady", regressor.read_bytes(), instances=2)
        assert version(old) == "0.0.1"
        with Load(old, "steady", "1,2,3,4") as load:
            asked(load, 20)
            before = old.pids_of("clary: worker")
            routers, control = old.pids_of("clary.dataplane.router"), old.pids_of("clary.assembly")
            old.kill()
            asked(load, 50)
            new.start()
            wait_until(lambda: version(new) == clary.__version__, "the new control", timeout_s=60)
            wait_until(lambda: not routers & new.pids_of("clary.dataplane.router"), "the new router", timeout_s=60)
            asked(load, 100)
        assert load.lost == []
        assert not control & new.pids_of("clary.assembly")
        assert len(before) == 2
        assert all(psutil.pid_exists(pid) for pid in before)
        assert new.client("sagemaker").describe_endpoint(EndpointName="steady")["EndpointStatus"] == "InService"


def version(server: Server) -> str:
    """Of the control that serves."""
    return str(json.loads((server.home / "run" / "server.json").read_text())["version"])


def asked(load: Load, more: int) -> None:
    """Wait until `more` further requests were answered."""
    goal = load.answered + more
    wait_until(lambda: load.answered >= goal, f"{more} more answers (lost: {load.lost[:3]})", timeout_s=60)
