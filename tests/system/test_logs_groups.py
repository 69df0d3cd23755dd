"""Groups of one's own by real boto3: tags, protection, listings, metric filters, and lines as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import Server, wait_until
from tests.system.test_emf import sums

ARN = "arn:aws:logs:us-east-1:123456789012:log-group:"


@pytest.fixture(scope="module")
def logs(server: Server) -> Any:
    return server.client("logs", inject_host_prefix=False)


def put(logs: Any, group: str, stream: str, *messages: str) -> None:
    now_ms = round(time.time() * 1000)
    events = [{"timestamp": now_ms, "message": message} for message in messages]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def code_of(work: Any, **members: Any) -> str:
    with pytest.raises(ClientError) as refused:
        work(**members)
    return str(refused.value.response["Error"]["Code"])


def test_groups_have_tags_in_both_forms(logs: Any) -> None:
    logs.create_log_group(logGroupName="/tagged", tags={"team": "growth"})
    logs.tag_resource(resourceArn=f"{ARN}/tagged", tags={"tier": "1"})
    logs.tag_log_group(logGroupName="/tagged", tags={"old": "form", "tier": "2"})
    assert logs.list_tags_for_resource(resourceArn=f"{ARN}/tagged")["tags"] == {
        "team": "growth",
        "tier": "2",
        "old": "form",
    }
    logs.untag_resource(resourceArn=f"{ARN}/tagged", tagKeys=["team"])
    logs.untag_log_group(logGroupName="/tagged", tags=["old"])
    assert logs.list_tags_log_group(logGroupName="/tagged")["tags"] == {"tier": "2"}
    many = {str(number): "" for number in range(50)}
    assert code_of(logs.tag_resource, resourceArn=f"{ARN}/tagged", tags=many) == "TooManyTagsException"
    assert code_of(logs.list_tags_for_resource, resourceArn=f"{ARN}/none") == "ResourceNotFoundException"
    assert code_of(logs.list_tags_for_resource, resourceArn="arn:aws:s3:::b") == "InvalidParameterException"


def test_a_protected_group_is_not_deleted(logs: Any) -> None:
    logs.create_log_group(logGroupName="/safe", deletionProtectionEnabled=True)
    assert logs.describe_log_groups(logGroupNamePrefix="/safe")["logGroups"][0]["deletionProtectionEnabled"]
    assert code_of(logs.delete_log_group, logGroupName="/safe") == "ValidationException"
    logs.put_log_group_deletion_protection(logGroupIdentifier=f"{ARN}/safe", deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName="/safe")


def test_listings_are_ordered_and_paged(logs: Any) -> None:
    logs.create_log_group(logGroupName="/paged")
    for name in ("b", "a", "c"):
        logs.create_log_stream(logGroupName="/paged", logStreamName=name)
    put(logs, "/paged", "a", "first")
    wait_until(lambda: put(logs, "/paged", "c", "later") is None, "an event")

    def names(**more: Any) -> list[str]:
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName="/paged", PaginationConfig={"PageSize": 1}, **more
        )
        return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]

    assert names() == ["a", "b", "c"]
    assert names(descending=True) == ["c", "b", "a"]
    assert names(orderBy="LastEventTime") == ["b", "a", "c"]
    assert names(orderBy="LastEventTime", descending=True) == ["c", "a", "b"]
    # What is deleted between two pages hides nothing else.
    first = logs.describe_log_streams(logGroupName="/paged", limit=1)
    logs.delete_log_stream(logGroupName="/paged", logStreamName="a")
    rest = logs.describe_log_streams(logGroupName="/paged", nextToken=first["nextToken"])
    assert [stream["logStreamName"] for stream in rest["logStreams"]] == ["b", "c"]
    pages = logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1})
    groups = [group["logGroupName"] for page in pages for group in page["logGroups"]]
    assert groups == sorted(groups)
    assert "/paged" in groups


def test_metric_filters_make_metrics(server: Server, logs: Any) -> None:
    logs.create_log_group(logGroupName="/filtered")
    logs.create_log_stream(logGroupName="/filtered", logStreamName="s")

    def put_filter(name: str, pattern: str, **transformation: Any) -> None:
        told = {"metricNamespace": "Filtered", "metricValue": "1", "metricName": name, **transformation}
        logs.put_metric_filter(
            logGroupName="/filtered", filterName=name, filterPattern=pattern, metricTransformations=[told]
        )

    put_filter("errors", "ERROR", defaultValue=0.0)
    put_filter(
        "bytes", "[ip, status = 4*, bytes]", metricValue="$bytes", unit="Bytes", dimensions={"Status": "$status"}
    )
    put(logs, "/filtered", "s", "ERROR 1", "10.0.0.1 404 1534", "10.0.0.1 404 466", "10.0.0.1 200 7")
    wait_until(lambda: sums(server, "Filtered", "errors", {}) == (1, 4), "a filter's metric")
    assert sums(server, "Filtered", "bytes", {"Status": "404"}) == (2000, 2)
    assert logs.describe_log_groups(logGroupNamePrefix="/filtered")["logGroups"][0]["metricFilterCount"] == 2
    pages = logs.get_paginator("describe_metric_filters").paginate(
        logGroupName="/filtered", PaginationConfig={"PageSize": 1}
    )
    found = [one for page in pages for one in page["metricFilters"]]
    assert [one["filterName"] for one in found] == ["bytes", "errors"]
    assert found[1]["metricTransformations"] == [
        {
            "metricName": "errors",
            "metricNamespace": "Filtered",
            "metricValue": "1",
            "defaultValue": 0.0,
            "unit": "None",
        }
    ]
    named = logs.describe_metric_filters(metricName="bytes", metricNamespace="Filtered")["metricFilters"]
    assert [one["filterName"] for one in named] == ["bytes"]
    tested = logs.test_metric_filter(filterPattern="[a, b]", logEventMessages=["one", "one two"])["matches"]
    assert tested == [{"eventNumber": 2, "eventMessage": "one two", "extractedValues": {"$a": "one", "$b": "two"}}]
    logs.delete_metric_filter(logGroupName="/filtered", filterName="bytes")
    one = {"logGroupName": "/filtered", "filterName": "bytes"}
    assert code_of(logs.delete_metric_filter, **one) == "ResourceNotFoundException"
    told = {"metricNamespace": "N", "metricValue": "1", "metricName": "m"}
    for pattern, wrong in (
        ("{ $.a }", {}),
        ("ERROR", {"metricValue": "$.a"}),
        ("ERROR", {"dimensions": {"A": "$.a"}}),
        ("{ $.a = * }", {"dimensions": {"A": "$.a"}, "defaultValue": 0.0}),
        ("ERROR", {"metricNamespace": "AWS/SageMaker"}),
        ("ERROR", {"metricNamespace": "aws/SageMaker"}),
        ("ERROR", {"metricValue": "one"}),
        ("ERROR", {"metricValue": "1e999"}),
        ("ERROR", {"defaultValue": 1e308}),
    ):
        transformation = [{**told, **wrong}]
        given = {**one, "filterPattern": pattern, "metricTransformations": transformation}
        assert code_of(logs.put_metric_filter, **given) == "InvalidParameterException"


def test_a_live_tail_shows_what_comes(server: Server, logs: Any) -> None:
    logs.create_log_group(logGroupName="/live")
    logs.create_log_stream(logGroupName="/live", logStreamName="s")
    put(logs, "/live", "s", "wanted before")
    answer = logs.start_live_tail(logGroupIdentifiers=[f"{ARN}/live"], logEventFilterPattern="wanted")
    stream: Iterator[Any] = iter(answer["responseStream"])
    started = next(stream)["sessionStart"]
    assert started["logGroupIdentifiers"] == [f"{ARN}/live"]
    assert started["logEventFilterPattern"] == "wanted"
    assert started["sessionId"]
    put(logs, "/live", "s", "wanted 1", "other")
    logs.create_log_stream(logGroupName="/live", logStreamName="new")
    put(logs, "/live", "new", *[f"wanted {number}" for number in range(600)])
    shown: list[Any] = []
    sampled = False
    while len(shown) < 500:
        update = next(stream)["sessionUpdate"]
        sampled |= update["sessionMetadata"]["sampled"]
        shown += update["sessionResults"]
    answer["responseStream"].close()
    assert sampled
    assert {event["logStreamName"] for event in shown} == {"s", "new"} or len(shown) == 500
    assert {event["logGroupIdentifier"] for event in shown} == {"123456789012:/live"}
    assert all(event["message"].startswith("wanted") and event["message"] != "wanted before" for event in shown)
    two = [f"{ARN}/live", f"{ARN}/paged"]
    for wrong in (
        {"logGroupIdentifiers": two, "logStreamNames": ["s"]},
        {"logGroupIdentifiers": two[:1], "logStreamNames": ["s"], "logStreamNamePrefixes": ["s"]},
        {"logGroupIdentifiers": two[:1], "logEventFilterPattern": "{"},
    ):
        assert code_of(logs.start_live_tail, **wrong) == "InvalidParameterException"
    assert code_of(logs.start_live_tail, logGroupIdentifiers=[f"{ARN}/none"]) == "ResourceNotFoundException"
