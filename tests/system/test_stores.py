"""Models that lie elsewhere: in another object store, and on a file system that is mounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support import model
from tests.support.foreign import MotoServer
from tests.support.model import ROW, expected
from tests.support.server import IMAGE, ROLE, Server
from tests.support.training import ended, request, rows

VALUE = expected(model.regressor(), ROW)[0]
KEYS = {"AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto"}


def host(server: Server, name: str, url: str) -> dict[str, Any]:
    """Create an endpoint of the model at `url`; what it is described as once it is settled."""
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": url}
    )
    variant = {
        "VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"
    }  # fmt: skip
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    while (seen := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] == "Creating":
        pass  # the server holds the answer until something changes
    return seen  # type: ignore[no-any-return]


def upload(moto: MotoServer, archive: Path) -> None:
    s3 = moto.client()
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="rul/model.tar.gz", Body=archive.read_bytes())
    s3.close()


def train(server: Server, moto: MotoServer) -> None:
    """A training job whose data come from the bucket elsewhere and whose model goes there."""
    s3, sagemaker = moto.client(), server.client("sagemaker")
    for kind in ("train", "validation"):
        s3.put_object(Bucket="models", Key=f"data/{kind}/", Body=b"")
        s3.put_object(Bucket="models", Key=f"data/{kind}/rows.csv", Body=rows(50))
    sagemaker.create_training_job(**request("job", "models"))
    job = ended(sagemaker, "job")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == "s3://models/out/job/output/model.tar.gz"
    assert s3.head_object(Bucket="models", Key="out/job/output/model.tar.gz")["ContentLength"] > 0
    s3.close()


def test_an_outage_of_the_object_store_stops_no_serving(tmp_path: Path, regressor: Path) -> None:
    with MotoServer() as moto:
        upload(moto, regressor)
        flags = ("--object-store", f"s3://models?endpoint={moto.url}")
        with Server(tmp_path, *flags, environ=KEYS) as server:
            assert host(server, "elsewhere", "s3://models/rul/model.tar.gz")["EndpointStatus"] == "InService"
            with pytest.raises(ClientError, match=r"lies in another object store.*use http://127\.0\.0\.1"):
                server.client("s3").list_objects_v2(Bucket="models")
            train(server, moto)
            server.host("at-home", regressor.read_bytes())
            moto.stop()
            assert float(server.invoke("elsewhere", ROW)) == VALUE
            server.stop()
            server.start()
            assert float(server.invoke("elsewhere", ROW)) == VALUE, "what is pinned needs no store"
            assert float(server.invoke("at-home", ROW)) == VALUE


@pytest.mark.slow  # it waits until the store was asked often enough
def test_a_model_that_cannot_be_fetched_says_so_and_later_ones_can(tmp_path: Path, regressor: Path) -> None:
    moto = MotoServer()
    flags = ("--object-store", f"s3://models?endpoint={moto.url}")
    with moto, Server(tmp_path, *flags, environ=KEYS) as server:
        moto.stop()
        seen = host(server, "away", "s3://models/rul/model.tar.gz")
        assert seen["EndpointStatus"] == "Failed"
        assert "The object store did not deliver s3://models/rul/model.tar.gz" in seen["FailureReason"]
        moto.start()
        upload(moto, regressor)
        assert host(server, "back", "s3://models/rul/model.tar.gz")["EndpointStatus"] == "InService"
        assert float(server.invoke("back", ROW)) == VALUE


def test_a_model_on_a_mounted_file_system(tmp_path: Path, regressor: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "share").mkdir()
    for folder in (tmp_path, tmp_path / "share"):
        (folder / "model.tar.gz").write_bytes(regressor.read_bytes())
    with Server(tmp_path / "home", "--model-roots", str(tmp_path / "share")) as server:
        assert host(server, "shared", f"file://{tmp_path}/share/model.tar.gz")["EndpointStatus"] == "InService"
        (tmp_path / "share" / "model.tar.gz").unlink()
        assert float(server.invoke("shared", ROW)) == VALUE
        seen = host(server, "outside", f"file://{tmp_path}/model.tar.gz")
        assert seen["EndpointStatus"] == "Failed"
        assert "leads out of the folders" in seen["FailureReason"]
