"""The router's log: JSON lines with the fixed keys of every Clary log.

structlog would double a router's start time, and a killed router must be back within a second.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from clary.kit.clock import Clock
from clary.kit.instants import stamp_ms


class Log:
    """Appends to one file, unbuffered: a killed router has written what it said."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        """`path` None: standard error."""
        self._clock = clock
        self._file = path.open("ab", buffering=0) if path else sys.stderr.buffer

    def write(self, level: str, event: str, **fields: str | int | float) -> None:
        """One event: a fixed sentence and its facts. A full disk loses the line, never a request."""
        keys = ("request_id", "endpoint", "variant", "replica")
        line: dict[str, str | int | float] = {
            "ts": stamp_ms(self._clock.now_us()),
            "level": level,
            "event": event,
            **{key: fields.pop(key, "") for key in keys},
            **fields,
        }
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
        except OSError:
            return
