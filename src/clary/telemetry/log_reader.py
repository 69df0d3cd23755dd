"""Whole lines of a growing log from a position on, for those who must see each one once. Blocking.

Positions are bytes of all that the log ever held: a file of events whose oldest were cut off says in its first line how
many bytes were (log_groups_own). A file that is shorter than the position began anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clary.telemetry.log_groups_own import EVENTS, HEAD_BYTES_MAX, head_of

LINE_BYTES_MAX = 2 << 20
"""A longer line is passed over."""


@dataclass(frozen=True)
class Piece:
    """What was read."""

    lines: list[bytes]
    """Without their ends."""
    position: int
    """After the last of them."""
    more: bool
    """Whether the file goes on."""


def read_lines(path: Path, position: int, bytes_max: int) -> Piece:
    """The whole lines after `position`, of about `bytes_max`; a last line without its end waits. OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        base, head = head_of(file.read(HEAD_BYTES_MAX)) if path.suffix == EVENTS else (0, 0)
        at = max(position - base, 0) + head
        if at > size:
            at = head
        file.seek(at)
        raw = file.read(bytes_max)
        end = raw.rfind(b"\n") + 1
        if not end and len(raw) == bytes_max:
            raw += file.read(LINE_BYTES_MAX)
            end = raw.find(b"\n") + 1 or (len(raw) if len(raw) > LINE_BYTES_MAX else 0)
    lines = raw[:end].split(b"\n")[:-1] if end else []
    return Piece(lines, base + at - head + end, at + len(raw) < size)


def end_of(path: Path) -> int:
    """The position after all that a log holds; 0 where there is no file."""
    try:
        with path.open("rb") as file:
            base, head = head_of(file.read(HEAD_BYTES_MAX)) if path.suffix == EVENTS else (0, 0)
            return base + os.fstat(file.fileno()).st_size - head
    except FileNotFoundError:
        return 0
