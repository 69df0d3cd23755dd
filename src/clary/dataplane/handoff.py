"""Connections that change hands: a router passes a socket, with the bytes it has read of it, to control.

One SOCK_SEQPACKET connection from each router to `handoff.sock`. A socket travels as one message or, where the bytes
read are many, as several in a row; the first carries the descriptor (SCM_RIGHTS):

    u32 number | u32 bytes in all | bytes of this message

A message without a descriptor that is not a part of a socket's bytes is a notice: what a router has to say to control.
It is neither numbered nor answered.

Control answers with the highest number it has taken (u32). Until then the router keeps its own copy of the socket, so
that the client of one that control died over gets an answer instead of a closed connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

from clary.kit.lifeline import check_peer

_HEADER = struct.Struct(">II")
_ACK = struct.Struct(">I")
PART_BYTES_MAX = 48 * 1024
"""Bytes in one message: a quarter of Linux' default socket buffer, which bounds a message."""


class HandoffSender:
    """The router's end. Connects when there is something to send; nothing here blocks."""

    def __init__(self, path: Path, handoffs_max: int) -> None:
        """`handoffs_max`: sockets on their way at once; beyond, `send` says no."""
        self._path = path
        self._handoffs_max = handoffs_max
        self._peer: socket.socket | None = None
        self._number = 0
        self._unsent: deque[tuple[bytes, int]] = deque()
        """(message, descriptor or -1) that did not fit into the socket's buffer."""
        self._kept: deque[tuple[int, int, bytes]] = deque()
        """(number, our copy of the descriptor, refusal) of sockets that control has not yet taken."""

    def send(self, fd: int, read: bytes, refusal: bytes) -> bool:
        """Pass on a copy of `fd` and the bytes `read` of it; the caller closes its own. `refusal` is written to the
        client if control dies before it takes the socket. False: control is down, or too many are on their way."""
        if len(self._kept) >= self._handoffs_max or not self._connect():
            return False
        try:
            kept = os.dup(fd)
        except OSError:
            return False
        self._number = (self._number + 1) & 0xFFFFFFFF
        self._kept.append((self._number, kept, refusal))
        header = _HEADER.pack(self._number, len(read))
        for at in range(0, len(read) or 1, PART_BYTES_MAX):
            self._unsent.append((header + read[at : at + PART_BYTES_MAX], kept if at == 0 else -1))
        self._flush()
        # A connection that broke just now has answered the client with its refusal.
        return True

    def notify(self, notice: bytes) -> bool:
        """Say something of at most PART_BYTES_MAX bytes to control; False: control is down, or does not keep up."""
        if len(self._unsent) >= self._handoffs_max or not self._connect():
            return False
        self._unsent.append((_HEADER.pack(0, 0) + notice, -1))
        self._flush()
        return True

    def close(self) -> None:
        """Give up what control has not taken."""
        self._lose()

    def _connect(self) -> bool:
        if self._peer is not None:
            return True
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.setblocking(False)
        try:
            peer.connect(str(self._path))
            check_peer(peer)
        except OSError:  # not there, or its backlog is full
            peer.close()
            return False
        self._peer = peer
        asyncio.get_running_loop().add_reader(peer, self._read)
        return True

    def _flush(self) -> None:
        peer = self._peer
        if peer is None:
            return
        loop = asyncio.get_running_loop()
        while self._unsent:
            message, fd = self._unsent[0]
            try:
                socket.send_fds(peer, [message], [fd] if fd >= 0 else [])
            except BlockingIOError:
                loop.add_writer(peer, self._flush)
                return
            except OSError:
                self._lose()
                return
            self._unsent.popleft()
        loop.remove_writer(peer)

    def _read(self) -> None:
        assert self._peer is not None, "read without a connection"
        try:
            raw = self._peer.recv(_ACK.size)
        except BlockingIOError:
            return
        except OSError:
            raw = b""
        if len(raw) != _ACK.size:
            self._lose()
            return
        taken = _ACK.unpack(raw)[0]
        while self._kept and (taken - self._kept[0][0]) & 0xFFFFFFFF < 0x80000000:
            os.close(self._kept.popleft()[1])

    def _lose(self) -> None:
        """Control is gone: whoever it did not take is refused."""
        if self._peer is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._peer)
            loop.remove_writer(self._peer)
            self._peer.close()
            self._peer = None
        self._unsent.clear()
        while self._kept:
            _, fd, refusal = self._kept.popleft()
            with socket.socket(fileno=fd) as client, contextlib.suppress(OSError):
                client.setblocking(False)
                client.send(refusal)
                client.shutdown(socket.SHUT_RDWR)


