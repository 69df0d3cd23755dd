"""Logs of Clary's own processes: JSON lines with fixed keys.

Every line has `ts level event request_id endpoint variant replica`, empty where they do not apply, then the event's own
fields. Libraries that use `logging` (uvicorn, asyncio) end in the same file.
"""

from __future__ import annotations

import logging
import sys
import threading
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from clary.kit.clock import Clock, SystemClock
from clary.kit.instants import stamp_ms

KEYS = ("ts", "level", "event", "request_id", "endpoint", "variant", "replica")

_encoder = msgspec.json.Encoder(enc_hook=str)


class Sink:
    """One file, one write a line, so that those of several threads do not mix. A full disk loses lines, no more."""

    def __init__(self, log_file: Path | None) -> None:
        self._lock = threading.Lock()
        self._file: FileIO | BinaryIO = sys.stderr.buffer
        if log_file is not None:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            # Appending: a rotation that truncates the file leaves no hole. Unbuffered: a killed process has said it.
            self._file = log_file.open("ab", buffering=0)

    def msg(self, line: bytes) -> None:
        """Write one line."""
        try:
            with self._lock:
                self._file.write(line + b"\n")
                self._file.flush()
        except (OSError, ValueError):
            return

    def close(self) -> None:
        """Give up the file; later lines are lost."""
        if self._file is not sys.stderr.buffer:
            self._file.close()

    log = debug = info = warning = error = critical = exception = fatal = msg


class _Bridge(logging.Handler):
    """What libraries log, in the same form."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        super().__init__()
        self._sink = sink
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        fields: EventDict = {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        self._sink.msg(render(fields, self._clock))


def configure(log_file: Path | None, level: str = "info", clock: Clock | None = None) -> Sink:
    """Send all logs of this process to `log_file` (None: standard error), from `level` on (debug, info, ...)."""
    sink, at = Sink(log_file), clock or SystemClock()
    number = logging.getLevelNamesMapping()[level.upper()]

    def last(_: WrappedLogger, __: str, event: EventDict) -> bytes:
        return render(event, at)

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Bridge(sink, at)], level=max(number, logging.WARNING), force=True)
    return sink


def render(event: EventDict, clock: Clock) -> bytes:
    """One line, without its end: the fixed keys in their order, then the rest. What JSON lacks is written as text."""
    line: dict[str, Any] = {"ts": stamp_ms(clock.now_us()), **{key: event.pop(key, "") for key in KEYS[1:]}, **event}
    try:
        return _encoder.encode(line)
    except (ValueError, TypeError, RecursionError):
        return _encoder.encode({key: str(value) for key, value in line.items()})
