"""CloudWatch Logs, writing: groups and streams of one's own, and events put into them.

Groups of replicas and jobs are the server's: their streams take no events, and they are deleted only once what wrote
them is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clary.control.log_groups import Group, LogKeeper
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Handler, Members, Operation
from clary.telemetry.log_groups_own import Full, OwnGroup, PutEvent

BATCH_BYTES_MAX = 1_048_576
EVENT_BYTES = 26
DAY_MS = 24 * 3600 * 1000
NEW_MS = 2 * 3600 * 1000
OLD_MS = 14 * DAY_MS
_RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
_KEPT = "Kept and returned; nothing is deleted by age yet."
_REFUSED = {
    "kmsKeyId": "Logs are files of this machine; encrypt the disk.",
    "tags": "Tags of log groups come with a later release.",
    "deletionProtectionEnabled": "Deletion protection comes with a later release.",
    "entity": "Entities belong to a service that does not exist here.",
}


def operations(keeper: LogKeeper) -> tuple[Operation, ...]:
    """What is served of CloudWatch Logs besides reading."""

    async def create_log_group(call: Call, members: Members) -> Members:
        if members.get("logGroupClass", "STANDARD") != "STANDARD":
            raise _invalid("Only the log group class STANDARD is served.")
        name = members["logGroupName"]
        if await _group(keeper, call, name) is not None:
            raise AwsError("ResourceAlreadyExistsException", "The specified log group already exists")
        await _save(keeper, call, OwnGroup(name, keeper.now_us()))
        return {}

    async def create_log_stream(call: Call, members: Members) -> Members:
        group, own = await _own(keeper, call, members)
        name = members["logStreamName"]
        if any(stream.name == name for stream in group.streams):
            raise AwsError("ResourceAlreadyExistsException", "The specified log stream already exists")
        own.streams[name] = keeper.now_us()
        await _save(keeper, call, own)
        return {}

    async def put_log_events(call: Call, members: Members) -> Members:
        return await _put_events(keeper, call, members)

    async def delete_log_group(call: Call, members: Members) -> Members:
        group, _ = await _own(keeper, call, members)
        if not await keeper.forget(call.scope, group):
            raise AwsError("OperationAbortedException", "What writes into the log group still exists.")
        return {}

    async def delete_log_stream(call: Call, members: Members) -> Members:
        _, own = await _own(keeper, call, members)
        if members["logStreamName"] not in own.streams:
            await _refuse_stream(keeper, call, members)
        place = call.scope
        await keeper.threads.run(
            lambda: keeper.own.remove_stream(place.account, place.region, own, members["logStreamName"])
        )
        return {}

    async def put_retention_policy(call: Call, members: Members) -> Members:
        if members["retentionInDays"] not in _RETENTIONS:
            raise _invalid(f"retentionInDays must be one of {', '.join(map(str, _RETENTIONS))}.")
        _, own = await _own(keeper, call, members)
        own.retention_days = members["retentionInDays"]
        await _save(keeper, call, own)
        return {}

    async def delete_retention_policy(call: Call, members: Members) -> Members:
        _, own = await _own(keeper, call, members)
        own.retention_days = 0
        await _save(keeper, call, own)
        return {}

    group, stream = ("logGroupName",), ("logGroupName", "logStreamName")
    return (
        _operation(
            "CreateLogGroup", create_log_group, (*group, "logGroupClass"),
            refused=("kmsKeyId", "tags", "deletionProtectionEnabled"),
        ),
        _operation("CreateLogStream", create_log_stream, stream),
        _operation("PutLogEvents", put_log_events, (*stream, "logEvents", "sequenceToken"), refused=("entity",)),
        _operation("DeleteLogGroup", delete_log_group, group),
        _operation("DeleteLogStream", delete_log_stream, stream),
        _operation("PutRetentionPolicy", put_retention_policy, group, stored=("retentionInDays",)),
        _operation("DeleteRetentionPolicy", delete_retention_policy, group),
    )  # fmt: skip


def _operation(
    name: str, handler: Handler, served: Sequence[str], stored: Sequence[str] = (), refused: Sequence[str] = ()
) -> Operation:
    fields = {**dict.fromkeys(served, Field.SERVED), **dict.fromkeys(stored, Field.STORED)}
    notes = {**dict.fromkeys(stored, _KEPT), **{field: _REFUSED[field] for field in refused}}
    return Operation("logs", name, handler, {**fields, **dict.fromkeys(refused, Field.REFUSED)}, notes)


async def _put_events(keeper: LogKeeper, call: Call, members: Members) -> Members:
    _, own = await _own(keeper, call, members)
    if members["logStreamName"] not in own.streams:
        await _refuse_stream(keeper, call, members)
    events = members["logEvents"]
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        raise _invalid("Log events in a single PutLogEvents request must be in chronological order.")
    if times[-1] - times[0] > DAY_MS:
        text = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        raise _invalid(text)
    if sum(len(event["message"].encode()) + EVENT_BYTES for event in events) > BATCH_BYTES_MAX:
        raise _invalid(f"Upload too large: a batch holds at most {BATCH_BYTES_MAX} bytes.")
    now_ms = keeper.now_us() // 1000
    old = sum(at < now_ms - OLD_MS for at in times)
    new = next((index for index, at in enumerate(times) if at > now_ms + NEW_MS), len(times))
    kept = [PutEvent(event["timestamp"], now_ms, event["message"]) for event in events[old:new]]
    place = call.scope
    path = keeper.own.path_of(place.account, place.region, own.name, members["logStreamName"])
    try:
        await keeper.threads.run(lambda: keeper.own.put(path, kept))
    except Full as error:
        raise AwsError("LimitExceededException", f"The limit is reached: {error}.") from None
    answer: dict[str, Any] = {"nextSequenceToken": "49590302938577112500000000000000000000000000000000000000"}
    if old or new < len(times):
        answer["rejectedLogEventsInfo"] = {
            **({"tooOldLogEventEndIndex": old} if old else {}),
            **({"tooNewLogEventStartIndex": new} if new < len(times) else {}),
        }
    return answer


async def _refuse_stream(keeper: LogKeeper, call: Call, members: Members) -> None:
    group = await _group(keeper, call, members["logGroupName"])
    if group is not None and any(stream.name == members["logStreamName"] for stream in group.streams):
        raise _invalid("The log stream is written by the server alone.")
    raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")


async def _group(keeper: LogKeeper, call: Call, name: str) -> Group | None:
    return next((group for group in await keeper.groups(call.scope, name) if group.name == name), None)


async def _own(keeper: LogKeeper, call: Call, members: Members) -> tuple[Group, OwnGroup]:
    """A group, and what users added to it: nothing yet where it is the server's."""
    name = members["logGroupName"]
    group = await _group(keeper, call, name)
    if group is None:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
    place = call.scope
    own = await keeper.threads.run(lambda: keeper.own.find(place.account, place.region, name))
    return group, own or OwnGroup(name, group.created_us)


async def _save(keeper: LogKeeper, call: Call, own: OwnGroup) -> None:
    place = call.scope
    try:
        await keeper.threads.run(lambda: keeper.own.save(place.account, place.region, own))
    except Full as error:
        raise AwsError("LimitExceededException", f"The limit is reached: {error}.") from None


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)
