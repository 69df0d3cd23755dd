"""The agent's own log, and the cutting of every log that grew too long."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from pathlib import Path


class Journal:
    """JSON lines with the keys every Clary log has: ts, level, event."""

    def __init__(self, path: Path) -> None:
        self._out = path.open("ab", buffering=0)

    def write(self, event: str, level: str = "info", **facts: object) -> None:
        """One event, one line; lost where it cannot be written: a full disk must not end the agent."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"ts": now.replace("+00:00", "Z"), "level": level, "event": event, **facts}
        with contextlib.suppress(OSError):
            self._out.write(json.dumps(line, default=str).encode() + b"\n")

    def close(self) -> None:
        """Nothing is written after."""
        self._out.close()


def append(path: Path, event: str, **facts: object) -> None:
    """An error's line in the log of a process that cannot tell itself any more; lost where it cannot be written."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    line = {"ts": now.replace("+00:00", "Z"), "level": "error", "event": event, "request_id": "", **facts}
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as out:
        out.write(json.dumps(line, default=str).encode() + b"\n")


def cut(path: Path, bytes_max: int) -> bool:
    """Copy a log longer than `bytes_max` to `.1` and empty it; whoever appends goes on in the same file.

    What is written between the copy and the cut is lost, as with logrotate's copytruncate. Where there is no room for
    the copy the log stays as it is.
    """
    kept = path.with_name(path.name + ".1")
    try:
        if path.stat().st_size <= bytes_max:
            return False
        with path.open("r+b") as log, kept.open("wb") as copy:
            at = 0
            while sent := os.sendfile(copy.fileno(), log.fileno(), at, 1 << 24):
                at += sent
            log.truncate(0)
    except FileNotFoundError:
        return False
    except OSError:
        with contextlib.suppress(OSError):
            kept.unlink()
        return False
    return True


def last_lines(path: Path, lines: int) -> list[str]:
    """The end of a log, for a message to the user; empty where there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
