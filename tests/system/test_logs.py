"""CloudWatch Logs by boto3 and by the real AWS CLI, over what a real replica prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import Server, wait_until

GROUP = "/aws/sagemaker/Endpoints/talkative"


@pytest.fixture(scope="module")
def talkative(server: Server, regressor: Path) -> Server:
    server.host("talkative", regressor.read_bytes())
    return server


def log_file(server: Server) -> Path:
    (path,) = (server.home / "logs" / "endpoints").glob("*/AllTraffic/*.log")
    return path


def tail(client: Any, seen: set[str], start_ms: int) -> tuple[list[str], int]:
    """One round of `aws logs tail --follow` of the AWS CLI v2: new messages, and where the next round starts."""
    arguments: dict[str, Any] = {"logGroupName": GROUP, "interleaved": True, "startTime": start_ms}
    new = []
    while True:
        answer = client.filter_log_events(**arguments)
        for event in answer["events"]:
            start_ms = max(start_ms, event["timestamp"])
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                new.append(event["message"])
        if "nextToken" not in answer:
            return new, start_ms
        arguments["nextToken"] = answer["nextToken"]


def test_groups_streams_and_events_of_an_endpoint(talkative: Server) -> None:
    logs = talkative.client("logs")
    (group,) = logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/Endpoints/talk")["logGroups"]
    assert group["arn"] == f"arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}:*"
    (stream,) = logs.describe_log_streams(logGroupIdentifier=group["logGroupArn"], orderBy="LastEventTime")[
        "logStreams"
    ]
    assert stream["logStreamName"] == f"AllTraffic/{log_file(talkative).stem}"
    name = {"logGroupName": GROUP, "logStreamName": stream["logStreamName"]}
    newest = logs.get_log_events(**name)
    assert json.loads(newest["events"][-1]["message"])["event"] == "The model is ready."
    assert stream["firstEventTimestamp"] <= newest["events"][-1]["timestamp"] <= stream["lastEventTimestamp"]
    # The end of a stream gives the same token back, and from there on what comes.
    token = newest["nextForwardToken"]
    again = logs.get_log_events(**name, nextToken=token)
    assert (again["events"], again["nextForwardToken"]) == ([], token)
    with log_file(talkative).open("a") as out:
        out.write("one more\n")
    assert [e["message"] for e in logs.get_log_events(**name, nextToken=token)["events"]] == ["one more"]


def test_a_follower_sees_each_line_once_while_lines_come(talkative: Server) -> None:
    logs = talkative.client("logs")
    seen: set[str] = set()
    _, start_ms = tail(logs, seen, 0)
    heard: list[str] = []
    for number in range(5):
        with log_file(talkative).open("a") as out:
            out.write(f"line {number}\nTraceback {number}\n")
        new, start_ms = tail(logs, seen, start_ms)
        heard += new
    assert heard == [text for number in range(5) for text in (f"line {number}", f"Traceback {number}")]
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP, filterPattern='?"line 1" ?"Traceback 3"', PaginationConfig={"PageSize": 1}
    )
    assert [event["message"] for page in pages for event in page["events"]] == ["line 1", "Traceback 3"]
    newest_first = logs.filter_log_events(logGroupName=GROUP, startFromHead=False, limit=2)
    assert [event["message"] for event in newest_first["events"]] == ["Traceback 4", "line 4"]


def test_the_aws_cli_reads_them(talkative: Server) -> None:
    command = shutil.which("aws", path=str(Path(sys.executable).parent))
    assert command is not None, "the development dependencies hold awscli"
    key = json.loads((talkative.home / "secrets" / "root.json").read_text())
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(talkative.home),
        "AWS_ACCESS_KEY_ID": key["key_id"],
        "AWS_SECRET_ACCESS_KEY": key["secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": talkative.url,
    }

    def aws(*arguments: str) -> Any:
        done = subprocess.run([command, *arguments], env=env, capture_output=True, text=True, check=True)  # type: ignore[list-item]
        return json.loads(done.stdout)

    assert [group["logGroupName"] for group in aws("logs", "describe-log-groups")["logGroups"]] == [GROUP]
    found = aws(
        "logs", "filter-log-events", "--log-group-name", GROUP, "--filter-pattern", '{ $.event = "The model*" }'
    )
    assert len(found["events"]) == 1
    role = aws("sts", "assume-role", "--role-arn", "arn:aws:iam::123456789012:role/r", "--role-session-name", "cli")
    assert role["AssumedRoleUser"]["Arn"].endswith("assumed-role/r/cli")


def test_what_is_not_there_is_named(talkative: Server) -> None:
    logs = talkative.client("logs")
    with pytest.raises(logs.exceptions.ResourceNotFoundException, match="The specified log group does not exist"):
        logs.filter_log_events(logGroupName="/aws/lambda/none")
    with pytest.raises(logs.exceptions.ResourceNotFoundException, match="The specified log stream does not exist"):
        logs.get_log_events(logGroupName=GROUP, logStreamName="none")
    for wrong in (
        {"filterPattern": "[a, b"},
        {"nextToken": "x"},
        {"logStreamNamePrefix": "a", "logStreamNames": ["b"]},
    ):
        with pytest.raises(ClientError) as refused:
            logs.filter_log_events(logGroupName=GROUP, **wrong)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterException"


def test_groups_of_ones_own_hold_what_is_put(talkative: Server) -> None:
    logs = talkative.client("logs")
    mine = {"logGroupName": "/my/app", "logStreamName": "a/1"}
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.create_log_stream(**mine)
    logs.create_log_group(logGroupName="/my/app")
    logs.create_log_stream(**mine)
    for again in (lambda: logs.create_log_group(logGroupName="/my/app"), lambda: logs.create_log_stream(**mine)):
        with pytest.raises(logs.exceptions.ResourceAlreadyExistsException):
            again()
    logs.put_retention_policy(logGroupName="/my/app", retentionInDays=7)
    assert logs.describe_log_groups(logGroupNamePrefix="/my")["logGroups"][0]["retentionInDays"] == 7
    now_ms = round(time.time() * 1000)
    events = [{"timestamp": now_ms - back, "message": f"{back}\nms ago"} for back in (2000, 1000)]
    logs.put_log_events(**mine, logEvents=events)
    later = [{"timestamp": now_ms - 1500, "message": "between"}, {"timestamp": now_ms + 10**7, "message": "too new"}]
    assert logs.put_log_events(**mine, logEvents=later)["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    read = logs.get_log_events(**mine, startFromHead=True)
    assert [event["message"] for event in read["events"]] == ["2000\nms ago", "between", "1000\nms ago"]
    assert (
        logs.filter_log_events(logGroupName="/my/app", filterPattern="between")["events"][0]["timestamp"]
        == now_ms - 1500
    )
    with pytest.raises(logs.exceptions.InvalidParameterException, match="in chronological order"):
        logs.put_log_events(**mine, logEvents=events[::-1])
    logs.delete_log_stream(**mine)
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.get_log_events(**mine)
    logs.delete_log_group(logGroupName="/my/app")
    assert logs.describe_log_groups(logGroupNamePrefix="/my")["logGroups"] == []


def test_what_a_replica_writes_is_the_servers(talkative: Server) -> None:
    logs = talkative.client("logs")
    stream = {"logGroupName": GROUP, "logStreamName": f"AllTraffic/{log_file(talkative).stem}"}
    event = [{"timestamp": round(time.time() * 1000), "message": "forged"}]
    with pytest.raises(logs.exceptions.InvalidParameterException, match="written by the server alone"):
        logs.put_log_events(**stream, logEvents=event)
    with pytest.raises(logs.exceptions.OperationAbortedException):
        logs.delete_log_group(logGroupName=GROUP)


def test_logs_outlive_their_endpoint(talkative: Server) -> None:
    sagemaker, logs = talkative.client("sagemaker"), talkative.client("logs")
    sagemaker.delete_endpoint(EndpointName="talkative")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="talkative")
    wait_until(
        lambda: logs.filter_log_events(logGroupName=GROUP, filterPattern='"The replica stopped."')["events"],
        "the last line",
    )
    logs.delete_log_group(logGroupName=GROUP)
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.filter_log_events(logGroupName=GROUP)
