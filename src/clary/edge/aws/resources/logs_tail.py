"""CloudWatch Logs: StartLiveTail, lines of groups as they come, as an event stream of one update a second.

Clients put `stream-` before the host of this operation: where the server goes by an address or by `localhost` they must
not (`inject_host_prefix=False`, AWS_DISABLE_HOST_PREFIX_INJECTION=true); with `clary exec --proxy` they may.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from clary.control.log_groups import Group, LogKeeper
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Answer, Call, Field, Members, Operation
from clary.edge.aws.resources.logs_filters import pattern_of
from clary.edge.aws.resources.logs_groups import group_of, invalid, name_of
from clary.kit import eventstream
from clary.kit.clock import MICROS
from clary.telemetry.log_events import Stream, own_ms
from clary.telemetry.log_files import parse_line
from clary.telemetry.log_groups_own import event_of
from clary.telemetry.log_pattern import Pattern
from clary.telemetry.log_reader import end_of, read_lines

EVENTS_MAX = 500
"""Of one update; more are sampled."""
SESSION_S = 3 * 3600
SESSIONS_MAX = 15
"""At once (quotas of CloudWatch Logs)."""
READ_BYTES_MAX = 4 << 20
"""Of one log in one second; the rest comes with the next update."""
PERIOD_S = 1.0


@dataclass
class Sessions:
    """How many there are."""

    count: int = 0


@dataclass
class _Tail:
    """One session."""

    keeper: LogKeeper
    call: Call
    names: tuple[str, ...]
    streams: frozenset[str]
    prefixes: tuple[str, ...]
    pattern: Pattern
    at: dict[Path, int] = field(default_factory=dict)

    def chosen(self, groups: list[Group]) -> list[tuple[Group, Stream]]:
        """The streams that are looked at."""
        return [(group, stream) for group in groups for stream in group.streams if self._is_chosen(stream.name)]

    def _is_chosen(self, name: str) -> bool:
        if not self.streams and not self.prefixes:
            return True
        return name in self.streams or (bool(self.prefixes) and name.startswith(self.prefixes))

    async def groups(self) -> list[Group]:
        """The groups as they are now; those that were deleted meanwhile are left out."""
        found = [await self.keeper.groups(self.call.scope, name) for name in self.names]
        return [group for groups, name in zip(found, self.names, strict=True) for group in groups if group.name == name]

    def skip(self, chosen: list[tuple[Group, Stream]]) -> None:
        """What is there already is not shown. Blocking."""
        for _, stream in chosen:
            self.at[stream.path] = end_of(stream.path)

    def news(self, chosen: list[tuple[Group, Stream]], now_ms: int) -> list[dict[str, Any]]:
        """What came since and fits. Blocking."""
        found = []
        for group, stream in chosen:
            try:
                piece = read_lines(stream.path, self.at.get(stream.path, 0), READ_BYTES_MAX)
            except FileNotFoundError:
                continue
            self.at[stream.path] = piece.position
            for raw in piece.lines:
                event = event_of(raw) if stream.put else None
                if event is not None:
                    message, at_ms = event.message, event.at_ms
                else:
                    line = parse_line(raw)
                    message, at_ms = line.raw, (own_ms(line.ts) if line.ts else None) or now_ms
                if message and self.pattern(message):
                    found.append(
                        {
                            "logStreamName": stream.name,
                            "logGroupIdentifier": f"{self.call.scope.account}:{group.name}",
                            "message": message,
                            "timestamp": at_ms,
                            "ingestionTime": now_ms if event is None else event.ingested_ms,
                        }
                    )
        return found


def operations(keeper: LogKeeper) -> tuple[Operation, ...]:
    """Live tails."""
    sessions = Sessions()

    async def start_live_tail(call: Call, members: Members) -> Answer:
        tail = await _tail(keeper, call, members)
        if sessions.count >= SESSIONS_MAX:
            raise AwsError("LimitExceededException", f"There may be at most {SESSIONS_MAX} live tails at once.")
        stream = _events(tail, members, sessions)
        await anext(stream)
        return Answer({}, {"content-type": eventstream.CONTENT_TYPE}, stream=stream)

    fields = ("logGroupIdentifiers", "logStreamNames", "logStreamNamePrefixes", "logEventFilterPattern")
    return (Operation("logs", "StartLiveTail", start_live_tail, dict.fromkeys(fields, Field.SERVED)),)


async def _tail(keeper: LogKeeper, call: Call, members: Members) -> _Tail:
    names = [name_of(call, identifier) for identifier in members["logGroupIdentifiers"]]
    streams, prefixes = members.get("logStreamNames", ()), members.get("logStreamNamePrefixes", ())
    if streams and prefixes:
        raise invalid("logStreamNames and logStreamNamePrefixes are mutually exclusive.")
    if (streams or prefixes) and len(names) > 1:
        raise invalid("Streams are chosen of one log group only.")
    for name in names:
        await group_of(keeper, call, name)
    pattern = pattern_of(members.get("logEventFilterPattern", ""))
    return _Tail(keeper, call, tuple(dict.fromkeys(names)), frozenset(streams), tuple(prefixes), pattern)


async def _events(tail: _Tail, members: Members, sessions: Sessions) -> AsyncIterator[bytes]:
    """The session counts from the first item on, which is empty: that the call takes, before any other call runs."""
    keeper = tail.keeper
    sessions.count += 1
    try:
        yield b""
        # What is put from the answer's first byte on is shown.
        chosen = tail.chosen(await tail.groups())
        await keeper.threads.run(lambda: tail.skip(chosen))
        yield _event("initial-response", {})
        yield _event(
            "sessionStart",
            {"requestId": tail.call.request_id, "sessionId": tail.call.request_id, **members},
        )
        until_us = keeper.now_us() + SESSION_S * MICROS
        while not keeper.stopping():
            await keeper.sleep(PERIOD_S)
            if keeper.now_us() >= until_us:
                yield eventstream.exception("SessionTimeoutException", {"message": "The session ended after 3 hours."})
                return
            chosen = tail.chosen(await tail.groups())
            now_ms = keeper.now_us() // 1000
            found = await keeper.threads.run(functools.partial(tail.news, chosen, now_ms))
            found.sort(key=lambda event: event["timestamp"])
            yield _event("sessionUpdate", _update(found))
    finally:
        sessions.count -= 1


def _update(found: list[dict[str, Any]]) -> dict[str, Any]:
    count = len(found)
    if count > EVENTS_MAX:
        found = [found[number * count // EVENTS_MAX] for number in range(EVENTS_MAX)]
    return {"sessionMetadata": {"sampled": count > EVENTS_MAX}, "sessionResults": found}


def _event(name: str, members: Mapping[str, Any]) -> bytes:
    headers: dict[str, eventstream.HeaderValue] = {
        ":message-type": "event",
        ":event-type": name,
        ":content-type": "application/json",
    }
    return eventstream.encode(headers, orjson.dumps(dict(members)))
