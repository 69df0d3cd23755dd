"""Lines of log files as events with a time, in order, from any moment on. Blocking.

An event's time lies within its window (log_times): the line's own where it names one, else that of the line before it,
else the window's end. Times therefore never go back within a file, and what comes later is never dated before what a
reader has seen: a reader that goes on from the newest time it saw misses nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from clary.telemetry.log_files import parse_line
from clary.telemetry.log_groups_own import read_events
from clary.telemetry.log_times import LINE_BYTES_MAX, LogTimes, Window, first_window

_BLOCK_BYTES = 256 << 10


class Position(NamedTuple):
    """Where an event stands among those of all streams."""

    ms: int
    """Milliseconds since 1970."""
    stream: int
    """Number of the stream: of its name's digest."""
    offset: int
    """First byte of the line."""

    @property
    def id(self) -> str:
        """56 digits, as the hosted service's event ids have."""
        return f"{self.ms:014d}{self.stream:022d}{self.offset:020d}"


def position_of(event_id: str) -> Position | None:
    """The position in an id; None for what is none."""
    if len(event_id) != 56 or not (event_id.isascii() and event_id.isdigit()):
        return None
    return Position(int(event_id[:14]), int(event_id[14:36]), int(event_id[36:]))


@dataclass(frozen=True)
class Event:
    """One line."""

    position: Position
    message: str
    stream: str
    ingested_ms: int


@dataclass(frozen=True)
class Stream:
    """One file under its name."""

    name: str
    path: Path
    created_us: int
    put: bool = False
    """Of events that users put, with times of their own (log_groups_own)."""

    @property
    def number(self) -> int:
        """Orders events of one millisecond among streams."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:9], "big")


def forward(times: LogTimes, stream: Stream, start_ms: int, end_ms: int, after: Position | None) -> Iterator[Event]:
    """Events from `start_ms` to before `end_ms`, oldest first, beyond `after`."""
    if stream.put:
        for event in _put(stream):
            if start_ms <= event.position.ms < end_ms and (after is None or event.position > after):
                yield event
        return
    windows = times.windows(stream.path)
    from_ms = max(start_ms, after.ms if after is not None else 0)
    for window in windows[first_window(windows, from_ms * 1000) :]:
        if window.since_us // 1000 >= end_ms:
            return
        for event in _window(stream, window):
            if from_ms <= event.position.ms < end_ms and (after is None or event.position > after):
                yield event


def backward(times: LogTimes, stream: Stream, start_ms: int, end_ms: int, before: Position | None) -> Iterator[Event]:
    """Events from `start_ms` to before `end_ms`, newest first, older than `before`."""
    if stream.put:
        for event in reversed(_put(stream)):
            if start_ms <= event.position.ms < end_ms and (before is None or event.position < before):
                yield event
        return
    for window in reversed(times.windows(stream.path)):
        if window.until_us // 1000 < start_ms:
            return
        if window.since_us // 1000 >= end_ms or (before is not None and window.since_us // 1000 > before.ms):
            continue
        for event in reversed(list(_window(stream, window))):
            if start_ms <= event.position.ms < end_ms and (before is None or event.position < before):
                yield event


def _put(stream: Stream) -> list[Event]:
    """All of a stream that users write, in the order of its times: they may put older events after newer ones."""
    number = stream.number
    found = [
        Event(Position(event.at_ms, number, offset), event.message, stream.name, event.ingested_ms)
        for offset, event in read_events(stream.path)
    ]
    return sorted(found, key=lambda event: event.position)


def _window(stream: Stream, window: Window) -> Iterator[Event]:
    since_ms, until_ms = window.since_us // 1000, window.until_us // 1000
    number = stream.number
    at_ms = -1
    for offset, raw in _lines(stream.path, window.start, window.end):
        line = parse_line(raw)
        told_ms = own_ms(line.ts) if line.ts else None
        if told_ms is not None:
            at_ms = max(at_ms, min(max(told_ms, since_ms), until_ms))
        elif at_ms < 0:
            at_ms = until_ms
        yield Event(Position(at_ms, number, offset), line.raw, stream.name, until_ms)


def _lines(path: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes, without its end, of each line."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        at, rest = start, b""
        while at + len(rest) < end:
            block = file.read(min(_BLOCK_BYTES, end - at - len(rest)))
            if not block:
                break
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                yield at, line
                at += len(line) + 1
            while len(rest) >= LINE_BYTES_MAX:
                yield at, rest[:LINE_BYTES_MAX]
                at += LINE_BYTES_MAX
                rest = rest[LINE_BYTES_MAX:]
        if rest:
            yield at, rest


def own_ms(ts: str) -> int | None:
    """The moment that a line names, in milliseconds; None where it names none, or no time zone."""
    try:
        at = datetime.fromisoformat(ts)
    except ValueError:
        return None
    return round(at.timestamp() * 1000) if at.tzinfo is not None else None
