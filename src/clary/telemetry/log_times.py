"""When lines came into a log file: beside `X.log` stands `X.times`, which maps positions to instants.

What a model prints has no time of its own. A look at the file notes how far it had grown by then; the lines between two
looks came between their instants, whatever they say themselves. Looks are a second apart while a server runs, and one
comes before every reading. Positions lie at line ends.
"""

from __future__ import annotations

import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 1.0
"""Seconds between looks at all files."""
LINE_BYTES_MAX = 64 << 10
"""A longer line is given in pieces."""
MARKS_MAX = 100_000
"""Looks kept of one file, 1.6 MB: beyond, every second one of them is dropped."""

_MARK = struct.Struct(">QQ")


@dataclass(frozen=True)
class Window:
    """Lines from `start` to `end` (positions in bytes) came after `since_us` and by `until_us`."""

    start: int
    end: int
    since_us: int
    until_us: int


class LogTimes:
    """Notes the growth of files. Blocking; several threads may look."""

    def __init__(self) -> None:
        self._sizes: dict[Path, int] = {}
        self._lock = threading.Lock()

    def look(self, paths: Iterable[Path], now_us: int) -> None:
        """Note how far each file has grown by now. One that is gone is passed over, one that shrank begins anew."""
        for path in paths:
            try:
                size = path.stat().st_size
            except OSError:
                continue
            if size != self._sizes.get(path):
                with self._lock:
                    self._note(path, size, now_us)
                    self._sizes[path] = size

    def windows(self, path: Path) -> list[Window]:
        """The windows of a file as far as it was looked at, oldest first."""
        marks = _read(_marks_of(path))
        found = []
        before = (0, 0)
        for end, at_us in marks:
            found.append(Window(before[0], end, before[1], at_us))
            before = (end, at_us)
        return found

    def _note(self, path: Path, size: int, now_us: int) -> None:
        sidecar = _marks_of(path)
        last = _last(sidecar)
        if last is not None and size < last[0]:
            sidecar.unlink(missing_ok=True)
            last = None
        end = _line_end(path, last[0] if last is not None else 0, size)
        if end <= (last[0] if last is not None else 0):
            return
        # A clock that was set back does not put later lines before earlier ones.
        at_us = max(now_us, last[1] if last is not None else 0)
        if sidecar.exists() and sidecar.stat().st_size >= MARKS_MAX * _MARK.size:
            kept = _read(sidecar)[1::2]
            sidecar.write_bytes(b"".join(_MARK.pack(*mark) for mark in kept))
        with sidecar.open("ab") as out:
            out.write(_MARK.pack(end, at_us))


def first_window(windows: list[Window], at_us: int) -> int:
    """The index of the first window that may hold a line of `at_us` or later."""
    return bisect_left(windows, at_us, key=lambda window: window.until_us)


def _marks_of(path: Path) -> Path:
    return path.with_suffix(".times")


def _read(sidecar: Path) -> list[tuple[int, int]]:
    try:
        raw = sidecar.read_bytes()
    except FileNotFoundError:
        return []
    # What a kill cut short is looked at again.
    return list(_MARK.iter_unpack(raw[: len(raw) // _MARK.size * _MARK.size]))


def _last(sidecar: Path) -> tuple[int, int] | None:
    try:
        with sidecar.open("r+b") as file:
            whole = os.fstat(file.fileno()).st_size // _MARK.size * _MARK.size
            file.truncate(whole)
            if not whole:
                return None
            file.seek(whole - _MARK.size)
            end, at_us = _MARK.unpack(file.read(_MARK.size))
            return end, at_us
    except FileNotFoundError:
        return None


def _line_end(path: Path, start: int, size: int) -> int:
    """Past the last line end at or before `size`; `size` itself where a line is too long to wait for."""
    at = max(start, size - LINE_BYTES_MAX)
    with path.open("rb") as file:
        file.seek(at)
        raw = file.read(size - at)
    newline = raw.rfind(b"\n")
    if newline >= 0:
        return at + newline + 1
    return size if size - start >= LINE_BYTES_MAX else start
