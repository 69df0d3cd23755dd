"""The connection by which a process notices that its agent is gone, and by which a new agent adopts it.

Every process of a server connects to `agent.sock` at boot, says who it is and keeps the connection. End of file
means that the agent died: the process serves on and knocks again for `grace_s`, so that a new `clary serve` adopts
it; after that, or when the new agent does not know it, `on_orphaned` is called once.

Wire: JSON lines. `{"op": "announce", "uid", "kind", "pid", "nonce"}` is answered `{"op": "welcome"}` or
`{"op": "unknown"}`. A router sends its listener along (SCM_RIGHTS), so that its port never closes in between.
Standard library and threads only: it runs in routers, control and in a model's own Python (3.9 and up).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

GRACE_S = 30.0
"""How long an orphan waits for a new agent, in seconds."""
RETRY_S = 0.05
"""Wait between two knocks on `agent.sock`."""
LINE_BYTES_MAX = 1024 * 1024
PROVEN = "CLARY_FORK_PROVEN"
"""Set by the agent for a zygote whose predecessor, of the same row, found forking safe: no probe is needed."""

_PEER = struct.Struct("3i")


@dataclass(frozen=True)
class Identity:
    """Who a process is to its agent; handed down by four `CLARY_` variables."""

    agent_socket: str
    uid: str
    kind: str
    """`control`, `router`, `zygote` or `worker`."""
    nonce: str
    """Differs at each start."""

    def to_environ(self) -> dict[str, str]:
        """The variables that `identity_of` reads."""
        return {
            "CLARY_AGENT_SOCKET": self.agent_socket,
            "CLARY_UID": self.uid,
            "CLARY_KIND": self.kind,
            "CLARY_NONCE": self.nonce,
        }


def identity_of(environ: Mapping[str, str]) -> Optional[Identity]:  # noqa: UP045 - Python 3.9
    """The identity that the agent gave this process; None for one that was started by hand."""
    names = ("CLARY_AGENT_SOCKET", "CLARY_UID", "CLARY_KIND", "CLARY_NONCE")
    if any(name not in environ for name in names):
        return None
    return Identity(*(environ[name] for name in names))


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """(pid, uid) of the process at the other end of a Unix socket, as the kernel tells (SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(raw)
    return pid, uid


def check_peer(connection: socket.socket) -> None:
    """PermissionError unless the other end runs as our own user."""
    if peer_of(connection)[1] != os.getuid():
        raise PermissionError("the other end of the socket belongs to another user")


def announce(identity: Identity, listener_fd: int = -1) -> socket.socket:
    """Connect and say who we are. The answer is the first line to read. Raises OSError where no agent listens."""
    line = {"op": "announce", "uid": identity.uid, "kind": identity.kind, "pid": os.getpid(), "nonce": identity.nonce}
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(identity.agent_socket)
        check_peer(connection)
        raw = json.dumps({**line, "listener": listener_fd >= 0}).encode() + b"\n"
        if listener_fd >= 0:
            sent = socket.send_fds(connection, [raw], [listener_fd])
            connection.sendall(raw[sent:])
        else:
            connection.sendall(raw)
    except BaseException:
        connection.close()
        raise
    return connection


def terminate_self() -> None:
    """What most processes do when orphaned: the same as when asked to stop."""
    os.kill(os.getpid(), signal.SIGTERM)


class Lifeline:
    """Holds the connection on a daemon thread.

    `on_orphaned` is called once, on that thread, and should make the process drain and exit.
    `on_line` gets every other message of the agent, on that thread.
    """

    def __init__(
        self,
        agent_socket: Path,
        uid: str,
        kind: str,
        nonce: str,
        on_orphaned: Callable[[], None] = terminate_self,
        *,
        listener_fd: int = -1,
        grace_s: float = GRACE_S,
        on_line: Optional[Callable[[dict[str, Any]], None]] = None,  # noqa: UP045
    ) -> None:
        self._identity = Identity(str(agent_socket), uid, kind, nonce)
        self._on_orphaned = on_orphaned
        self._listener_fd = listener_fd
        self._grace_s = grace_s
        self._on_line = on_line
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lifeline", daemon=True)

    def start(self) -> None:
        """Connect in the background."""
        self._thread.start()

    def stop(self) -> None:
        """No more adoption and no `on_orphaned`: for a process that is about to exit by itself."""
        self._stopped.set()

    def _run(self) -> None:
        orphaned_s = time.monotonic()
        while not self._stopped.is_set():
            try:
                connection = announce(self._identity, self._listener_fd)
            except OSError:
                if time.monotonic() - orphaned_s > self._grace_s:
                    break
                self._stopped.wait(RETRY_S)
                continue
            known = self._hold(connection)
            if not known:
                break
            orphaned_s = time.monotonic()
        if not self._stopped.is_set():
            self._on_orphaned()

    def _hold(self, connection: socket.socket) -> bool:
        """Read until the end of file; False when the agent does not know us."""
        with connection, connection.makefile("rb") as lines:
            try:
                for raw in iter(lambda: lines.readline(LINE_BYTES_MAX), b""):
                    message = json.loads(raw)
                    if message["op"] == "unknown":
                        return False
                    if self._on_line is not None:
                        self._on_line(message)
            except (OSError, ValueError):
                pass  # the agent died in the middle of a line: the same as its end of file
        return True
