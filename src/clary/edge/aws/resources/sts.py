"""AWS STS: who am I. SDKs and tools ask it first; Terraform and the SageMaker SDK take the account from it."""

from __future__ import annotations

from clary.edge.aws.operation import Call, Members, Operation


async def get_caller_identity(call: Call, members: Members) -> Members:
    """Account, ARN and id of the caller. The id is the key's, as it is unique and the same from call to call."""
    del members  # the operation has no input
    principal = call.principal
    return {"UserId": principal.key_id, "Account": principal.account, "Arn": principal.arn}


OPERATIONS = (Operation("sts", "GetCallerIdentity", get_caller_identity, fields={}),)
