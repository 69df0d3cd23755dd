"""CloudWatch Logs: groups, streams and events of what replicas and jobs print, for reading.

`aws logs tail` asks FilterLogEvents alone: from a start time, page by page, then again from the newest time it saw,
leaving out the event ids that it had. So ids are stable and start times inclusive.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from clary.control.log_groups import Group, LogKeeper
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.logs_filters import pattern_of
from clary.edge.aws.resources.logs_groups import group_of, invalid, name_of
from clary.telemetry.log_events import Event, Position, Stream, backward, forward, position_of

EVENTS_MAX = 10_000
ANSWER_BYTES_MAX = 1_000_000
"""Of the messages of one answer (FilterLogEvents, GetLogEvents: 1 MB)."""
SCAN_BYTES_MAX = 16_000_000
"""Read in vain for one answer; it is then an empty page that has a next one."""
_EVENT_BYTES = 26
_FOREVER_MS = 1 << 46
_LIMIT = 50

_UNMASK = {"unmask": "Clary masks nothing."}
_LINKED = "There are no linked accounts."
GROUP_NOTES = {"accountIdentifiers": _LINKED, "includeLinkedAccounts": _LINKED}


def operations(keeper: LogKeeper) -> tuple[Operation, ...]:
    """What is served of CloudWatch Logs."""

    async def describe_log_groups(call: Call, members: Members) -> Members:
        return await _describe_groups(keeper, call, members)

    async def describe_log_streams(call: Call, members: Members) -> Members:
        group = await _group(keeper, call, members)
        return await keeper.threads.run(lambda: _describe_streams(keeper, call, members, group))

    async def get_log_events(call: Call, members: Members) -> Members:
        group = await _group(keeper, call, members)
        stream = _stream(group, members["logStreamName"])
        return await keeper.threads.run(lambda: _get_events(keeper, members, group, stream))

    async def filter_log_events(call: Call, members: Members) -> Members:
        group = await _group(keeper, call, members)
        streams = _chosen(group, members)
        return await keeper.threads.run(lambda: _filter_events(keeper, call, members, group, streams))

    group = ("logGroupName", "logGroupIdentifier")
    groups = ("logGroupNamePrefix", "logGroupNamePattern", "logGroupIdentifiers", "logGroupClass", "nextToken", "limit")
    streams = (*group, "logStreamNamePrefix", "orderBy", "descending", "nextToken", "limit")
    events = (*group, "startTime", "endTime", "nextToken", "limit", "startFromHead")
    chosen = ("logStreamNames", "logStreamNamePrefix", "filterPattern", "interleaved")
    stored = {"unmask": Field.STORED}
    refused = dict.fromkeys(GROUP_NOTES, Field.REFUSED)
    return (
        Operation("logs", "DescribeLogGroups", describe_log_groups, {**_served(*groups), **refused}, GROUP_NOTES),
        Operation("logs", "DescribeLogStreams", describe_log_streams, _served(*streams)),
        Operation("logs", "GetLogEvents", get_log_events, {**_served(*events, "logStreamName"), **stored}, _UNMASK),
        Operation("logs", "FilterLogEvents", filter_log_events, {**_served(*events, *chosen), **stored}, _UNMASK),
    )


def _served(*names: str) -> dict[str, Field]:
    return dict.fromkeys(names, Field.SERVED)


# -- groups and streams ------------------------------------------------------------------------------------------------


async def _describe_groups(keeper: LogKeeper, call: Call, members: Members) -> Members:
    prefix, pattern = members.get("logGroupNamePrefix", ""), members.get("logGroupNamePattern", "")
    if prefix and pattern:
        raise invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
    found = await keeper.groups(call.scope, prefix)
    if pattern:
        found = [group for group in found if pattern.lower() in group.name.lower()]
    wanted = members.get("logGroupIdentifiers")
    if wanted:
        names = {name_of(call, identifier) for identifier in wanted}
        found = [group for group in found if group.name in names]
    if members.get("logGroupClass", "STANDARD") != "STANDARD":
        found = []
    shown, token = _cut(call, "DescribeLogGroups", members, found, lambda group: group.name)
    items = await keeper.threads.run(lambda: [_group_members(call, group) for group in shown])
    return {"logGroups": items, **({"nextToken": token} if token else {})}


def _group_members(call: Call, group: Group) -> dict[str, Any]:
    arn = f"arn:aws:logs:{call.scope.region}:{call.scope.account}:log-group:{group.name}"
    kept = {"retentionInDays": group.retention_days} if group.retention_days else {}
    return {
        "logGroupName": group.name,
        "creationTime": group.created_us // 1000,
        **kept,
        "metricFilterCount": group.filters,
        "arn": f"{arn}:*",
        "storedBytes": sum(stream.path.stat().st_size for stream in group.streams if stream.path.exists()),
        "logGroupClass": "STANDARD",
        "logGroupArn": arn,
        "deletionProtectionEnabled": group.protected,
    }


def _describe_streams(keeper: LogKeeper, call: Call, members: Members, group: Group) -> Members:
    by_time = members.get("orderBy") == "LastEventTime"
    prefix = members.get("logStreamNamePrefix", "")
    if by_time and prefix:
        raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    keeper.look(group.streams)
    found = [stream for stream in group.streams if stream.name.startswith(prefix)]

    def order(stream: Stream) -> str:
        last = next(backward(keeper.times, stream, 0, _FOREVER_MS, None), None) if by_time else None
        at_ms = stream.created_us // 1000 if last is None else last.position.ms
        return f"{at_ms:020d} {stream.name}" if by_time else stream.name

    shown, token = _cut(call, "DescribeLogStreams", members, found, order)
    items = [_stream_members(keeper, call, group, stream) for stream in shown]
    return {"logStreams": items, **({"nextToken": token} if token else {})}


def _stream_members(keeper: LogKeeper, call: Call, group: Group, stream: Stream) -> dict[str, Any]:
    place = f"{call.scope.region}:{call.scope.account}"
    since_ms = group.kept_from_ms(keeper.now_us())
    first = next(forward(keeper.times, stream, since_ms, _FOREVER_MS, None), None)
    last = next(backward(keeper.times, stream, since_ms, _FOREVER_MS, None), None)
    times = {}
    if first is not None and last is not None:
        times = {
            "firstEventTimestamp": first.position.ms,
            "lastEventTimestamp": last.position.ms,
            "lastIngestionTime": last.ingested_ms,
        }
    return {
        "logStreamName": stream.name,
        "creationTime": stream.created_us // 1000,
        **times,
        "arn": f"arn:aws:logs:{place}:log-group:{group.name}:log-stream:{stream.name}",
        "storedBytes": 0,
    }


def _cut(
    call: Call, operation: str, members: Members, found: Sequence[Any], key_of: Callable[[Any], str]
) -> tuple[list[Any], str | None]:
    """One page of what is all at hand, in the order of keys; it goes on after the key of the last one given."""
    kept = {name: value for name, value in members.items() if name not in ("nextToken", "limit")}
    parameters = {**kept, "": [operation, call.scope.account, call.scope.region]}
    down = members.get("descending", False)
    keyed = sorted(((key_of(one), number) for number, one in enumerate(found)), reverse=down)
    if members.get("nextToken"):
        last = str(page.decode(members["nextToken"], parameters, field="nextToken")[0])
        keyed = [one for one in keyed if (one[0] < last if down else one[0] > last)]
    limit = members.get("limit", _LIMIT)
    shown = keyed[:limit]
    token = page.encode((shown[-1][0], ""), parameters) if len(keyed) > limit else None
    return [found[number] for _, number in shown], token


# -- events ------------------------------------------------------------------------------------------------------------


def _get_events(keeper: LogKeeper, members: Members, group: Group, stream: Stream) -> Members:
    keeper.look((stream,))
    start_ms = max(members.get("startTime", 0), group.kept_from_ms(keeper.now_us()))
    end_ms = members.get("endTime", _FOREVER_MS)
    limit = members.get("limit", EVENTS_MAX)
    token = members.get("nextToken", "")
    at = position_of(token[2:]) if token else None
    if token and (token[:2] not in ("f/", "b/") or at is None):
        raise invalid("The specified nextToken is invalid.")
    ahead = token.startswith("f/") if token else members.get("startFromHead", False)
    walk = forward if ahead else backward
    events = list(_bounded(walk(keeper.times, stream, start_ms, end_ms, at), limit))
    if not ahead:
        events.reverse()
    # Where nothing was found, the tokens lead on from where the search was.
    here = at or Position(0, stream.number, 0)
    first, last = (events[0].position, events[-1].position) if events else (here, here)
    return {
        "events": [
            {"timestamp": one.position.ms, "message": one.message, "ingestionTime": one.ingested_ms} for one in events
        ],
        "nextForwardToken": f"f/{last.id}",
        "nextBackwardToken": f"b/{first.id}",
    }


def _bounded(events: Iterator[Event], limit: int) -> Iterator[Event]:
    size = 0
    for event in islice(events, limit):
        size += len(event.message.encode()) + _EVENT_BYTES
        if size > ANSWER_BYTES_MAX and size > len(event.message.encode()) + _EVENT_BYTES:
            return
        yield event


def _filter_events(
    keeper: LogKeeper, call: Call, members: Members, group: Group, streams: tuple[Stream, ...]
) -> Members:
    matches = pattern_of(members.get("filterPattern", ""))
    keeper.look(streams)
    kept = {name: value for name, value in members.items() if name not in ("nextToken", "limit", "startFromHead")}
    parameters = {**kept, "": ["FilterLogEvents", call.scope.account, call.scope.region]}
    ahead, at = members.get("startFromHead", True), None
    if members.get("nextToken"):
        direction, event_id = page.decode(members["nextToken"], parameters, field="nextToken")
        ahead, at = direction == "f", position_of(str(event_id))
    start_ms = max(members.get("startTime", 0), group.kept_from_ms(keeper.now_us()))
    end_ms = members.get("endTime", _FOREVER_MS - 1) + 1
    walk = forward if ahead else backward
    walks = [walk(keeper.times, stream, start_ms, end_ms, at) for stream in streams]
    merged = heapq.merge(*walks, key=lambda event: event.position, reverse=not ahead)
    found: list[Event] = []
    size = scanned = 0
    last: Event | None = None
    more = False
    limit = members.get("limit", EVENTS_MAX)
    for event in merged:
        bytes_ = len(event.message.encode()) + _EVENT_BYTES
        fits = matches(event.message)
        if scanned > SCAN_BYTES_MAX or (fits and found and (len(found) >= limit or size + bytes_ > ANSWER_BYTES_MAX)):
            more = True
            break
        last = event
        scanned += bytes_
        if fits:
            found.append(event)
            size += bytes_
    answer: dict[str, Any] = {"events": [_filtered(event) for event in found], "searchedLogStreams": []}
    if more and last is not None:
        answer["nextToken"] = page.encode(("f" if ahead else "b", last.position.id), parameters)
    return answer


def _filtered(event: Event) -> dict[str, Any]:
    return {
        "logStreamName": event.stream,
        "timestamp": event.position.ms,
        "message": event.message,
        "ingestionTime": event.ingested_ms,
        "eventId": event.position.id,
    }


# -- whose -------------------------------------------------------------------------------------------------------------


async def _group(keeper: LogKeeper, call: Call, members: Members) -> Group:
    given = [members[name] for name in ("logGroupName", "logGroupIdentifier") if members.get(name)]
    if len(given) != 1:
        raise invalid("Give exactly one of logGroupName and logGroupIdentifier.")
    return await group_of(keeper, call, name_of(call, given[0]))


def _stream(group: Group, name: str) -> Stream:
    for stream in group.streams:
        if stream.name == name:
            return stream
    raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")


def _chosen(group: Group, members: Members) -> tuple[Stream, ...]:
    names, prefix = members.get("logStreamNames") or [], members.get("logStreamNamePrefix", "")
    if names and prefix:
        raise invalid("logStreamNamePrefix and logStreamNames are mutually exclusive.")
    if names:
        return tuple(_stream(group, name) for name in dict.fromkeys(names))
    return tuple(stream for stream in group.streams if stream.name.startswith(prefix))
