"""The fixtures, used as a project that has Clary installed uses them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.dummy import DummyRegressor

from clary.pytest_plugin import save
from tests.support.model import regressor

pytest_plugins = ["pytester"]

TESTS = """
import os
import subprocess
import sys

import boto3
import pytest
from sklearn.linear_model import LinearRegression

MODEL = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])


@pytest.fixture(scope="session")
def shared(clary_session_server):
    assert "AWS_ENDPOINT_URL" not in os.environ
    clary_session_server.deploy(MODEL, "shared")
    clary_session_server.client("s3").create_bucket(Bucket="kept")


def test_the_code_under_test_needs_no_change(shared, clary_server):
    clary_server.deploy(MODEL, "line")
    body = boto3.client("sagemaker-runtime").invoke_endpoint(EndpointName="line", ContentType="text/csv", Body="2")
    assert float(body["Body"].read().strip(b"[]")) == pytest.approx(5)
    assert float(clary_server.predict("line", "[[3]]", "application/json", accept="text/csv")) == pytest.approx(7)
    code = "import boto3; print(len(boto3.client('sagemaker').list_endpoints()['Endpoints']))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "2\\n"
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="mine")
    s3.put_object(Bucket="mine", Key="a key/with +&<>%", Body=b"1")
    s3.put_bucket_versioning(Bucket="mine", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="mine", Key="a key/with +&<>%", Body=b"2")
    s3.delete_object(Bucket="mine", Key="a key/with +&<>%")
    s3.create_multipart_upload(Bucket="mine", Key="never ended")


def test_what_a_test_made_is_gone_and_what_the_session_made_stays(clary_server):
    sagemaker = boto3.client("sagemaker")
    assert [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]] == ["shared"]
    assert len(sagemaker.list_models()["Models"]) == 1
    assert len(sagemaker.list_endpoint_configs()["EndpointConfigs"]) == 1
    names = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
    assert [name for name in names if not name.startswith("sagemaker-")] == ["kept"]
    sagemaker.create_model(  # one that is still on its way when the test ends
        ModelName="slow", ExecutionRoleArn="arn:aws:iam::123456789012:role/any",
        PrimaryContainer={"Image": sagemaker.describe_model(ModelName=sagemaker.list_models()["Models"][0]["ModelName"])
            ["PrimaryContainer"]["Image"], "ModelDataUrl": "s3://kept/none.tar.gz"})
    sagemaker.create_endpoint_config(EndpointConfigName="slow", ProductionVariants=[{"VariantName": "a",
        "ModelName": "slow", "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}])
    sagemaker.create_endpoint(EndpointName="slow", EndpointConfigName="slow")


def test_the_environment_is_put_back(clary_session_server):
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert [e["EndpointName"] for e in clary_session_server.client("sagemaker").list_endpoints()["Endpoints"]] == [
        "shared"]
"""


def test_a_server_in_the_place_of_a_mock(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "CLARY_HOME", "CLARY_URL"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(TESTS)
    found = pytester.runpytest_subprocess("-p", "no:xdist", timeout=100)
    found.assert_outcomes(passed=3)


def test_nothing_starts_where_no_test_asks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\ndef test_nothing():\n    assert not {'clary.cli.api', 'typer', 'boto3'} & set(sys.modules)"
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_models_are_saved_as_their_library_does(tmp_path: Path) -> None:
    assert save(regressor(), tmp_path / "a").name == "model.ubj"
    assert save(DummyRegressor(), tmp_path / "b").name == "model.joblib"
    with pytest.raises(TypeError, match="a dict has no predict"):
        save({}, tmp_path / "c")
