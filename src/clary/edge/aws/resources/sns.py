"""SNS: topics, messages to them, tags. Subscriptions: sns_subscriptions.py."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from clary.control import topics
from clary.control.topics import SnsDesk
from clary.domain import errors as domain
from clary.domain.tags import unique_tags
from clary.domain.topics import MESSAGE_BYTES_MAX, SUBJECT_CHARS_MAX, Message
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Handler, Members, Operation
from clary.edge.aws.protocols.values import blob_out
from clary.edge.aws.resources.members import caller_of, tag_list

PAGE = 100
"""Topics, and subscriptions, of one page (API reference)."""
BATCH_MAX = 10
_BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ATTRIBUTE = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,256}")
_TYPES = ("String", "String.Array", "Number", "Binary")
_FIFO = {
    "MessageDeduplicationId": "There are no FIFO topics.",
    "MessageGroupId": "There are no FIFO topics.",
}
_ELSEWHERE = {"PhoneNumber": "Messages go to topics; there is no SMS.", **_FIFO}


def operations(at: SnsDesk) -> tuple[Operation, ...]:
    """Topics and messages."""
    message = ("Message", "Subject", "MessageStructure", "MessageAttributes")
    entries = tuple(f"PublishBatchRequestEntries[].{name}" for name in ("Id", *message))
    fifo = {f"PublishBatchRequestEntries[].{name}": note for name, note in _FIFO.items()}
    policy = {"DataProtectionPolicy": "Messages are not searched for personal data."}
    return (
        operation(at, "CreateTopic", _create, ("Name", "Attributes", "Tags"), policy),
        operation(at, "DeleteTopic", _delete, ("TopicArn",)),
        operation(at, "ListTopics", _list, ("NextToken",)),
        operation(at, "GetTopicAttributes", _get, ("TopicArn",)),
        operation(at, "SetTopicAttributes", _set, ("TopicArn", "AttributeName", "AttributeValue")),
        operation(at, "Publish", _publish, ("TopicArn", "TargetArn", *message), _ELSEWHERE),
        operation(at, "PublishBatch", _publish_batch, ("TopicArn", "PublishBatchRequestEntries", *entries), fifo),
        operation(at, "TagResource", _tag, ("ResourceArn", "Tags")),
        operation(at, "UntagResource", _untag, ("ResourceArn", "TagKeys")),
        operation(at, "ListTagsForResource", _list_tags, ("ResourceArn",)),
    )


def operation(
    at: SnsDesk,
    name: str,
    handler: Callable[[SnsDesk, Call, Members], Any],
    served: Sequence[str],
    refused: Mapping[str, str] = MappingProxyType({}),
) -> Operation:
    """An operation with SNS's own codes for the facts of the domain."""
    tagging = name.endswith(("TagResource", "TagsForResource"))

    async def coded(call: Call, members: Members) -> Members:
        try:
            found: Members | None = await handler(at, call, members)
        except domain.DomainError as error:
            raise _error(error, tagging=tagging) from error
        return found or {}

    fields = {**dict.fromkeys(served, Field.SERVED), **dict.fromkeys(refused, Field.REFUSED)}
    bound: Handler = coded
    return Operation("sns", name, bound, fields, dict(refused))


def _error(error: domain.DomainError, *, tagging: bool) -> AwsError:
    if isinstance(error, domain.NotFound):
        if tagging:
            return AwsError("ResourceNotFound", "Resource does not exist", 404)
        noun = "Subscription" if error.kind == topics.SUBSCRIPTION else "Topic"
        return AwsError("NotFound", f"{noun} does not exist", 404)
    if isinstance(error, domain.LimitExceeded):
        codes = {"topics": "TopicLimitExceeded", "subscriptions": "SubscriptionLimitExceeded"}
        if error.what.startswith("tags"):
            return AwsError("TagLimitExceeded", f"Could not complete request: tag quota of {error.limit} exceeded")
        if error.what not in codes:
            return AwsError("Throttled", "Rate exceeded: too many messages wait for this topic.", 429)
        return AwsError(codes[error.what], f"{error.what.capitalize()} limit exceeded: {error.limit}", 403)
    message = error.message if isinstance(error, domain.Invalid) else str(error)
    if isinstance(error, domain.NotServed):
        message = f"Invalid parameter: {error.what} is not served by Clary. {error.remedy}".rstrip()
    return AwsError("InvalidParameter", message)


