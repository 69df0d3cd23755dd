"""Reading log files: the last lines, and those that come. Lines are Clary's JSON or whatever a model prints.

Survives both kinds of rotation: a file that is renamed away (its rest is read, then the new one), and one that is
copied and truncated in place, even if it has grown past the old position since.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from clary.kit.clock import Clock

LINE_BYTES_MAX = 64 << 10
"""A longer line is given in pieces."""
READ_BYTES_MAX = 1 << 20
TAIL_BYTES_MAX = 16 << 20
"""How far back the last lines are looked for."""
POLL_S = 0.25

_TRACE_BYTES = 64
_BLOCK_BYTES = 64 << 10


@dataclass(frozen=True)
class LogLine:
    """One line. `level` and `ts` are empty for one that a model printed; `event` is then the line itself."""

    raw: str
    ts: str = ""
    level: str = ""
    event: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)
    """All further keys that are not empty."""


def parse_line(raw: bytes) -> LogLine:
    """A line without its end. Bytes that are no UTF-8 are shown as replacement characters."""
    text = raw.decode("utf-8", "replace").rstrip("\r")
    if raw.startswith(b"{"):
        try:
            members = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            members = None
        if isinstance(members, dict) and isinstance(members.get("ts"), str) and isinstance(members.get("event"), str):
            level = members.get("level")
            rest = {k: v for k, v in members.items() if k not in ("ts", "level", "event") and v != ""}
            return LogLine(text, members["ts"], level if isinstance(level, str) else "", members["event"], rest)
    return LogLine(text, event=text)


class Tail:
    """Reads a file from a position on, as it grows, shrinks and is replaced. Blocking; made for one reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._position = 0
        self._trace = b""
        """The last bytes before the position: others there mean that the file began anew."""
        self._partial = b""

    def last(self, lines: int) -> list[LogLine]:
        """The last whole lines, at most `lines`; what comes later is for `more`. Empty where there is no file."""
        if not self._open():
            return []
        end = at = os.fstat(self._fd).st_size
        blocks: list[bytes] = []
        ends = 0
        while at > 0 and ends <= lines and end - at < TAIL_BYTES_MAX:
            step = min(_BLOCK_BYTES, at)
            at -= step
            blocks.append(os.pread(self._fd, step, at))
            ends += blocks[-1].count(b"\n")
        raw = b"".join(reversed(blocks))
        self._advance(at + len(raw), raw)
        *whole, self._partial = raw.split(b"\n")
        # The first piece of a file that was not read from its start lacks its beginning.
        return [parse_line(line) for line in (whole[1:] if at else whole)[-lines:]] if lines > 0 else []

    def more(self) -> list[LogLine]:
        """Whole lines since the last call, at most about READ_BYTES_MAX of them."""
        if self._fd < 0 and not self._open():
            return []
        self._restart_if_truncated()
        raw = os.pread(self._fd, READ_BYTES_MAX, self._position)
        if not raw and self._replaced():
            rest, self._partial = self._partial, b""
            self.close()
            return [parse_line(rest)] if rest else []
        self._advance(self._position + len(raw), raw)
        *whole, self._partial = (self._partial + raw).split(b"\n")
        if len(self._partial) >= LINE_BYTES_MAX:
            whole.append(self._partial)
            self._partial = b""
        return [parse_line(line) for line in whole]

    def close(self) -> None:
        """Forget the file; a later call opens it anew from its start."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._position, self._trace, self._partial = -1, 0, b"", b""

    def _open(self) -> bool:
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
        return True

    def _advance(self, position: int, raw: bytes) -> None:
        self._position = position
        self._trace = (self._trace + raw)[-_TRACE_BYTES:]

    def _restart_if_truncated(self) -> None:
        kept = len(self._trace)
        if os.pread(self._fd, kept, self._position - kept) != self._trace:
            self._position, self._trace, self._partial = 0, b"", b""

    def _replaced(self) -> bool:
        """Whether the name leads to another file now. One that is merely gone may still be written to."""
        try:
            return self._path.stat().st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False


def read_tail(path: Path, lines: int) -> list[LogLine]:
    """The last whole lines of a file, at most `lines`; none where there is no file. Blocking."""
    tail = Tail(path)
    try:
        return tail.last(lines)
    finally:
        tail.close()


async def follow(path: Path, clock: Clock, lines: int = 0) -> AsyncIterator[LogLine]:
    """The last `lines` lines, then each one as it comes; never ends. The file may not exist yet."""
    tail = Tail(path)
    try:
        for line in tail.last(lines):
            yield line
        while True:
            new = tail.more()
            for line in new:
                yield line
            if not new:
                await clock.sleep(POLL_S)
    finally:
        tail.close()
