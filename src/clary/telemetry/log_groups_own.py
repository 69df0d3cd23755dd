"""Log groups that users made, and the events that they put: files below HOME/logs/groups. Blocking.

    groups/ACCOUNT/REGION/DIGEST/group.json      name, times, streams, tags, metric filters
    groups/ACCOUNT/REGION/DIGEST/DIGEST.events   one JSON line an event: time, arrival, message

Names may be longer than a file's may be, so that files are called by digests of them. An event's offset counts all
bytes of events that its stream ever held: where the oldest were cut off, the file's first line says how many bytes.
What users add to groups of the server (retention, tags, filters) stands in a `group.json` of theirs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from clary.kit.durable import replace_file

Result = TypeVar("Result")

GROUPS_MAX = 10_000
STREAMS_MAX = 10_000
STREAM_BYTES_MAX = 256 << 20
BYTES_MAX = 8 << 30
"""Of all events of all groups, as stored."""
TRIM_BYTES_MIN = 64 << 10
"""Of events too old before a file is written anew without them, unless all of them are."""
HEAD_BYTES_MAX = 64
EVENTS = ".events"
_HEAD = b'{"base":'


class LogFilter(msgspec.Struct, frozen=True):
    """A metric filter: what it looks for, and the one metric that it makes of it."""

    pattern: str
    created_us: int
    namespace: str
    metric: str
    value: str
    """A number, or the selector of one: `$.latency`, `$bytes`."""
    default: float | None = None
    """Of a line that does not fit."""
    unit: str = "None"
    dimensions: dict[str, str] = {}
    """Name to selector."""


class OwnGroup(msgspec.Struct):
    """`group.json`."""

    name: str
    created_us: int
    retention_days: int = 0
    """0: for ever."""
    streams: dict[str, int] = {}
    """Name to the microsecond of creation."""
    tags: dict[str, str] = {}
    filters: dict[str, LogFilter] = {}
    """Metric filters by name."""
    protected: bool = False
    """Whether it may not be deleted."""


class PutEvent(msgspec.Struct, frozen=True):
    """One line of a stream's file."""

    at_ms: int
    ingested_ms: int
    message: str


class Full(Exception):  # noqa: N818 - a fact
    """A limit is reached; the text says which."""


