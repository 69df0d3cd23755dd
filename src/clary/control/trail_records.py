"""Events as CloudTrail's records of them: rows of the audit, and invocations.

"CloudTrail record contents for management, data, and network activity events" (CloudTrail user guide).
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from clary.domain.trails import DATA, ENDPOINT, MANAGEMENT
from clary.kit.instants import stamp_s
from clary.store.audit import Entry
from clary.telemetry.invocations import Invocation

EVENT_VERSION = "1.11"
TYPES = {
    "endpoint": ENDPOINT,
    "endpoint-config": "AWS::SageMaker::EndpointConfig",
    "model": "AWS::SageMaker::Model",
    "training-job": "AWS::SageMaker::TrainingJob",
    "hyper-parameter-tuning-job": "AWS::SageMaker::HyperParameterTuningJob",
    "role": "AWS::IAM::Role",
    "policy": "AWS::IAM::Policy",
    "key": "AWS::IAM::AccessKey",
    "log-group": "AWS::Logs::LogGroup",
    "alarm": "AWS::CloudWatch::Alarm",
    "trail": "AWS::CloudTrail::Trail",
}
"""CloudTrail's name of each kind; others have none and are given as they are."""


def record_of(entry: Entry) -> dict[str, Any]:
    """A row of the audit."""
    failed = {"errorCode": entry.error_code, "errorMessage": entry.error_message} if entry.error_code else {}
    resource = {"accountId": entry.account, "ARN": entry.resource, "type": TYPES.get(entry.kind, entry.kind)}
    is_arn = entry.resource.startswith("arn:")
    made = is_arn and entry.action.startswith(("Create", "Update"))
    return {
        "eventVersion": EVENT_VERSION,
        "userIdentity": _identity(entry.principal_arn, entry.account, entry.key_id, entry.username),
        "eventTime": stamp_s(entry.at_us),
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
        "eventCategory": MANAGEMENT,
    }


def record_of_invocation(one: Invocation) -> dict[str, Any]:
    """A call of an endpoint: a data event, whose parameters are not recorded."""
    arn = f"arn:aws:sagemaker:{one.region}:{one.account}:endpoint/{one.endpoint.lower()}"
    failed = {} if 200 <= one.status < 300 else {"errorCode": _ERRORS.get(one.status, "ClientClosedRequest")}
    user = one.principal_arn.replace(":", "/").rpartition("/")[2]
    return {
        "eventVersion": EVENT_VERSION,
        "userIdentity": _identity(one.principal_arn, one.account, one.key_id, user),
        "eventTime": stamp_s(one.at_us),
        "eventSource": "sagemaker.amazonaws.com",
        "eventName": "InvokeEndpointWithResponseStream" if one.stream else "InvokeEndpoint",
        "awsRegion": one.region,
        "sourceIPAddress": one.source_ip,
        "userAgent": one.user_agent,
        **failed,
        "requestParameters": None,
        "responseElements": None,
        "requestID": one.request_id,
        "eventID": str(uuid.uuid5(uuid.NAMESPACE_OID, one.request_id)),
        "readOnly": False,
        "resources": [{"accountId": one.account, "ARN": arn, "type": ENDPOINT}],
        "eventType": "AwsApiCall",
        "managementEvent": False,
        "recipientAccountId": one.account,
        "eventCategory": DATA,
    }


_ERRORS = {400: "ValidationException", 424: "ModelErrorException", 503: "ServiceUnavailableException"}


def fields_of(record: dict[str, Any]) -> dict[str, str]:
    """What selectors look at (domain.trails.FIELDS)."""
    resource = (record.get("resources") or [{}])[0]
    return {
        "eventCategory": record["eventCategory"],
        "eventName": record["eventName"],
        "eventSource": record["eventSource"],
        "readOnly": "true" if record["readOnly"] else "false",
        "resources.type": resource.get("type", ""),
        "resources.ARN": resource.get("ARN", ""),
    }


def _identity(arn: str, account: str, key_id: str, user: str) -> dict[str, Any]:
    if not arn.startswith("arn:"):
        return {"type": "AWSService", "invokedBy": arn}
    who = {"arn": arn, "accountId": account, "accessKeyId": key_id}
    if arn.endswith(":root"):
        return {"type": "Root", "principalId": account, **who}
    if ":assumed-role/" not in arn:
        return {"type": "IAMUser", "principalId": key_id, **who, "userName": user}
    role = arn.split("/")[1]
    issuer = {"type": "Role", "arn": f"arn:aws:iam::{account}:role/{role}", "userName": role}
    return {
        "type": "AssumedRole",
        "principalId": f"{role}:{user}",
        **who,
        "sessionContext": {"sessionIssuer": issuer},
    }


def _camel(kind: str) -> str:
    first, *rest = kind.split("-")
    return first + "".join(word.capitalize() for word in rest)
