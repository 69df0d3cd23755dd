"""CloudTrail: LookupEvents over the audit, each row as the record that CloudTrail would have of it.

Calls that only read are not recorded (`ReadOnly` = true finds nothing), nor are data events; see docs/how-to/audit.md.
Record: "CloudTrail record contents for management, data, and network activity events" (user guide).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from clary.control import audit
from clary.control.desk import Desk
from clary.domain.errors import Invalid
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.members import instant, instant_us
from clary.kit.clock import MICROS
from clary.store.audit import Entry

PAGE = 50
EVENT_VERSION = "1.11"
_FOREVER_US = 1 << 62
_NOTES = {"EventCategory": "Insights events are not made here."}
_TYPES = {
    "endpoint": "AWS::SageMaker::Endpoint",
    "endpoint-config": "AWS::SageMaker::EndpointConfig",
    "model": "AWS::SageMaker::Model",
    "training-job": "AWS::SageMaker::TrainingJob",
    "hyper-parameter-tuning-job": "AWS::SageMaker::HyperParameterTuningJob",
    "role": "AWS::IAM::Role",
    "policy": "AWS::IAM::Policy",
    "log-group": "AWS::Logs::LogGroup",
    "alarm": "AWS::CloudWatch::Alarm",
    "key": "AWS::IAM::AccessKey",
}
"""CloudTrail's name of each kind; others have none and are given as they are."""
_KINDS = {name: kind for kind, name in _TYPES.items()}


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of CloudTrail."""

    async def lookup_events(call: Call, members: Members) -> Members:
        return await _lookup(desk, call, members)

    served = ("LookupAttributes", "StartTime", "EndTime", "MaxResults", "NextToken")
    fields = {**dict.fromkeys(served, Field.SERVED), "EventCategory": Field.REFUSED}
    return (Operation("cloudtrail", "LookupEvents", lookup_events, fields, _NOTES),)


async def _lookup(desk: Desk, call: Call, members: Members) -> Members:
    attributes = members.get("LookupAttributes") or []
    if len(attributes) > 1:
        raise AwsError("InvalidLookupAttributesException", "You can specify only one lookup attribute.")
    key, value = (attributes[0]["AttributeKey"], attributes[0]["AttributeValue"]) if attributes else ("", "")
    start_us = instant_us(members.get("StartTime")) or 0
    end_us = instant_us(members.get("EndTime"))
    if end_us is not None and end_us < start_us:
        raise AwsError("InvalidTimeRangeException", "The start time occurs after the end time.")
    sought = audit.Sought(
        account=call.scope.account,
        region=call.scope.region,
        start_us=start_us,
        end_us=_FOREVER_US if end_us is None else end_us,
        key=key,
        value=_KINDS.get(value, value) if key == "ResourceType" else value,
    )
    parameters = {"": [sought.account, sought.region, start_us, end_us, key, value]}
    before = None
    if members.get("NextToken"):
        try:
            before = int(page.decode(members["NextToken"], parameters)[0])
        except Invalid as error:
            raise AwsError("InvalidNextTokenException", error.message) from None
    found, more = await audit.lookup(desk, sought, before, members.get("MaxResults", PAGE))
    answer: dict[str, Any] = {"Events": [_event(entry) for entry in found]}
    if more:
        answer["NextToken"] = page.encode((found[-1].seq,), parameters)
    return answer


def _event(entry: Entry) -> dict[str, Any]:
    named = [{"ResourceType": _TYPES.get(entry.kind, entry.kind), "ResourceName": entry.resource_name}]
    return {
        "EventId": entry.event_id,
        "EventName": entry.action,
        "ReadOnly": "false",
        "AccessKeyId": entry.key_id,
        "EventTime": instant(entry.at_us // MICROS * MICROS),
        "EventSource": entry.source,
        "Username": entry.username,
        "Resources": named if entry.resource_name else [],
        "CloudTrailEvent": json.dumps(record_of(entry), separators=(",", ":")),
    }


def record_of(entry: Entry) -> dict[str, Any]:
    """A row as CloudTrail's record."""
    failed = {"errorCode": entry.error_code, "errorMessage": entry.error_message} if entry.error_code else {}
    resource = {"accountId": entry.account, "ARN": entry.resource, "type": _TYPES.get(entry.kind, entry.kind)}
    is_arn = entry.resource.startswith("arn:")
    made = is_arn and entry.action.startswith(("Create", "Update"))
    return {
        "eventVersion": EVENT_VERSION,
        "userIdentity": _identity(entry),
        "eventTime": datetime.fromtimestamp(entry.at_us // MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": entry.source,
        "eventName": entry.action,
        "awsRegion": entry.region,
        "sourceIPAddress": entry.source_ip or entry.principal_arn,
        "userAgent": entry.user_agent or entry.principal_arn,
        **failed,
        "requestParameters": json.loads(entry.parameters) if entry.parameters else None,
        "responseElements": {f"{_camel(entry.kind)}Arn": entry.resource} if made and not failed else None,
        "requestID": entry.request_id,
        "eventID": entry.event_id,
        "readOnly": False,
        **({"resources": [resource]} if is_arn else {}),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": entry.account,
        "eventCategory": "Management",
    }


def _identity(entry: Entry) -> dict[str, Any]:
    arn = entry.principal_arn
    if not arn.startswith("arn:"):
        return {"type": "AWSService", "invokedBy": arn}
    who = {"arn": arn, "accountId": entry.account, "accessKeyId": entry.key_id}
    if arn.endswith(":root"):
        return {"type": "Root", "principalId": entry.account, **who}
    if ":assumed-role/" not in arn:
        return {"type": "IAMUser", "principalId": entry.key_id, **who, "userName": entry.username}
    role = arn.split("/")[1]
    issuer = {"type": "Role", "arn": f"arn:aws:iam::{entry.account}:role/{role}", "userName": role}
    principal = f"{role}:{entry.username}"
    return {"type": "AssumedRole", "principalId": principal, **who, "sessionContext": {"sessionIssuer": issuer}}


def _camel(kind: str) -> str:
    first, *rest = kind.split("-")
    return first + "".join(word.capitalize() for word in rest)
