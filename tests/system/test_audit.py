"""The audit by real boto3 and by the command: who changed what, and that nobody changed the record."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import IMAGE, ROLE, Server, wait_until

MODEL = {
    "ExecutionRoleArn": ROLE,
    "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": "s3://b/k", "Environment": {"DB": "secret-word"}},
}

ARN = "arn:aws:cloudtrail:us-east-1:123456789012:trail/t-1"
DATA = [
    {"Field": "eventCategory", "Equals": ["Data"]},
    {"Field": "resources.type", "Equals": ["AWS::SageMaker::Endpoint"]},
]


def lookup(server: Server, key: str, value: str) -> list[Any]:
    attributes = [{"AttributeKey": key, "AttributeValue": value}]
    pages = server.client("cloudtrail").get_paginator("lookup_events").paginate(LookupAttributes=attributes)
    return [event for page in pages for event in page["Events"]]


def clary(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "clary.cli.main", "audit", *arguments, "--home", str(server.home)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_what_was_done_is_looked_up_as_in_cloudtrail(server: Server) -> None:
    sagemaker, cloudtrail = server.client("sagemaker"), server.client("cloudtrail")
    sagemaker.create_model(ModelName="Audited", **MODEL)
    sagemaker.describe_model(ModelName="Audited")
    (event,) = lookup(server, "ResourceName", "audited")
    assert (event["EventName"], event["Username"], event["ReadOnly"]) == ("CreateModel", "root", "false")
    assert event["Resources"] == [{"ResourceType": "AWS::SageMaker::Model", "ResourceName": "audited"}]
    record = json.loads(event["CloudTrailEvent"])
    assert (record["eventSource"], record["sourceIPAddress"]) == ("sagemaker.amazonaws.com", "127.0.0.1")
    assert record["userAgent"].startswith("Boto3/")
    assert record["requestParameters"]["modelName"] == "Audited"
    assert "secret-word" not in event["CloudTrailEvent"]
    assert record["responseElements"]["modelArn"].endswith(":model/audited")
    assert (record["userIdentity"]["type"], record["eventID"]) == ("Root", event["EventId"])
    assert lookup(server, "EventId", event["EventId"]) == [event]
    assert lookup(server, "ReadOnly", "true") == []
    # A page each.
    sagemaker.delete_model(ModelName="Audited")
    first = cloudtrail.lookup_events(MaxResults=1)
    second = cloudtrail.lookup_events(MaxResults=1, NextToken=first["NextToken"])
    assert [page["Events"][0]["EventName"] for page in (first, second)] == ["DeleteModel", "CreateModel"]


def test_calls_that_failed_and_calls_without_rows_are_there_too(server: Server) -> None:
    sagemaker, logs = server.client("sagemaker"), server.client("logs")
    logs.create_log_group(logGroupName="/audited")
    with pytest.raises(ClientError):
        sagemaker.delete_endpoint(EndpointName="nobody")
    (failed,) = wait_until(lambda: lookup(server, "EventName", "DeleteEndpoint"), "the failed call")
    record = json.loads(failed["CloudTrailEvent"])
    assert (record["errorCode"], record["responseElements"]) == ("ValidationException", None)
    assert failed["Resources"] == [{"ResourceType": "AWS::SageMaker::Endpoint", "ResourceName": "nobody"}]
    (made,) = lookup(server, "EventSource", "logs.amazonaws.com")
    assert made["Resources"] == [{"ResourceType": "AWS::Logs::LogGroup", "ResourceName": "/audited"}]


def test_what_cannot_be_looked_up_is_refused(server: Server) -> None:
    cloudtrail = server.client("cloudtrail")
    two = [{"AttributeKey": "EventName", "AttributeValue": name} for name in "ab"]
    for wrong, code in (
        ({"LookupAttributes": two}, "InvalidLookupAttributesException"),
        ({"StartTime": 2, "EndTime": 1}, "InvalidTimeRangeException"),
        ({"NextToken": "x"}, "InvalidNextTokenException"),
        ({"EventCategory": "insight"}, "ValidationException"),
    ):
        with pytest.raises(ClientError) as refused:
            cloudtrail.lookup_events(**wrong)
        assert refused.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError, match="UnknownOperationException"):
        cloudtrail.list_channels()


def code_of(work: Any, **members: Any) -> str:
    with pytest.raises(ClientError) as refused:
        work(**members)
    return str(refused.value.response["Error"]["Code"])


def test_trails_are_made_described_and_deleted(server: Server) -> None:
    cloudtrail = server.client("cloudtrail")
    made = cloudtrail.create_trail(Name="t-1", S3BucketName="trail-bucket", S3KeyPrefix="pre")
    assert made["TrailARN"] == ARN
    assert cloudtrail.get_trail(Name=ARN)["Trail"]["HasCustomEventSelectors"] is False
    assert [one["Name"] for one in cloudtrail.describe_trails()["trailList"]] == ["t-1"]
    assert cloudtrail.list_trails()["Trails"][0]["TrailARN"] == ARN
    assert cloudtrail.get_event_selectors(TrailName="t-1")["EventSelectors"][0]["IncludeManagementEvents"]
    assert cloudtrail.get_trail_status(Name="t-1")["IsLogging"] is False
    given = {"Name": "t-1", "S3BucketName": "trail-bucket"}
    assert code_of(cloudtrail.create_trail, **given) == "TrailAlreadyExistsException"
    assert code_of(cloudtrail.create_trail, **{**given, "Name": "-"}) == "InvalidTrailNameException"
    assert code_of(cloudtrail.create_trail, **given, EnableLogFileValidation=True) == "ValidationException"
    assert code_of(cloudtrail.get_trail, Name="none") == "TrailNotFoundException"
    for fields in (DATA[:1], [*DATA, {"Field": "x.y", "Equals": ["a"]}], DATA[1:]):
        wrong = [{"FieldSelectors": fields}]
        refused = code_of(cloudtrail.put_event_selectors, TrailName="t-1", AdvancedEventSelectors=wrong)
        assert refused == "InvalidEventSelectorsException"
    cloudtrail.update_trail(Name="t-1", S3BucketName="other-bucket")
    assert cloudtrail.get_trail(Name="t-1")["Trail"]["S3BucketName"] == "other-bucket"
    cloudtrail.delete_trail(Name="t-1")
    assert cloudtrail.describe_trails()["trailList"] == []


def test_the_command_lists_and_verifies_and_names_a_row_that_was_changed(server: Server) -> None:
    listed = clary(server, "list", "--action", "CreateModel", "--json")
    assert [event["eventName"] for event in json.loads(listed.stdout)["events"]] == ["CreateModel"]
    assert "DeleteModel" in clary(server, "list", "-n", "60").stdout
    assert clary(server, "list", "--action", "A", "--user", "b").returncode == 2
    whole = json.loads(clary(server, "verify", "--json").stdout)
    assert whole["whole"]
    assert clary(server, "verify", "--known", whole["head"]).returncode == 0
    assert clary(server, "verify", "--known", f"{10**6}:{'0' * 64}").returncode == 11
    with sqlite3.connect(server.home / "clary.db") as database:
        (seq,) = database.execute("SELECT seq FROM audit WHERE action = 'DeleteModel'").fetchone()
        database.execute("DROP TRIGGER audit_no_update")
        database.execute("UPDATE audit SET username = 'eve' WHERE seq = ?", (seq,))
    database.close()
    broken = clary(server, "verify", "--json")
    assert (broken.returncode, json.loads(broken.stdout)["broken_seq"]) == (11, seq)
    assert f"Row {seq} was changed" in broken.stderr
