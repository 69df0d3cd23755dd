"""CloudWatch Logs: PutLogEvents, into streams of one's own: those of replicas and jobs take no events."""

from __future__ import annotations

from typing import Any

from clary.control.log_groups import LogKeeper
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.logs_groups import group_of, invalid, not_users
from clary.telemetry.log_groups_own import Full, PutEvent

BATCH_BYTES_MAX = 1_048_576
EVENT_BYTES = 26
DAY_MS = 24 * 3600 * 1000
NEW_MS = 2 * 3600 * 1000
OLD_MS = 14 * DAY_MS
_NOTES = {
    "entity": "Entities belong to a service that does not exist here.",
    "sequenceToken": "As in the hosted service, any is accepted: puts need no order.",
}
_NEXT_TOKEN = "49590302938577112500000000000000000000000000000000000000"  # noqa: S105 - of no meaning any more


def operations(keeper: LogKeeper) -> tuple[Operation, ...]:
    """Putting events."""

    async def put_log_events(call: Call, members: Members) -> Members:
        return await _put(keeper, call, members)

    fields = {
        **dict.fromkeys(("logGroupName", "logStreamName", "logEvents"), Field.SERVED),
        "sequenceToken": Field.STORED,
        "entity": Field.REFUSED,
    }
    return (Operation("logs", "PutLogEvents", put_log_events, fields, _NOTES),)


async def _put(keeper: LogKeeper, call: Call, members: Members) -> Members:
    group = await group_of(keeper, call, members["logGroupName"])
    said = await keeper.said(call.scope, group)
    name = members["logStreamName"]
    if name not in said.streams:
        raise not_users(group, name)
    events = members["logEvents"]
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        raise invalid("Log events in a single PutLogEvents request must be in chronological order.")
    if times[-1] - times[0] > DAY_MS:
        text = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        raise invalid(text)
    if sum(len(event["message"].encode()) + EVENT_BYTES for event in events) > BATCH_BYTES_MAX:
        raise invalid(f"Upload too large: a batch holds at most {BATCH_BYTES_MAX} bytes.")
    now_ms = keeper.now_us() // 1000
    expired = sum(at < now_ms - said.retention_days * DAY_MS for at in times) if said.retention_days else 0
    old = max(sum(at < now_ms - OLD_MS for at in times), expired)
    new = next((index for index, at in enumerate(times) if at > now_ms + NEW_MS), len(times))
    kept = [PutEvent(event["timestamp"], now_ms, event["message"]) for event in events[old:new]]
    path = keeper.own.path_of(call.scope.account, call.scope.region, group.name, name)
    try:
        await keeper.threads.run(lambda: keeper.own.put(path, kept))
    except Full as error:
        raise AwsError("LimitExceededException", f"The limit is reached: {error}.") from None
    rejected = {
        **({"tooOldLogEventEndIndex": old} if old > expired or (old and not expired) else {}),
        **({"expiredLogEventEndIndex": expired} if expired else {}),
        **({"tooNewLogEventStartIndex": new} if new < len(times) else {}),
    }
    answer: dict[str, Any] = {"nextSequenceToken": _NEXT_TOKEN}
    return {**answer, "rejectedLogEventsInfo": rejected} if rejected else answer
