"""A fork server: the model's libraries imported, no model ever loaded. Its children are workers within milliseconds.

Single-threaded, so that the only threads in it are those that a library started at import; whether those matter is
what the probe finds out. It is asked over its lifeline (JSON lines) and answers there:

    -> {"op": "ready", "fork": "safe" | "unsafe", "detail", "libraries"}      once, again after a new agent came
    <- {"op": "fork", "uid", "nonce", "env", "log"}
    -> {"op": "forked", "uid", "nonce", "pid"}                                pid 0: fork failed
    -> {"op": "exited", "uid", "nonce", "pid", "status", "signal", "maxrss_bytes", "cpu_s"}
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any, NoReturn, Optional

from clary.kit.lifeline import GRACE_S, LINE_BYTES_MAX, PROVEN, RETRY_S, Identity, announce, identity_of
from clary.runtimes.registry import modules_of
from clary.worker import child
from clary.worker.forkprobe import Verdict, probe

VARIABLE = "CLARY_ZYGOTE"


@dataclass(frozen=True)
class ZygoteOptions:
    """JSON in `CLARY_ZYGOTE`."""

    runtime: str
    fork: str = ""
    """`safe` where this environment's verdict is known, which saves the probe; empty to find out."""
    probe_s: float = 20.0
    """The probe's child must have predicted within so many seconds."""


def main() -> int:
    """Serve until asked to stop, or until no agent came back; the exit status."""
    options = ZygoteOptions(**json.loads(os.environ[VARIABLE]))
    me = identity_of(os.environ)
    if me is None:
        print("a zygote is started by the agent", file=sys.stderr)
        return 2
    child.title(f"clary: zygote {options.runtime}")
    verdict = _prepare(options)
    gc.collect()
    gc.freeze()  # what exists now is shared: a collection in a child must not touch, and so copy, its pages
    Zygote(me, verdict).run()
    return 0


def _prepare(options: ZygoteOptions) -> Verdict:
    """Import everything, then decide."""
    try:
        for module in modules_of(options.runtime):
            importlib.import_module(module)
    except Exception as error:
        return Verdict("unsafe", f"{type(error).__name__} while importing: {error}")
    with contextlib.suppress(ImportError):
        importlib.import_module("threadpoolctl")
    if options.fork == "safe" or PROVEN in os.environ:
        return Verdict("safe", "known from an earlier probe")
    return probe(options.runtime, options.probe_s)


class Zygote:
    """The loop."""

    def __init__(self, me: Identity, verdict: Verdict) -> None:
        self._me = me
        self._verdict = verdict
        self._agent: Optional[socket.socket] = None  # noqa: UP045 - Python 3.9
        self._buffer = b""
        self._children: dict[int, tuple[str, str]] = {}
        """pid -> (uid, nonce)."""
        self._orphaned_s = time.monotonic()
        self._wake_reader, self._wake_writer = os.pipe()
        for fd in (self._wake_reader, self._wake_writer):
            os.set_blocking(fd, False)

    def run(self) -> None:
        """Until SIGTERM ends the process, the agent does not know it, or no agent comes back in time."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        while True:
            alone = self._agent is None and not self._connect()
            if (alone and time.monotonic() - self._orphaned_s > GRACE_S) or not self._turn():
                return

    def _connect(self) -> bool:
        try:
            self._agent = announce(self._me)
        except OSError:
            return False
        self._buffer = b""
        return True

    def _turn(self) -> bool:
        waited = [self._wake_reader] if self._agent is None else [self._wake_reader, self._agent.fileno()]
        readable, _, _ = select.select(waited, [], [], RETRY_S if self._agent is None else None)
        if self._wake_reader in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)
        self._reap()
        if self._agent is not None and self._agent.fileno() in readable:
            return self._read(self._agent)
        return True

    def _read(self, agent: socket.socket) -> bool:
        try:
            raw = agent.recv(65536)
        except OSError:
            raw = b""
        self._buffer += raw
        if not raw or len(self._buffer) > LINE_BYTES_MAX:
            self._lost()
            return True
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message["op"] == "unknown":
                return False
            if message["op"] == "welcome":
                self._say({"op": "ready", **self._verdict.to_json()})
            elif message["op"] == "fork":
                self._fork(message)
        return True

    def _lost(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent = None
        self._orphaned_s = time.monotonic()

    def _say(self, message: dict[str, Any]) -> None:
        if self._agent is None:
            return
        try:
            self._agent.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._lost()

    def _fork(self, message: dict[str, Any]) -> None:
        uid, nonce = message["uid"], message["nonce"]
        try:
            pid = os.fork()
        except OSError as error:
            print(f"fork failed: {error}", file=sys.stderr, flush=True)
            self._say({"op": "forked", "uid": uid, "nonce": nonce, "pid": 0})
            return
        if pid == 0:
            _become_worker(message)
        self._children[pid] = (uid, nonce)
        self._say({"op": "forked", "uid": uid, "nonce": nonce, "pid": pid})

    def _reap(self) -> None:
        """Report every child that ended; what it left in its process group ends too."""
        while self._children:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # a library that forks reaped one of ours; the agent's pidfd tells of it
                self._children.clear()
                return
            if ended is None:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(ended.si_pid, signal.SIGKILL)
            pid, status, usage = os.wait4(ended.si_pid, 0)
            uid, nonce = self._children.pop(pid, ("", ""))
            code = os.waitstatus_to_exitcode(status)
            self._say(
                {
                    "op": "exited",
                    "uid": uid,
                    "nonce": nonce,
                    "pid": pid,
                    "status": code if code >= 0 else None,
                    "signal": max(0, -code),
                    "maxrss_bytes": usage.ru_maxrss * 1024,
                    "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
                }
            )


def _become_worker(message: dict[str, Any]) -> NoReturn:
    """In the child: a worker's process, then its life. Never returns into the zygote's loop."""
    status = 1
    try:
        child.detach(message["log"], message["env"])
        from clary.worker.boot import main as worker

        status = worker()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
