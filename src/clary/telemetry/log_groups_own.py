"""Log groups that users made, and the events that they put: files below HOME/logs/groups. Blocking.

    groups/ACCOUNT/REGION/DIGEST/group.json      name, times, streams
    groups/ACCOUNT/REGION/DIGEST/DIGEST.events   one JSON line an event: time, arrival, message

Names may be longer than a file's may be, so that files are called by digests of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

GROUPS_MAX = 10_000
STREAMS_MAX = 10_000
STREAM_BYTES_MAX = 256 << 20


class OwnGroup(msgspec.Struct):
    """`group.json`."""

    name: str
    created_us: int
    retention_days: int = 0
    """0: for ever."""
    streams: dict[str, int] = {}
    """Name to the microsecond of creation."""


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

    def all(self, account: str, region: str) -> list[OwnGroup]:
        """Every group of an account and region, in no order."""
        return [group for path in self._place(account, region).glob("*/group.json") if (group := _read(path))]

    def find(self, account: str, region: str, name: str) -> OwnGroup | None:
        """One group."""
        return _read(self._folder(account, region, name) / "group.json")

    def save(self, account: str, region: str, group: OwnGroup) -> None:
        """Make or replace a group. Raises Full."""
        folder = self._folder(account, region, group.name)
        if len(group.streams) > STREAMS_MAX:
            raise Full(f"a log group holds at most {STREAMS_MAX} streams")
        if not folder.exists() and len(self.all(account, region)) >= GROUPS_MAX:
            raise Full(f"there may be at most {GROUPS_MAX} log groups")
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            fresh = folder / "group.new"
            fresh.write_bytes(msgspec.json.encode(group))
            fresh.replace(folder / "group.json")

    def remove(self, account: str, region: str, name: str) -> None:
        """Delete a group and its events."""
        with self._lock:
            shutil.rmtree(self._folder(account, region, name), ignore_errors=True)

    def remove_stream(self, account: str, region: str, group: OwnGroup, stream: str) -> None:
        """Delete a stream and its events."""
        group.streams.pop(stream, None)
        self.save(account, region, group)
        self.path_of(account, region, group.name, stream).unlink(missing_ok=True)

    def path_of(self, account: str, region: str, group: str, stream: str) -> Path:
        """The file of a stream; it may not exist yet."""
        return self._folder(account, region, group) / f"{_digest(stream)}.events"

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
            out.write(raw)
            out.flush()
            os.fsync(out.fileno())

    def _place(self, account: str, region: str) -> Path:
        return self._root / account / region

    def _folder(self, account: str, region: str, name: str) -> Path:
        return self._place(account, region) / _digest(name)


def read_events(path: Path) -> list[tuple[int, PutEvent]]:
    """(offset, event) of every event of a stream, as they were put. A line that a kill cut short is passed over."""
    found, at = [], 0
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    for line in raw.split(b"\n"):
        with contextlib.suppress(msgspec.DecodeError):
            found.append((at, msgspec.json.decode(line, type=PutEvent)))
        at += len(line) + 1
    return found


def _read(path: Path) -> OwnGroup | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=OwnGroup)
    except (OSError, msgspec.DecodeError):
        return None


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
