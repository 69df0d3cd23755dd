"""Stores that go away under 64 clients: another object store, and the PostgreSQL that holds everything."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clients import Clients
from tests.faults.conftest import ENDPOINT, Tally, error_of
from tests.faults.test_kills import MORE, kill
from tests.support.foreign import MotoServer
from tests.support.model import ROW, packed_regressor
from tests.support.postgres import Cluster
from tests.support.server import IMAGE, ROLE, Server, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
KEYS = {"AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto"}
URL = "s3://models/model.tar.gz"
TIMES = 2
WORKER = f"clary: worker {ENDPOINT}/"


def upload(moto: MotoServer) -> None:
    s3 = moto.client()
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="model.tar.gz", Body=packed_regressor())
    s3.close()


def create(sagemaker: Any, name: str) -> None:
    """Begin an endpoint of the model in the other store."""
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": URL}
    )
    variant = {
        "VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 2, "InstanceType": "ml.t3.medium"
    }  # fmt: skip
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def settled(sagemaker: Any, name: str) -> dict[str, Any]:
    while (seen := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] == "Creating":
        pass  # the server holds the answer until something changes
    return seen  # type: ignore[no-any-return]


def kill_one_worker(server: Server) -> None:
    """What is pinned needs no store: the worker comes back."""
    killed = min(server.pids_of(WORKER))
    kill(killed)
    wait_until(lambda: len(server.pids_of(WORKER) - {killed}) == 2, "two workers", timeout_s=60)


def test_another_object_store_goes_away(tmp_path: Path, tally: Tally) -> None:
    moto, lost = MotoServer(), list[str]()
    with moto, Server(tmp_path, "--object-store", f"s3://models?endpoint={moto.url}", environ=KEYS) as server:
        upload(moto)
        sagemaker = server.client("sagemaker")
        create(sagemaker, ENDPOINT)
        assert settled(sagemaker, ENDPOINT)["EndpointStatus"] == "InService"
        with Clients(server, ENDPOINT) as clients:
            for number in range(TIMES):
                clients.more(MORE)
                moto.stop()
                create(sagemaker, f"away-{number}")
                kill_one_worker(server)
                seen = settled(sagemaker, f"away-{number}")
                if f"The object store did not deliver {URL}" not in seen.get("FailureReason", ""):
                    lost.append(f"an endpoint whose model cannot be had is {seen['EndpointStatus']}")
                clients.more(MORE)
                moto.start()
                upload(moto)
                create(sagemaker, f"back-{number}")
                seen = settled(sagemaker, f"back-{number}")
                if seen["EndpointStatus"] != "InService":
                    lost.append(f"with the store back an endpoint is {seen['EndpointStatus']}")
            clients.more(MORE)
    note = "endpoints made meanwhile failed and named the store and the model; those made after it were InService"
    tally(f"another object store away, {TIMES} times", clients.tried, [*clients.lost(), *lost], note)


@pytest.mark.usefixtures("postgres")  # skips where there is none
def test_the_database_goes_away(tmp_path: Path, tally: Tally) -> None:
    lost: list[str] = []
    with Cluster() as cluster, Server(tmp_path, "--store", cluster.create().url) as server:
        server.host(ENDPOINT, packed_regressor(), instances=2)
        once = server.client("sagemaker", retries={"total_max_attempts": 1})
        with Clients(server, ENDPOINT) as clients, ThreadPoolExecutor(1) as pool:
            for number in range(TIMES):
                clients.more(MORE)
                cluster.stop(signal.SIGQUIT)
                # Asked while it is away; answered when it is back, or refused after a while.
                asked = pool.submit(error_of, once.list_endpoints)
                kill_one_worker(server)
                clients.more(MORE)
                cluster.start()
                if asked.result(60).get("Code") not in (None, "ServiceUnavailable"):
                    lost.append(str(asked.result()))
                wait_until(lambda: not error_of(once.list_endpoints), "control answers")
                server.host(f"back-{number}", packed_regressor())
                assert server.invoke(f"back-{number}", ROW)
            clients.more(MORE)
    note = "control's answers waited, and it went on by itself; a worker killed meanwhile came back"
    tally(
        f"the PostgreSQL store crashed and started again, {TIMES} times", clients.tried, [*clients.lost(), *lost], note
    )