class OwnGroups:
    """The groups of one HOME. Threads may call all at once."""

    def __init__(self, root: Path) -> None:
        """`root`: HOME/logs/groups."""
        self._root = root
        self._lock = threading.Lock()
        self._bytes = -1
        """Of all events; negative until they are counted."""
        self._known: dict[Path, tuple[int, OwnGroup | None]] = {}

    def all(self, account: str, region: str) -> list[OwnGroup]:
        """Every group of an account and region, in no order. Not to be changed."""
        found = self._place(account, region).glob("*/group.json")
        return [group for path in found if (group := self.known(path.parent))]

    def find(self, account: str, region: str, name: str) -> OwnGroup | None:
        """One group."""
        return _read(self._folder(account, region, name) / "group.json")

    def known(self, folder: Path) -> OwnGroup | None:
        """The group of a folder, read again only where its file is another one. Not to be changed."""
        path = folder / "group.json"
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            self._known.pop(folder, None)
            return None
        seen = self._known.get(folder)
        if seen is None or seen[0] != inode:
            seen = self._known[folder] = (inode, _read(path))
        return seen[1]

    def folder_of(self, account: str, region: str, name: str) -> Path:
        """Where a group's files are; it may not exist."""
        return self._folder(account, region, name)

    def every(self) -> list[tuple[str, str, Path]]:
        """Account, region and folder of every group there is."""
        found = self._root.glob("*/*/*/group.json")
        return [(path.parts[-4], path.parts[-3], path.parent) for path in found]

    def event_files(self) -> list[Path]:
        """The file of every stream that holds events."""
        return list(self._root.glob(f"*/*/*/*{EVENTS}"))

    def change(
        self, account: str, region: str, name: str, created_us: int, work: Callable[[OwnGroup], Result]
    ) -> Result:
        """Run `work` on a group, one that is new where there is none, and keep what it made of it. Raises Full, and
        what `work` raises: then nothing is changed."""
        folder = self._folder(account, region, name)
        with self._lock:
            group = _read(folder / "group.json") or OwnGroup(name, created_us)
            result = work(group)
            if len(group.streams) > STREAMS_MAX:
                raise Full(f"a log group holds at most {STREAMS_MAX} streams")
            if not folder.exists() and len(self.all(account, region)) >= GROUPS_MAX:
                raise Full(f"there may be at most {GROUPS_MAX} log groups")
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / "group.json", msgspec.json.encode(group))
            # The file after the next may have this one's inode.
            self._known.pop(folder, None)
        return result

    def remove(self, account: str, region: str, name: str) -> None:
        """Delete a group and its events."""
        with self._lock:
            self._bytes = -1
            shutil.rmtree(self._folder(account, region, name), ignore_errors=True)

    def remove_events(self, path: Path) -> None:
        """Delete the events of a stream."""
        with self._lock:
            self._bytes = -1
            path.unlink(missing_ok=True)

    def path_of(self, account: str, region: str, group: str, stream: str) -> Path:
        """The file of a stream; it may not exist yet."""
        return self._folder(account, region, group) / f"{_digest(stream)}{EVENTS}"

    def put(self, path: Path, events: Iterable[PutEvent]) -> None:
        """Append events, all or none of them. Raises Full."""
        raw = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
        with self._lock, path.open("a+b") as out:
            out.seek(0, os.SEEK_END)
            if out.tell():
                out.seek(-1, os.SEEK_END)
                raw = raw if out.read(1) == b"\n" else b"\n" + raw  # after what a kill cut short
            if out.tell() + len(raw) > STREAM_BYTES_MAX:
                raise Full(f"a log stream holds at most {STREAM_BYTES_MAX} bytes")
            if self._total() + len(raw) > BYTES_MAX:
                raise Full(f"all log groups together hold at most {BYTES_MAX} bytes; delete some, or set a retention")
            self._bytes += len(raw)
            out.write(raw)
            out.flush()
            os.fsync(out.fileno())

    def trim(self, path: Path, before_ms: int) -> int:
        """Cut off a stream's oldest events, as they were put, that are before `before_ms`. Gives the bytes freed."""
        with self._lock:
            events = read_events(path)
            kept = next((offset for offset, event in events if event.at_ms >= before_ms), None)
            try:
                raw = path.read_bytes()
            except FileNotFoundError:
                return 0
            base, head = head_of(raw)
            end = base + len(raw) - head
            cut = end if kept is None else kept
            if cut - base < (1 if kept is None else TRIM_BYTES_MIN):
                return 0
            fresh = path.with_suffix(".new")
            fresh.write_bytes(b'{"base":%d}\n' % cut + raw[head + cut - base :])
            fresh.replace(path)
            self._bytes = -1
            return cut - base

    def _total(self) -> int:
        if self._bytes < 0:
            self._bytes = sum(path.stat().st_size for path in self.event_files())
        return self._bytes

    def _place(self, account: str, region: str) -> Path:
        return self._root / account / region

    def _folder(self, account: str, region: str, name: str) -> Path:
        return self._place(account, region) / _digest(name)


def read_events(path: Path) -> list[tuple[int, PutEvent]]:
    """(offset, event) of every event of a stream, as they were put. A line that a kill cut short is passed over."""
    found = []
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    at, head = head_of(raw)
    for line in raw[head:].split(b"\n"):
        event = event_of(line)
        if event is not None:
            found.append((at, event))
        at += len(line) + 1
    return found


def event_of(line: bytes) -> PutEvent | None:
    """The event of a file's line; None for what is none."""
    try:
        return msgspec.json.decode(line, type=PutEvent)
    except msgspec.DecodeError:
        return None


def head_of(raw: bytes) -> tuple[int, int]:
    """How many bytes of events were cut off before the first of a file, and how many bytes say so; its start is given.

    Files of other logs have no such line: 0 and 0.
    """
    if not raw.startswith(_HEAD):
        return 0, 0
    digits, _, _ = raw[len(_HEAD) :].partition(b"}\n")
    return (int(digits), len(_HEAD) + len(digits) + 2) if digits.isdigit() and len(digits) < 20 else (0, 0)


def _read(path: Path) -> OwnGroup | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=OwnGroup)
    except (OSError, msgspec.DecodeError):
        return None


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
