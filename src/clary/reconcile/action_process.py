"""A command of an action: a process of its own that gets the event on stdin, and is killed at its limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clary.kit.clock import Clock

OUTPUT_BYTES_MAX = 4096
"""Of what a command says, its end."""
CLOSE_S = 2.0
"""For its output to end after the command did: whoever else holds it is not waited for."""
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE")
"""Of the server's environment; nothing else of it reaches a command."""
_GUARD = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit(125)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    print(f"{sys.argv[2]}: {error.strerror}", file=sys.stderr)
    sys.exit(126 if isinstance(error, PermissionError) else 127)
"""
"""Ends the command with control, whatever control dies of: its event is delivered again by the next one."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    why: str
    """What went wrong; empty where it exited with 0."""
    output: str
    """The end of its output, stderr included."""


async def run_command(
    clock: Clock, command: tuple[str, ...], given: Mapping[str, str], event: bytes, timeout_s: float, rooms: Path
) -> Ended:
    """Run a command in an empty folder of `rooms`, at most `timeout_s`. Cancelled, it kills the command."""
    with tempfile.TemporaryDirectory(dir=rooms) as folder, tempfile.TemporaryFile() as told:
        # A file, and a pipe of one's own: asyncio waits for the pipes of a process that it made before it says that the
        # process ended, and whoever the command left behind holds them open.
        told.write(event)
        told.seek(0)
        process, reading = await _start(command, {**_kept(), **given}, folder, told.fileno())
        timer = asyncio.ensure_future(clock.sleep(timeout_s))
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({timer, ended}, return_when=asyncio.FIRST_COMPLETED)
            late = not ended.done()
            _kill(process.pid)
            status = await ended
            closed = asyncio.ensure_future(clock.sleep(CLOSE_S))
            try:
                await asyncio.wait({reading.done, closed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                closed.cancel()
        finally:
            _kill(process.pid)
            timer.cancel()
            reading.close()
            await asyncio.gather(ended, timer, return_exceptions=True)
    return Ended(_why(status, timeout_s, late=late), reading.tail.decode("utf-8", "replace").replace("\0", "\ufffd"))


class _Tail(asyncio.Protocol):
    """Keeps the end of what comes out of a pipe."""

    def __init__(self) -> None:
        self.tail = b""
        self.done = asyncio.get_running_loop().create_future()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-OUTPUT_BYTES_MAX:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.done.done():
            self.done.set_result(None)

    def close(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.close()


async def _start(
    command: tuple[str, ...], environment: Mapping[str, str], folder: str, told: int
) -> tuple[asyncio.subprocess.Process, _Tail]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as output:
        pipe = os.fdopen(reader, "rb")
        _, reading = await asyncio.get_running_loop().connect_read_pipe(_Tail, pipe)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *command,
                stdin=told, stdout=output, stderr=output, cwd=folder, env=environment, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            reading.close()
            raise
    return process, reading


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _why(status: int, timeout_s: float, *, late: bool) -> str:
    if late:
        return f"It was killed: it ran for more than {timeout_s:g} s."
    if status < 0:
        return f"It was ended by signal {-status}."
    return f"It exited with status {status}." if status else ""


def _kill(group: int) -> None:
    """The command and all that it started in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