# -- topics ------------------------------------------------------------------------------------------------------------


async def _create(at: SnsDesk, call: Call, members: Members) -> Members:
    given = unique_tags([(tag["Key"], tag["Value"]) for tag in members.get("Tags", ())])
    made = await topics.create(at, caller_of(call), members["Name"], members.get("Attributes", {}), given)
    return {"TopicArn": made.arn}


async def _delete(at: SnsDesk, call: Call, members: Members) -> None:
    await topics.remove(at, caller_of(call), members["TopicArn"])


async def _list(at: SnsDesk, call: Call, members: Members) -> Members:
    arns = [topic.arn for topic in await topics.listed(at, caller_of(call))]
    shown, more = cut(call, "ListTopics", members, arns)
    return {"Topics": [{"TopicArn": arn} for arn in shown], **more}


async def _get(at: SnsDesk, call: Call, members: Members) -> Members:
    topic, held = await topics.found(at, caller_of(call), members["TopicArn"])
    confirmed = sum(one.confirmed_us is not None for one in held)
    attributes = {
        "TopicArn": topic.arn,
        "Owner": topic.scope.account,
        "DisplayName": topic.spec.display_name,
        "Policy": topic.spec.policy or None,
        "SignatureVersion": topic.spec.signature_version,
        "SubscriptionsConfirmed": str(confirmed),
        "SubscriptionsPending": str(len(held) - confirmed),
        "SubscriptionsDeleted": "0",
    }
    return {"Attributes": {name: value for name, value in attributes.items() if value is not None}}


async def _set(at: SnsDesk, call: Call, members: Members) -> None:
    value = members.get("AttributeValue", "")
    await topics.set_attribute(at, caller_of(call), members["TopicArn"], members["AttributeName"], value)


