"""CloudWatch Logs: making, changing and deleting groups and streams, and what is said about groups.

Groups of replicas and jobs are the server's: they are deleted only once what wrote them is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from clary.control.log_groups import Group, LogKeeper, Result
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Handler, Members, Operation
from clary.telemetry.log_groups_own import Full, OwnGroup

RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
TAGS_MAX = 50
ARN = re.compile(r"arn:aws[a-z-]*:logs:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):log-group:(?P<name>[^:]+)(:\*)?")
_NOTES = {"kmsKeyId": "Logs are files of this machine; encrypt the disk."}


def operations(keeper: LogKeeper) -> tuple[Operation, ...]:
    """Groups, streams, retention, tags."""
    group, stream = ("logGroupName",), ("logGroupName", "logStreamName")
    made = (*group, "logGroupClass", "tags", "deletionProtectionEnabled")
    resource = ("resourceArn",)

    def served(name: str, handler: Callable[[LogKeeper, Call, Members], Any], fields: Sequence[str]) -> Operation:
        return Operation("logs", name, _bound(handler, keeper), dict.fromkeys(fields, Field.SERVED))

    refused = {**dict.fromkeys(made, Field.SERVED), "kmsKeyId": Field.REFUSED}
    return (
        Operation("logs", "CreateLogGroup", _bound(_create_group, keeper), refused, _NOTES),
        served("DeleteLogGroup", _delete_group, group),
        served("CreateLogStream", _create_stream, stream),
        served("DeleteLogStream", _delete_stream, stream),
        served("PutRetentionPolicy", _put_retention, (*group, "retentionInDays")),
        served("DeleteRetentionPolicy", _delete_retention, group),
        served("PutLogGroupDeletionProtection", _protect, ("logGroupIdentifier", "deletionProtectionEnabled")),
        served("TagResource", _tag_resource, (*resource, "tags")),
        served("UntagResource", _untag_resource, (*resource, "tagKeys")),
        served("ListTagsForResource", _list_tags_for_resource, resource),
        served("TagLogGroup", _tag_group, (*group, "tags")),
        served("UntagLogGroup", _untag_group, (*group, "tags")),
        served("ListTagsLogGroup", _list_tags_of_group, group),
    )


def _bound(handler: Callable[[LogKeeper, Call, Members], Any], keeper: LogKeeper) -> Handler:
    async def bound(call: Call, members: Members) -> Members:
        found: Members | None = await handler(keeper, call, members)
        return found or {}

    return bound


# -- groups and streams ------------------------------------------------------------------------------------------------


async def _create_group(keeper: LogKeeper, call: Call, members: Members) -> None:
    if members.get("logGroupClass", "STANDARD") != "STANDARD":
        raise invalid("Only the log group class STANDARD is served.")
    name = members["logGroupName"]
    if await group_or_none(keeper, call, name) is not None:
        raise AwsError("ResourceAlreadyExistsException", "The specified log group already exists")

    def make(own: OwnGroup) -> None:
        own.tags = dict(members.get("tags", {}))
        own.protected = members.get("deletionProtectionEnabled", False)

    await change(keeper, call, Group(name, keeper.now_us(), ()), make)


async def _delete_group(keeper: LogKeeper, call: Call, members: Members) -> None:
    group = await group_of(keeper, call, members["logGroupName"])
    if (await keeper.said(call.scope, group)).protected:
        raise AwsError("ValidationException", "The log group is protected from deletion; end that first.")
    if not await keeper.forget(call.scope, group):
        raise AwsError("OperationAbortedException", "What writes into the log group still exists.")


async def _create_stream(keeper: LogKeeper, call: Call, members: Members) -> None:
    group = await group_of(keeper, call, members["logGroupName"])
    name, now_us = members["logStreamName"], keeper.now_us()
    exists = AwsError("ResourceAlreadyExistsException", "The specified log stream already exists")
    if any(stream.name == name for stream in group.streams):
        raise exists

    def add(own: OwnGroup) -> None:
        if own.streams.setdefault(name, now_us) != now_us:
            raise exists

    await change(keeper, call, group, add)


async def _delete_stream(keeper: LogKeeper, call: Call, members: Members) -> None:
    group = await group_of(keeper, call, members["logGroupName"])
    name, place = members["logStreamName"], call.scope
    if not await change(keeper, call, group, lambda own: own.streams.pop(name, None)):
        raise not_users(group, name)
    path = keeper.own.path_of(place.account, place.region, group.name, name)
    await keeper.threads.run(lambda: keeper.own.remove_events(path))


def not_users(group: Group, name: str) -> AwsError:
    """Why nobody writes or deletes a stream: it is the server's, or it is not there."""
    if any(stream.name == name for stream in group.streams):
        return invalid("The log stream is written by the server alone.")
    return AwsError("ResourceNotFoundException", "The specified log stream does not exist.")


