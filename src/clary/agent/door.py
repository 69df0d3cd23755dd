"""agent.sock: JSON lines in, JSON lines out, file descriptors along with them; our own user only."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clary.kit.lifeline import LINE_BYTES_MAX, check_peer, peer_of

OUT_BYTES_MAX = 4 * 1024 * 1024
"""A peer that lets so much wait is not reading: its connection is closed."""
_RECV_BYTES = 64 * 1024

Message = Mapping[str, Any]


class Connection:
    """One peer."""

    def __init__(self, peer: socket.socket, selector: selectors.BaseSelector) -> None:
        self.pid = peer_of(peer)[0]
        self.watches = False
        """Gets every event."""
        self.uid = ""
        """Whose lifeline this is, once announced."""
        self.closed = False
        self._socket = peer
        self._selector = selector
        self._in = bytearray()
        self._out = bytearray()
        self._fds: list[int] = []

    def receive(self) -> list[Message]:
        """Whole messages that have come. At the end of file, or after nonsense, `closed` is set."""
        try:
            raw, fds, _, _ = socket.recv_fds(self._socket, _RECV_BYTES, 4)
        except BlockingIOError:
            return []
        except OSError:
            raw, fds = b"", []
        for fd in fds:
            os.set_inheritable(fd, False)
        self._fds += fds
        self._in += raw
        if not raw or len(self._in) > LINE_BYTES_MAX:
            self.close()
        if raw[-1:] != b"\n" and b"\n" not in raw:
            return []
        *lines, rest = self._in.split(b"\n")
        self._in = bytearray(rest)
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            messages = [None]
        if not all(isinstance(message, dict) and isinstance(message.get("op"), str) for message in messages):
            self.close()
            return []
        return messages

    def take_fd(self) -> int:
        """The file descriptor that came with a message; -1 where there is none. The caller closes it."""
        return self._fds.pop(0) if self._fds else -1

    def send(self, message: Message) -> None:
        """Write, or keep what the peer does not take yet."""
        if self.closed:
            return
        self._out += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the peer takes it."""
        try:
            sent = self._socket.send(self._out) if self._out else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._out[:sent]
        if len(self._out) > OUT_BYTES_MAX:
            self.close()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        if self._selector.get_key(self._socket).events != wanted:
            self._selector.modify(self._socket, wanted, self)

    def close(self) -> None:
        """Close once; the door forgets it at its next turn."""
        if self.closed:
            return
        self.closed = True
        self._selector.unregister(self._socket)
        self._socket.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


class Door:
    """Accepts peers and hands their messages to `on_message`; tells `on_closed` when one goes."""

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        on_message: Callable[[Connection, Message], None],
        on_closed: Callable[[Connection], None],
    ) -> None:
        self._selector = selector
        self._on_message = on_message
        self._on_closed = on_closed
        self._connections: set[Connection] = set()
        self._path = path
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # the lock is ours: whoever listened here is gone
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(1024)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self)

    def accept(self) -> None:
        """Take every peer that waits; another user's is closed at once."""
        while True:
            try:
                peer, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            peer.setblocking(False)
            try:
                check_peer(peer)
            except OSError:
                peer.close()
                continue
            connection = Connection(peer, self._selector)
            self._connections.add(connection)
            self._selector.register(peer, selectors.EVENT_READ, connection)

    def serve(self, connection: Connection, events: int) -> None:
        """Read and answer one peer."""
        if events & selectors.EVENT_WRITE and not connection.closed:
            connection.flush()
        if events & selectors.EVENT_READ and not connection.closed:
            for message in connection.receive():
                self._on_message(connection, message)
        self.sweep()

    def broadcast(self, message: Message) -> None:
        """To every peer that watches."""
        for connection in self._connections:
            if connection.watches:
                connection.send(message)

    def sweep(self) -> None:
        """Forget the peers that are closed."""
        for connection in [c for c in self._connections if c.closed]:
            self._connections.discard(connection)
            self._on_closed(connection)

    def close(self) -> None:
        """Nobody can come any more."""
        self._selector.unregister(self._listener)
        self._listener.close()
        for connection in self._connections:
            connection.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