def cut(call: Call, name: str, members: Members, keys: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A page of keys in their order, and the member that goes on after it."""
    parameters = {"operation": name, "scope": [call.scope.account, call.scope.region], "of": members.get("TopicArn")}
    after = str(page.decode(members["NextToken"], parameters)[0]) if members.get("NextToken") else ""
    ordered = sorted(keys)
    begin = bisect_right(ordered, after)
    shown = ordered[begin : begin + PAGE]
    more = begin + PAGE < len(ordered)
    return shown, {"NextToken": page.encode((shown[-1],), parameters)} if more else {}


# -- messages ----------------------------------------------------------------------------------------------------------


async def _publish(at: SnsDesk, call: Call, members: Members) -> Members:
    arn = members.get("TopicArn") or members.get("TargetArn")
    if not arn:
        raise domain.Invalid("Invalid parameter: TopicArn or TargetArn Reason: no value for required parameter")
    (message_id,) = await topics.publish(at, caller_of(call), arn, [message_of(members)])
    return {"MessageId": message_id}


async def _publish_batch(at: SnsDesk, call: Call, members: Members) -> Members:
    entries = members["PublishBatchRequestEntries"]
    _check_batch(entries)
    good, failed = [], []
    for entry in entries:
        try:
            good.append((entry["Id"], message_of(entry)))
        except domain.Invalid as error:
            failed.append(
                {"Id": entry["Id"], "Code": "InvalidParameter", "Message": error.message, "SenderFault": True}
            )
    ids = await topics.publish(at, caller_of(call), members["TopicArn"], [message for _, message in good])
    done = [{"Id": name, "MessageId": message_id} for (name, _), message_id in zip(good, ids, strict=True)]
    return {"Successful": done, "Failed": failed}


def _check_batch(entries: Sequence[Members]) -> None:
    if not entries:
        raise AwsError("EmptyBatchRequest", "The batch request doesn't contain any entries.")
    if len(entries) > BATCH_MAX:
        raise AwsError("TooManyEntriesInBatchRequest", f"The batch request contains more entries than {BATCH_MAX}.")
    names = [entry["Id"] for entry in entries]
    if len(set(names)) != len(names):
        raise AwsError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
    if not all(map(_BATCH_ID.fullmatch, names)):
        raise AwsError("InvalidBatchEntryId", "The Id of a batch entry has 1 to 80 letters, digits, - and _.")
    if sum(len(entry["Message"].encode()) for entry in entries) > MESSAGE_BYTES_MAX:
        raise AwsError("BatchRequestTooLong", f"The batch request is longer than {MESSAGE_BYTES_MAX} bytes.")


def message_of(members: Members) -> Message:
    """The message of a request; Invalid."""
    text, subject = members["Message"], members.get("Subject", "")
    if not text:
        raise domain.Invalid("Invalid parameter: Empty message")
    attributes = {name: _attribute(name, value) for name, value in members.get("MessageAttributes", {}).items()}
    size = len(text.encode()) + sum(len(n.encode()) + len(a["Value"].encode()) for n, a in attributes.items())
    if size > MESSAGE_BYTES_MAX:
        raise domain.Invalid("Invalid parameter: Message too long")
    if len(subject) > SUBJECT_CHARS_MAX or any(ord(character) < 32 for character in subject):
        raise domain.Invalid("Invalid parameter: Subject")
    structure = members.get("MessageStructure", "")
    if structure not in ("", "json"):
        raise domain.Invalid("Invalid parameter: MessageStructure")
    if not structure:
        return Message(text, subject, {}, attributes)
    by_protocol = _by_protocol(text)
    return Message(by_protocol.pop("default"), subject, by_protocol, attributes)


def _by_protocol(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        reason = "JSON message body failed to parse"
        raise domain.Invalid(f"Invalid parameter: Message Structure - {reason}") from None
    if not isinstance(found, dict) or not isinstance(found.get("default"), str):
        raise domain.Invalid("Invalid parameter: Message Structure - No default entry in JSON message body")
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _attribute(name: str, value: Mapping[str, Any]) -> dict[str, str]:
    kind = value.get("DataType", "")
    given = value.get("StringValue")
    if kind.split(".")[0] == "Binary" and "BinaryValue" in value:
        given = blob_out(value["BinaryValue"])
    if not _ATTRIBUTE.fullmatch(name):
        raise domain.Invalid(f"Invalid parameter: The message attribute name '{name[:256]}' is not valid.")
    if kind not in _TYPES and kind.split(".")[0] not in ("String", "Number", "Binary"):
        text = f"The message attribute '{name}' has an invalid message attribute type."
        raise AwsError("ParameterValueInvalid", text)
    if not given:
        text = f"The message attribute '{name}' must contain non-empty message attribute value."
        raise AwsError("ParameterValueInvalid", text)
    return {"Type": kind, "Value": given}


# -- tags --------------------------------------------------------------------------------------------------------------


async def _tag(at: SnsDesk, call: Call, members: Members) -> None:
    new = unique_tags([(tag["Key"], tag["Value"]) for tag in members["Tags"]])
    await topics.add_tags(at, caller_of(call), members["ResourceArn"], new)


async def _untag(at: SnsDesk, call: Call, members: Members) -> None:
    await topics.remove_tags(at, caller_of(call), members["ResourceArn"], members["TagKeys"])


async def _list_tags(at: SnsDesk, call: Call, members: Members) -> Members:
    return {"Tags": tag_list(await topics.list_tags(at, caller_of(call), members["ResourceArn"]))}
