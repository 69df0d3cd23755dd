"""A trail by real boto3: what was changed and who invoked comes to a bucket."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import Server, wait_until

ENDPOINT = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/told"
DATA = [
    {"Field": "eventCategory", "Equals": ["Data"]},
    {"Field": "resources.type", "Equals": ["AWS::SageMaker::Endpoint"]},
]


def records(server: Server, bucket: str) -> list[Any]:
    s3 = server.client("s3")
    found = []
    for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        assert item["Key"].startswith("pre/AWSLogs/123456789012/CloudTrail/us-east-1/20")
        found += json.loads(gzip.decompress(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()))["Records"]
    return found


@pytest.mark.slow
def test_changes_and_invocations_come_to_the_bucket(server: Server, regressor: Path) -> None:
    cloudtrail, s3 = server.client("cloudtrail"), server.client("s3")
    server.host("told", regressor.read_bytes())
    server.host("untold", regressor.read_bytes())
    s3.create_bucket(Bucket="trail-bucket")
    cloudtrail.create_trail(Name="t-1", S3BucketName="trail-bucket", S3KeyPrefix="pre")
    named = {"Field": "resources.ARN", "Equals": [ENDPOINT]}
    selectors = [
        {"Name": "changes", "FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]},
        {"Name": "calls", "FieldSelectors": [*DATA, named]},
    ]
    cloudtrail.put_event_selectors(TrailName="t-1", AdvancedEventSelectors=selectors)
    assert cloudtrail.get_event_selectors(TrailName="t-1")["AdvancedEventSelectors"] == selectors
    server.invoke("told", "1,2,3,4")
    cloudtrail.start_logging(Name="t-1")
    wait_until(
        lambda: '"recorded":["123456789012/us-east-1"]' in (server.home / "run" / "routes.json").read_text(), "routes"
    )
    for name in ("told", "told", "untold"):
        server.invoke(name, "1,2,3,4")
    with pytest.raises(ClientError):
        server.invoke("told", "no numbers")
    server.client("sagemaker").delete_endpoint_config(EndpointConfigName="untold")

    def calls() -> list[Any]:
        return [one for one in records(server, "trail-bucket") if one["eventCategory"] == "Data"]

    # What routers wrote down outlives them; a server that starts delivers at once.
    server.stop()
    server.start()
    wait_until(lambda: len(calls()) >= 3, "the calls in the bucket", 30)
    assert [one.get("errorCode") for one in calls()] == [None, None, "ModelErrorException"]
    (first, *_) = calls()
    assert (first["eventName"], first["requestParameters"]) == ("InvokeEndpoint", None)
    assert first["resources"][0]["ARN"] == ENDPOINT
    assert first["userIdentity"]["type"] == "Root"
    assert first["sourceIPAddress"] == "127.0.0.1"
    assert first["userAgent"].startswith("Boto3/")
    management = [one["eventName"] for one in records(server, "trail-bucket") if one["managementEvent"]]
    assert "DeleteEndpointConfig" in management
    status = cloudtrail.get_trail_status(Name="t-1")
    assert status["IsLogging"]
    assert "LatestDeliveryError" not in status
    cloudtrail.stop_logging(Name="t-1")
    wait_until(lambda: '"recorded":[]' in (server.home / "run" / "routes.json").read_text(), "routes")
    cloudtrail.delete_trail(Name="t-1")
