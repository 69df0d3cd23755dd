"""One link to a replica: connects, says HELLO, hands over what arrives, and connects again when the link is lost.

State is changed at once, bytes move afterwards: callbacks run inside the read that brought the bytes. Standard library
only: these files travel in the worker bundle (placement's observer uses the same link as the router).
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any, Optional, Protocol, cast

from clary.kit.backoff import Backoff
from clary.kit.clock import Clock
from clary.replica import frames
from clary.replica.frames import Frame, FrameError, Kind, Tag

Report = Mapping[str, Any]
"""What a replica says of itself in its HELLO: `state` (`ready` or `failed`), `joins`, `pure`, `runtime`, ..."""

RECONNECT = Backoff(first_s=0.01, factor=1.6, max_s=0.5)
"""A restarted worker listens again within some 30 ms; asking twice a second costs nothing."""

_PREFIX = struct.Struct(">IBQH")
_RESPONSE = int(Kind.RESPONSE)


class LinkUser(Protocol):
    """Who is told what happens on a link. Every method runs on the event loop and must not block."""

    def link_up(self, report: Report, credits: int) -> None:
        """The replica said HELLO: it is ready or has failed to load. `credits`: requests it takes at once."""
        ...

    def link_answer(self, frame_id: int, head: bytes, body: bytes) -> None:
        """A RESPONSE; `head` are its TLVs, not yet decoded."""
        ...

    def link_frame(self, frame: Frame) -> None:
        """Any other frame but HELLO and PING."""
        ...

    def link_read(self) -> None:
        """All frames of one read were handed over: the moment to send what comes next."""
        ...

    def link_down(self, cause: str) -> None:
        """The link is lost; called once for each `link_up`."""
        ...


class ReplicaLink:
    """A link that heals itself for as long as `run` runs."""

    def __init__(  # a link is made of just these facts
        self,
        address: str,
        user: LinkUser,
        clock: Clock,
        *,
        name: str,
        nonce: str,
        token: bytes = b"",
        reconnect: Backoff = RECONNECT,
    ) -> None:
        """`address`: `unix:/path` or `tcp:host:port`. `name` and `nonce` say who connects, for the replica's log."""
        self.address = address
        self._user = user
        self._clock = clock
        self._hello = frames.hello(name, nonce, 0, token=token)
        self._reconnect = reconnect
        self._closed = False
        self._protocol: Optional[_LinkProtocol] = None  # noqa: UP045 - Python 3.9

    async def run(self) -> None:
        """Connect, stay connected, connect again, until `close` or cancellation."""
        failures = 0
        try:
            while not self._closed:
                await self._clock.sleep(self._reconnect.wait_s(failures))
                try:
                    protocol = await self._connect()
                except OSError:
                    failures += 1
                    continue
                await protocol.lost
                failures = 0 if protocol.was_up else failures + 1
        finally:
            self.abort()

    def send(self, data: bytes) -> None:
        """Write whole frames; dropped silently where the link is down (`link_down` tells)."""
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.write(data)

    def pause(self, paused: bool) -> None:
        """Read no more for a while, so that the replica's answers wait in it; or read again."""
        transport = None if self._protocol is None else self._protocol.transport
        if transport is not None and not transport.is_closing() and transport.is_reading() is paused:
            (transport.pause_reading if paused else transport.resume_reading)()

    def abort(self) -> None:
        """Close the connection at once; `run` makes a new one."""
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.abort()

    def close(self) -> None:
        """Close the connection and make no new one; `run` ends, after at most one wait between attempts."""
        self._closed = True
        self.abort()

    async def _connect(self) -> _LinkProtocol:
        loop = asyncio.get_running_loop()
        kind, rest = frames.parse_address(self.address)
        protocol = _LinkProtocol(self._user, self._hello, loop.create_future())
        self._protocol = protocol
        if kind == "unix":
            await loop.create_unix_connection(lambda: protocol, rest)
        else:
            host, _, port = rest.rpartition(":")
            await loop.create_connection(lambda: protocol, host.strip("[]"), int(port))
        if self._closed:
            self.abort()
        return protocol


class _LinkProtocol(asyncio.Protocol):
    """The bytes of one connection."""

    def __init__(self, user: LinkUser, hello: bytes, lost: asyncio.Future[None]) -> None:
        self._user = user
        self._hello = hello
        self._rest = bytearray()
        self._wanted = frames.PREFIX_BYTES
        self._cause = "the connection was closed"
        self.lost = lost
        self.was_up = False
        self.transport: Optional[asyncio.Transport] = None  # noqa: UP045 - Python 3.9

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Batches are bounded by credits and bytes; pausing writers on top of that would only hide a stall.
        self.transport.set_write_buffer_limits(high=frames.FRAME_BYTES_MAX)
        self.transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest = bytearray()
        try:
            at = self._take(data)
        except (FrameError, ValueError) as error:
            self._cause = str(error)
            if self.transport is not None:
                self.transport.abort()
            return
        if at < len(data):
            self._rest += memoryview(data)[at:]
        if self.was_up:
            self._user.link_read()

    def connection_lost(self, exc: Optional[Exception]) -> None:  # noqa: UP045 - Python 3.9
        self.transport = None
        if exc is not None:
            self._cause = str(exc)
        if self.was_up:
            self._user.link_down(self._cause)
        if not self.lost.done():
            self.lost.set_result(None)

    def _take(self, data: bytes) -> int:
        """Hand over every whole frame; the offset of what is left. The lean twin of frames.Decoder."""
        at, end = 0, len(data)
        answer = self._user.link_answer
        while end - at >= 15:
            length, kind, frame_id, head_bytes = _PREFIX.unpack_from(data, at)
            if not 11 + head_bytes <= length <= frames.FRAME_BYTES_MAX:
                raise FrameError(f"a frame of {length} bytes with a header of {head_bytes} is impossible")
            stop = at + 4 + length
            if stop > end:
                self._wanted = 4 + length
                return at
            body_at = at + 15 + head_bytes
            if kind == _RESPONSE and self.was_up:
                answer(frame_id, data[at + 15 : body_at], data[body_at:stop])
            else:
                known = Kind(kind)
                self._other(Frame(known, frame_id, frames.decode_head(data[at + 15 : body_at]), data[body_at:stop]))
            at = stop
        self._wanted = 15
        return at

    def _other(self, frame: Frame) -> None:
        if not self.was_up:
            frames.check_hello(frame)
            report = json.loads(frame.head.get(Tag.REPORT, b"{}"))
            if not isinstance(report, dict):
                raise FrameError("the replica's report is not a JSON object")
            self.was_up = True
            self._user.link_up(report, frames.number(frame.head, Tag.CREDITS, 1))
        elif frame.kind is Kind.PING:
            # Never the answer to a ping of ours: this end sends none.
            if self.transport is not None:
                self.transport.write(frames.encode(Kind.PING, frame.id, {}))
        elif frame.kind is Kind.HELLO:
            raise FrameError("a second HELLO on one link")
        else:
            self._user.link_frame(frame)