# -- what is said about groups -----------------------------------------------------------------------------------------


async def _put_retention(keeper: LogKeeper, call: Call, members: Members) -> None:
    days = members["retentionInDays"]
    if days not in RETENTIONS:
        raise invalid(f"retentionInDays must be one of {', '.join(map(str, RETENTIONS))}.")
    await _set(keeper, call, members["logGroupName"], "retention_days", days)


async def _delete_retention(keeper: LogKeeper, call: Call, members: Members) -> None:
    await _set(keeper, call, members["logGroupName"], "retention_days", 0)


async def _protect(keeper: LogKeeper, call: Call, members: Members) -> None:
    name = name_of(call, members["logGroupIdentifier"])
    await _set(keeper, call, name, "protected", members["deletionProtectionEnabled"])


async def _set(keeper: LogKeeper, call: Call, name: str, field: str, value: object) -> None:
    group = await group_of(keeper, call, name)
    await change(keeper, call, group, lambda own: setattr(own, field, value))


async def _tag_resource(keeper: LogKeeper, call: Call, members: Members) -> None:
    await _tag(keeper, call, _group_name(call, members), members["tags"])


async def _untag_resource(keeper: LogKeeper, call: Call, members: Members) -> None:
    await _untag(keeper, call, _group_name(call, members), members["tagKeys"])


async def _list_tags_for_resource(keeper: LogKeeper, call: Call, members: Members) -> Members:
    return await _tags(keeper, call, _group_name(call, members))


async def _tag_group(keeper: LogKeeper, call: Call, members: Members) -> None:
    await _tag(keeper, call, members["logGroupName"], members["tags"])


async def _untag_group(keeper: LogKeeper, call: Call, members: Members) -> None:
    await _untag(keeper, call, members["logGroupName"], members["tags"])


async def _list_tags_of_group(keeper: LogKeeper, call: Call, members: Members) -> Members:
    return await _tags(keeper, call, members["logGroupName"])


async def _tag(keeper: LogKeeper, call: Call, name: str, tags: dict[str, str]) -> None:
    def put(own: OwnGroup) -> None:
        own.tags |= tags
        if len(own.tags) > TAGS_MAX:
            raise AwsError("TooManyTagsException", f"A resource can have no more than {TAGS_MAX} tags.")

    await change(keeper, call, await group_of(keeper, call, name), put)


async def _untag(keeper: LogKeeper, call: Call, name: str, keys: Sequence[str]) -> None:
    def take(own: OwnGroup) -> None:
        own.tags = {key: value for key, value in own.tags.items() if key not in keys}

    await change(keeper, call, await group_of(keeper, call, name), take)


async def _tags(keeper: LogKeeper, call: Call, name: str) -> Members:
    group = await group_of(keeper, call, name)
    return {"tags": (await keeper.said(call.scope, group)).tags}


# -- whose -------------------------------------------------------------------------------------------------------------


def invalid(message: str) -> AwsError:
    """A request that breaks a rule."""
    return AwsError("InvalidParameterException", message)


def name_of(call: Call, identifier: str) -> str:
    """A group's name from its name or ARN; InvalidParameterException for another account's or region's."""
    found = ARN.fullmatch(identifier)
    if found is None:
        return identifier
    if (found["account"], found["region"]) != (call.scope.account, call.scope.region):
        raise invalid("The log group belongs to another account or region.")
    return found["name"]


def _group_name(call: Call, members: Members) -> str:
    if ARN.fullmatch(members["resourceArn"]) is None:
        raise invalid("Only log groups have tags here; give the ARN of one.")
    return name_of(call, members["resourceArn"])


async def group_or_none(keeper: LogKeeper, call: Call, name: str) -> Group | None:
    """A group by its name."""
    return next((group for group in await keeper.groups(call.scope, name) if group.name == name), None)


async def group_of(keeper: LogKeeper, call: Call, name: str) -> Group:
    """A group by its name; ResourceNotFoundException."""
    group = await group_or_none(keeper, call, name)
    if group is None:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
    return group


async def change(keeper: LogKeeper, call: Call, group: Group, work: Callable[[OwnGroup], Result]) -> Result:
    """Change what is said about a group; LimitExceededException."""
    try:
        return await keeper.change(call.scope, group, work)
    except Full as error:
        raise AwsError("LimitExceededException", f"The limit is reached: {error}.") from None
