"""What the audit keeps of a request's words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from clary.domain.principal import Asked
from clary.edge.aws import asked
from clary.edge.aws.asked import HIDDEN, PARAMETERS_CHARS_MAX
from clary.edge.aws.operation import Members
from clary.edge.aws.spec import Spec

SPEC = Spec()


def shown(service: str, operation: str, members: Members) -> Any:
    model = SPEC.operation(service, operation)
    assert model is not None
    return json.loads(asked.parameters(members, model.input_shape))


def test_names_are_written_as_cloudtrail_writes_them() -> None:
    members = {"EndpointName": "e", "Tags": [{"Key": "K", "Value": "V"}]}
    assert shown("sagemaker", "CreateEndpoint", members) == {
        "endpointName": "e",
        "tags": [{"key": "K", "value": "V"}],
    }
    assert asked.parameters({}, None) == ""
    at = {"StartTime": datetime(2031, 1, 5, tzinfo=UTC), "NextToken": b"ab"}
    assert shown("cloudtrail", "LookupEvents", at) == {
        "startTime": "2031-01-05T00:00:00+00:00",
        "nextToken": "<2 bytes>",
    }


def test_secrets_are_hidden() -> None:
    container = {
        "Image": "i",
        "Environment": {"ANY": "thing"},
        "ModelDataUrl": "https://me:word@host/x?X-Amz-Signature=abc&b=c",
    }
    assert shown("sagemaker", "CreateModel", {"ModelName": "m", "PrimaryContainer": container})["primaryContainer"] == {
        "image": "i",
        "environment": {"ANY": HIDDEN},
        "modelDataUrl": f"https://me:{HIDDEN}@host/x?X-Amz-Signature={HIDDEN}&b=c",
    }
    job = {"HyperParameters": {"eta": "0.1", "db_password": "x"}}
    assert shown("sagemaker", "CreateTrainingJob", job) == {"hyperParameters": {"eta": "0.1", "db_password": HIDDEN}}
    assert shown("sts", "AssumeRole", {"TokenCode": "123456"}) == {"tokenCode": HIDDEN}


def test_what_is_too_long_is_left_out() -> None:
    assert shown("sagemaker", "CreateModel", {"ModelName": "m" * PARAMETERS_CHARS_MAX}) == {"omitted": True}


@pytest.mark.parametrize(
    ("operation", "members", "kind", "name"),
    [
        ("CreateLogStream", {"logGroupName": "g", "logStreamName": "s"}, "log-stream", "s"),
        ("PutRetentionPolicy", {"logGroupName": "g", "retentionInDays": 1}, "log-group", "g"),
        ("PutMetricAlarm", {"AlarmName": "a", "Namespace": "n"}, "alarm", "a"),
        ("DeleteAlarms", {"AlarmNames": ["a"]}, "", ""),
    ],
)
def test_what_a_request_names_is_found(operation: str, members: Members, kind: str, name: str) -> None:
    told = Asked(operation=operation)
    asked.give(told, members, None)
    assert (told.kind, told.name) == (kind, name)
