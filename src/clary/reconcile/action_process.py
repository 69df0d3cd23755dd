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
    clock: Clock, command: tuple[str, ...], given: Mapping[str, str], event: bytes, timeout_s: float
) -> Ended:
    """Run a command in an empty folder until it ends, at most `timeout_s`. Cancelled, it kills the command."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="clary-action-") as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *command,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            cwd=Path(folder), env={**kept, **given}, start_new_session=True,
        )  # fmt: skip
        feeding = asyncio.ensure_future(_feed(process, event))
        reading = asyncio.ensure_future(_tail(process))
        timer = asyncio.ensure_future(clock.sleep(timeout_s))
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({timer, ended}, return_when=asyncio.FIRST_COMPLETED)
            late = not ended.done()
            _kill(process.pid)
            status = await ended
            closed = asyncio.ensure_future(clock.sleep(CLOSE_S))
            await asyncio.wait({reading, closed}, return_when=asyncio.FIRST_COMPLETED)
            closed.cancel()
        finally:
            _kill(process.pid)
            for task in (feeding, reading, timer, ended):
                task.cancel()
            await asyncio.gather(feeding, reading, timer, ended, return_exceptions=True)
        output = reading.result() if reading.done() and not reading.cancelled() else b""
    return Ended(_why(status, timeout_s, late=late), output.decode("utf-8", "replace").replace("\0", "\ufffd"))


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


async def _feed(process: asyncio.subprocess.Process, event: bytes) -> None:
    assert process.stdin is not None, "it has a pipe"
    # A command need not read what it is told.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(event)
        await process.stdin.drain()
    process.stdin.close()


async def _tail(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None, "it has a pipe"
    tail = b""
    while part := await process.stdout.read(65_536):
        tail = (tail + part)[-OUTPUT_BYTES_MAX:]
    return tail