class HandoffServer:
    """Control's end: every socket that a router passes becomes a connection of `make_protocol()`, its first bytes fed
    before anything is read. For uvicorn, with a `Server` that has started:

        make_protocol = lambda: server.config.http_protocol_class(
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state)
    """

    def __init__(
        self,
        path: Path,
        make_protocol: Callable[[], asyncio.Protocol],
        notice: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """`notice` is told what routers say."""
        self._path = path
        self._make_protocol = make_protocol
        self._notice = notice
        self._listener: socket.socket | None = None
        self._routers: set[_Router] = set()

    def start(self) -> None:
        """Listen; a socket file that a dead control left is replaced. Call it on the running loop."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        temporary = self._path.with_suffix(f".{os.getpid()}")
        temporary.unlink(missing_ok=True)
        listener.bind(str(temporary))
        temporary.chmod(0o600)
        listener.listen(64)
        # Renamed when it listens: a router finds the old one, dead, or this one, never a gap.
        temporary.replace(self._path)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def close(self) -> None:
        """Take no more. What was taken lives on."""
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for router in list(self._routers):
            router.close()

    def _accept(self) -> None:
        assert self._listener is not None, "accept without a listener"
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        peer.setblocking(False)
        try:
            check_peer(peer)
        except OSError:
            peer.close()
            return
        self._routers.add(_Router(peer, self._make_protocol, self._notice, self._routers.discard))


class _Router:
    """The connection of one router."""

    def __init__(
        self,
        peer: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        notice: Callable[[bytes], None],
        closed: Callable[[_Router], None],
    ) -> None:
        self._peer = peer
        self._make_protocol = make_protocol
        self._notice = notice
        self._closed = closed
        self._client: socket.socket | None = None
        self._parts: list[bytes] = []
        self._missing = 0
        self._taken = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(peer, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._peer)
        self._peer.close()
        if self._client is not None:
            self._client.close()
        self._closed(self)

    def _read(self) -> None:
        # Bounded: other connections have their turn too.
        for _ in range(16):
            try:
                raw, fds, _, _ = socket.recv_fds(self._peer, _HEADER.size + PART_BYTES_MAX, 4)
            except BlockingIOError:
                return
            except OSError:
                raw, fds = b"", []
            if len(raw) < _HEADER.size:
                for fd in fds:
                    os.close(fd)
                self.close()
                return
            self._message(raw, fds)

    def _message(self, raw: bytes, fds: list[int]) -> None:
        number, total = _HEADER.unpack_from(raw)
        if fds:
            if self._client is not None:  # never from a router of ours
                self._client.close()
            self._client = socket.socket(fileno=fds[0])
            for fd in fds[1:]:
                os.close(fd)
            self._parts, self._missing = [], total
        elif self._client is None:
            self._notice(raw[_HEADER.size :])
            return
        self._parts.append(raw[_HEADER.size :])
        self._missing -= len(raw) - _HEADER.size
        if self._missing > 0 or self._client is None:
            return
        client, self._client = self._client, None
        self._taken = number
        self._acknowledge()
        client.setblocking(False)
        protocol = FirstBytes(self._make_protocol(), b"".join(self._parts))
        self._parts = []
        task = self._loop.create_task(self._attach(protocol, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _acknowledge(self) -> None:
        """Say the highest number taken; a later one makes up for one that did not go out."""
        try:
            self._peer.send(_ACK.pack(self._taken))
        except BlockingIOError:
            self._loop.call_later(0.02, self._acknowledge)
        except OSError:
            return  # the router is gone; reading tells

    async def _attach(self, protocol: FirstBytes, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, client)
        except OSError:  # the client is gone already
            client.close()


class FirstBytes(asyncio.Protocol):
    """Stands in until the connection is made, feeds what was read already, and steps aside."""

    def __init__(self, inner: asyncio.Protocol, read: bytes) -> None:
        self._inner = inner
        self._read = read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).set_protocol(self._inner)
        self._inner.connection_made(transport)
        if self._read:
            self._inner.data_received(self._read)
