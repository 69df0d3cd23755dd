"""AWS STS: who am I, and temporary credentials. SDKs and tools take the account from it; notebooks assume roles."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from clary.control import sessions as use_cases
from clary.control.desk import Desk
from clary.control.sessions import Credentials, Denied, Wish
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.members import caller_of
from clary.store.sessions import Sessions

_POLICIES = "Policies are not enforced yet, so that a session could not be narrower than its role."
_TAGS = "Session tags only matter to policies, which are not enforced yet."
_MFA = "Clary has no multi-factor devices."

ASSUME_FIELDS = {
    **dict.fromkeys(("RoleArn", "RoleSessionName", "DurationSeconds", "MinimumSessionTokenSize"), Field.SERVED),
    **dict.fromkeys(("ExternalId", "SourceIdentity"), Field.STORED),
    **dict.fromkeys(
        ("PolicyArns", "Policy", "Tags", "TransitiveTagKeys", "SerialNumber", "TokenCode", "ProvidedContexts"),
        Field.REFUSED,
    ),
}
ASSUME_NOTES = {
    "ExternalId": "Checked for its form; trust policies, which could ask for it, are not enforced yet.",
    "SourceIdentity": "Returned; policies, which could ask for it, are not enforced yet.",
    "PolicyArns": _POLICIES,
    "Policy": _POLICIES,
    "Tags": _TAGS,
    "TransitiveTagKeys": _TAGS,
    "SerialNumber": _MFA,
    "TokenCode": _MFA,
    "ProvidedContexts": "Identity Center does not exist here.",
}
TOKEN_FIELDS = {
    **dict.fromkeys(("DurationSeconds", "MinimumSessionTokenSize"), Field.SERVED),
    **dict.fromkeys(("SerialNumber", "TokenCode"), Field.REFUSED),
}
TOKEN_NOTES = {"SerialNumber": _MFA, "TokenCode": _MFA}


async def get_caller_identity(call: Call, members: Members) -> Members:
    """Account, ARN and id of the caller. A key's id is its own, as it is unique and the same from call to call."""
    del members  # the operation has no input
    principal = call.principal
    user_id = principal.user_id or principal.key_id
    return {"UserId": user_id, "Account": principal.account, "Arn": principal.arn}


def operations(desk: Desk, sessions: Sessions) -> tuple[Operation, ...]:
    """What is served of STS."""

    async def assume_role(call: Call, members: Members) -> Members:
        try:
            made = await use_cases.assume_role(
                desk, sessions, caller_of(call), members["RoleArn"], members["RoleSessionName"], _wish(members)
            )
        except Denied as error:
            raise AwsError("AccessDenied", error.message, 403) from None
        answer: dict[str, Any] = {
            "Credentials": credentials_members(made),
            "AssumedRoleUser": {"AssumedRoleId": made.user_id, "Arn": made.arn},
        }
        if "SourceIdentity" in members:
            answer["SourceIdentity"] = members["SourceIdentity"]
        return answer

    async def get_session_token(call: Call, members: Members) -> Members:
        try:
            made = await use_cases.session_token(desk, sessions, caller_of(call), _wish(members))
        except Denied as error:
            raise AwsError("AccessDenied", error.message, 403) from None
        return {"Credentials": credentials_members(made)}

    return (
        Operation("sts", "GetCallerIdentity", get_caller_identity, fields={}),
        Operation("sts", "AssumeRole", assume_role, ASSUME_FIELDS, ASSUME_NOTES),
        Operation("sts", "GetSessionToken", get_session_token, TOKEN_FIELDS, TOKEN_NOTES),
    )


def _wish(members: Members) -> Wish:
    return Wish(members.get("DurationSeconds"), members.get("MinimumSessionTokenSize", 0))


def credentials_members(made: Credentials) -> dict[str, Any]:
    """`Credentials` of an answer."""
    return {
        "AccessKeyId": made.key_id,
        "SecretAccessKey": made.secret,
        "SessionToken": made.token,
        "Expiration": datetime.fromtimestamp(made.expires_s, UTC),
    }
