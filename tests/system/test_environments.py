"""Workers in environments of their own: real uv, real processes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import lightgbm
import numpy as np
import psutil
import pytest
from botocore.exceptions import ClientError
from sklearn.linear_model import LinearRegression

from clary.environments.store import EnvironmentOptions, Environments
from clary.placement.base import ReplicaPhase
from tests.support import mlflow_models
from tests.support.model import pack
from tests.support.processes import Ground, echo_package, ground, phase
from tests.support.server import Server, wait_until
from tests.support.wheels import wheel

ROWS = np.random.default_rng(0).normal(size=(120, 4))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return echo_package(tmp_path_factory.mktemp("package"))


@pytest.fixture
def base(tmp_path: Path, package: Path) -> Iterator[Ground]:
    with ground(tmp_path, package) as it:
        yield it


async def test_zygote_and_worker_run_on_the_models_interpreter_from_the_bundle(base: Ground, tmp_path: Path) -> None:
    model = tmp_path / "model"
    wheel(model / "code/wheels", "setproctitle", "9", "def setproctitle(title): pass")
    wheel(model / "code/wheels", "threadpoolctl", "9", "def threadpool_limits(limits): pass")
    wheel(model / "code/wheels", "tiny", "9")
    (model / "code/requirements.txt").write_text("--no-index\n--find-links wheels\ntiny\n")
    options = EnvironmentOptions(tmp_path / "environments", {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    python = Environments(options).ensure(model, "echo", {}, lambda _: None)
    base.start()
    async with base.placement() as placement:
        specs = [base.spec(tmp_path, python=python), base.spec(tmp_path, python=python, runtime="spawned")]
        await placement.apply(specs)
        for spec in specs:
            state = await phase(placement, spec.uid, ReplicaPhase.READY)
            argv = psutil.Process(state.pid).cmdline()
            assert argv[0] == python
            assert "/bundles/" in argv[3]


async def test_an_interpreter_that_is_gone_is_a_failure_of_its_own(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path, python=str(tmp_path / "gone/bin/python"))
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.FAILED)
        assert "interpreter could not be started" in state.remedy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("home")) as it:
        yield it


def settled(server: Server, name: str) -> dict[str, str]:
    client = server.client("sagemaker")

    def look() -> dict[str, str] | None:
        found: dict[str, str] = client.describe_endpoint(EndpointName=name)
        return None if found["EndpointStatus"] == "Creating" else found

    found: dict[str, str] = wait_until(look, f"{name} settles", 300)
    return found


def booster() -> bytes:
    told = {"verbosity": -1, "num_leaves": 4, "num_threads": 1}
    return lightgbm.train(told, lightgbm.Dataset(ROWS, ROWS[:, 0]), 3).model_to_string().encode()


def test_a_list_without_a_solution_fails_with_the_solvers_words(server: Server) -> None:
    wrong = b"--no-index\nno-such-package-anywhere==1\n"
    server.host(
        "wrong", pack({"model.txt": booster(), "code/requirements.txt": wrong}), image="clary/lightgbm:1", wait=False
    )
    found = settled(server, "wrong")
    assert found["EndpointStatus"] == "Failed"
    assert "environment of code/requirements.txt could not be built" in found["FailureReason"]
    assert "no-such-package-anywhere" in found["FailureReason"]
    (log,) = (server.home / "logs/endpoints").rglob("environment.log")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[0]["event"].startswith("Building the environment of code/requirements.txt")
    assert (lines[0]["endpoint"], lines[0]["variant"]) == ("wrong", "AllTraffic")
    assert "no-such-package-anywhere" in lines[-1]["event"]


def test_a_model_may_stay_in_clarys_own_environment(server: Server) -> None:
    """And so answers although its list has no solution."""
    raw = pack({"model.txt": booster(), "code/requirements.txt": b"no-such-package-anywhere==1\n"})
    server.client("s3").create_bucket(Bucket="own")
    server.client("s3").put_object(Bucket="own", Key="m.tar.gz", Body=raw)
    sagemaker = server.client("sagemaker")
    container = {
        "Image": "clary/lightgbm:1",
        "ModelDataUrl": "s3://own/m.tar.gz",
        "Environment": {"CLARY_ENVIRONMENT": "own"},
    }
    sagemaker.create_model(
        ModelName="own", ExecutionRoleArn="arn:aws:iam::123456789012:role/r", PrimaryContainer=container
    )
    variant = {
        "VariantName": "v",
        "ModelName": "own",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.t3.medium",
    }
    sagemaker.create_endpoint_config(EndpointConfigName="own", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="own", EndpointConfigName="own")
    found = settled(server, "own")
    assert found["EndpointStatus"] == "InService", found
    assert len(json.loads(server.invoke("own", "1,2,3,4\n0,0,0,0"))) == 2
    with pytest.raises(ClientError, match="the model was trained with 4 features"):
        server.invoke("own", "1,2,3")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_mlflow_folder_runs_on_what_it_was_saved_with(server: Server, tmp_path: Path) -> None:
    """From the machine's own package index: mlflow-skinny, pandas and scikit-learn of the model's list."""
    model = LinearRegression().fit(ROWS, ROWS[:, 0])
    mlflow_models.save(tmp_path / "saved", model, ["a", "b", "c", "d"])
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(tmp_path / "saved", ".")
    server.host("churn", packed.getvalue(), image="clary/mlflow:1", wait=False)
    found = settled(server, "churn")
    assert found["EndpointStatus"] == "InService", found
    runtime = server.client("sagemaker-runtime")
    body = json.dumps({"dataframe_split": {"columns": ["d", "c", "b", "a"], "data": [[0, 0, 0, 2.5]]}})
    answer = runtime.invoke_endpoint(EndpointName="churn", ContentType="application/json", Body=body)
    assert json.loads(answer["Body"].read())["predictions"][0] == pytest.approx(2.5)
    with pytest.raises(ClientError, match="Failed to enforce schema"):
        runtime.invoke_endpoint(
            EndpointName="churn", ContentType="application/json", Body='{"dataframe_records": [{"a": 1}]}'
        )
