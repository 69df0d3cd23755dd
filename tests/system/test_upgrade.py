"""The HOME of an older Clary, served by this one; that of a newer one, refused."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server, free_port

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
        (newer_index, ".index.db has format 9; this Clary reads up to"),
    ],
)
def test_a_newer_home_is_refused_with_the_reason(home: Path, change: Callable[[Path], None], says: str) -> None:
    change(home)
    argv = [sys.executable, "-m", "clary.cli.main", "serve", "--home", str(home), "--port", str(free_port())]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr
