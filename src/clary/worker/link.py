"""One connection to a worker: bytes in, requests out; answers in, bytes out. Never blocks.

The per-request cost decides how many small models a core can serve, so the hot lines here avoid objects: headers that
repeat are parsed once, an answer's fixed headers are one struct.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Mapping
from typing import Callable, NamedTuple, Optional

from clary.replica import frames
from clary.replica.frames import Frame, FrameError, Kind, Tag

_PREFIX = struct.Struct(">IBQH")
_TAIL = struct.Struct(">BH36sBHI")
"""REQUEST_ID and DEADLINE_MS, the two headers that differ from request to request, when they stand last."""
_ANSWER = struct.Struct(">IBQHBHHBHIBHIBHI")
_ANSWER_HEAD_BYTES = _ANSWER.size - frames.PREFIX_BYTES
_TLV = struct.Struct(">BH")
_REQUEST, _RESPONSE, _CHUNK = int(Kind.REQUEST), int(Kind.RESPONSE), int(Kind.CHUNK)
_STATUS, _PREDICT, _QUEUE, _ROWS = int(Tag.STATUS), int(Tag.PREDICT_US), int(Tag.QUEUE_US), int(Tag.BATCH_ROWS)
_REQUEST_ID, _DEADLINE = int(Tag.REQUEST_ID), int(Tag.DEADLINE_MS)

_FROM_ROUTERS = frozenset({Kind.CANCEL, Kind.PING, Kind.DRAIN})

_RECV_BYTES = 64 * 1024
_RECV_BYTES_MAX = 1024 * 1024
_HEADS_MAX = 256
"""Distinct headers that are remembered; clients that vary theirs more pay for parsing."""
OUT_BYTES_MAX = 64 * 1024 * 1024
"""Answers that a peer does not read: beyond this the link is closed."""
_FLUSH_BYTES = 256 * 1024


class Head(NamedTuple):
    """The headers of a request that repeat."""

    content_type: str
    accept: str
    alone: bool
    stream: bool
    target_model: str
    custom_attributes: str
    inference_id: str
    trace: tuple[tuple[str, str], ...] = ()
    """Trace headers, as (name, value)."""


class Request:
    """One request that waits or is being served."""

    __slots__ = ("arrived_ns", "body", "cancelled", "deadline_ns", "head", "id", "link", "request_id")

    def __init__(
        self, link: Link, frame_id: int, head: Head, request_id: bytes, body: memoryview, now_ns: int, left_ns: int
    ) -> None:
        self.link = link
        self.id = frame_id
        self.head = head
        self.request_id = request_id
        self.body = body
        self.arrived_ns = now_ns
        self.deadline_ns = now_ns + left_ns
        """On the same monotonic clock."""
        self.cancelled = False


class Link:
    """A peer of this worker."""

    def __init__(self, peer: socket.socket, now_ns: Callable[[], int], default_left_ns: int) -> None:
        self.socket = peer
        self.waiting: deque[Request] = deque()
        """Requests that arrived and were not taken."""
        self.serving: dict[int, Request] = {}
        """Requests whose answer may come in parts, while it does, by frame id."""
        self.turn: Callable[[int], None] = _no_turn
        """Lets the server take what arrives within so many milliseconds; for whoever answers in parts."""
        self.greeted = False
        self.draining = False
        """The peer sends no more requests."""
        self.closed = False
        self.waits_to_write = False
        """The server watches for room."""
        self.others: list[Frame] = []
        """Frames that are not requests, for the server."""
        self._now_ns = now_ns
        self._default_left_ns = default_left_ns
        self._rest = bytearray()
        self._wanted = frames.PREFIX_BYTES
        self._heads: dict[bytes, Head] = {}
        self._out: list[bytes] = []
        self._out_bytes = 0

    # In

    def receive(self) -> None:
        """Read once; `waiting` and `others` grow. At the end of file, or after nonsense, `closed` is set."""
        rest = self._rest
        size = min(max(_RECV_BYTES, self._wanted - len(rest)), _RECV_BYTES_MAX)
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return
        if rest:
            rest += data
            if len(rest) < self._wanted:
                return
            data = bytes(rest)
            self._rest = bytearray()
        try:
            at = self._take(data)
        except (FrameError, ValueError):
            self.closed = True
            return
        if at < len(data):
            self._rest += memoryview(data)[at:]

    def _take(self, data: bytes) -> int:
        """Whole frames of `data`; the offset of what is left."""
        at, end = 0, len(data)
        view = memoryview(data)
        now_ns = self._now_ns()
        prefix = _PREFIX.unpack_from
        append = self.waiting.append
        while end - at >= 15:
            length, kind, frame_id, head_bytes = prefix(data, at)
            if not 11 + head_bytes <= length <= frames.FRAME_BYTES_MAX:
                raise FrameError(f"a frame of {length} bytes with a header of {head_bytes} is impossible")
            stop = at + 4 + length
            if stop > end:
                self._wanted = 4 + length
                return at
            body_at = at + 15 + head_bytes
            if kind == _REQUEST and self.greeted:
                head, request_id, left_ns = self._head(data, at + 15, body_at)
                append(Request(self, frame_id, head, request_id, view[body_at:stop], now_ns, left_ns))
            else:
                self._other(
                    Frame(Kind(kind), frame_id, frames.decode_head(data[at + 15 : body_at]), view[body_at:stop])
                )
            at = stop
        self._wanted = 15
        return at

    def _other(self, frame: Frame) -> None:
        """A frame that is no request; what a router may not say ends the link."""
        if not self.greeted:
            frames.check_hello(frame)
            self.greeted = True
        elif frame.kind not in _FROM_ROUTERS:
            raise FrameError(f"a router does not send {frame.kind.name} here")
        self.others.append(frame)

    def _head(self, data: bytes, at: int, stop: int) -> tuple[Head, bytes, int]:
        """(repeating headers, request id, nanoseconds left) of a request's TLVs."""
        tail_at = stop - 46
        if tail_at >= at:
            tag, size, request_id, deadline, four, left_ms = _TAIL.unpack_from(data, tail_at)
            if tag == _REQUEST_ID and size == 36 and deadline == _DEADLINE and four == 4:
                first = data[at:tail_at]
                head = self._heads.get(first)
                if head is not None:
                    return head, request_id, left_ms * 1_000_000
        raw = frames.decode_head(data[at:stop])
        head = Head(
            frames.text(raw, Tag.CONTENT_TYPE),
            frames.text(raw, Tag.ACCEPT),
            Tag.ALONE in raw,
            Tag.STREAM in raw,
            frames.text(raw, Tag.TARGET_MODEL),
            frames.text(raw, Tag.CUSTOM_ATTRIBUTES),
            frames.text(raw, Tag.INFERENCE_ID),
            frames.trace_headers(raw),
        )
        if head.inference_id or head.trace:
            pass  # never the same again: it would only take the place of another
        elif tail_at >= at and len(self._heads) < _HEADS_MAX and _stands_alone(data[at:tail_at]):
            self._heads[data[at:tail_at]] = head
        left_ms = frames.number(raw, Tag.DEADLINE_MS, -1)
        left_ns = self._default_left_ns if left_ms < 0 else left_ms * 1_000_000
        return head, raw.get(Tag.REQUEST_ID, b""), left_ns

    # Out

    def answer(
        self,
        request: Request,
        status: int,
        content_type: bytes,
        body: bytes,
        timings: tuple[int, int, int],
        error: bytes = b"",
        attributes: bytes = b"",
    ) -> None:
        """Queue one answer. `timings`: PREDICT_US, QUEUE_US, BATCH_ROWS; `attributes`: CUSTOM_ATTRIBUTES.

        `flush` writes it. Where a stream is wanted it is one of one part.
        """
        predict_us, queue_us, rows = timings
        extra = _TLV.pack(1, len(content_type)) + content_type if content_type else b""
        if error:
            extra += _TLV.pack(Tag.ERROR, len(error)) + error
        if attributes:
            extra += _TLV.pack(Tag.CUSTOM_ATTRIBUTES, len(attributes)) + attributes
        head_bytes = _ANSWER_HEAD_BYTES + len(extra)
        self._out.append(
            _ANSWER.pack(
                11 + head_bytes + len(body), _CHUNK if request.head.stream else _RESPONSE, request.id, head_bytes,
                _STATUS, 2, status, _PREDICT, 4, predict_us, _QUEUE, 4, queue_us, _ROWS, 4, rows,
            )
            + extra
            + body
        )  # fmt: skip
        self._out_bytes += len(body) + 64
        if request.head.stream:
            self.send(frames.encode(Kind.END, request.id, {}))
        if self._out_bytes > _FLUSH_BYTES:
            self.flush()

    def chunk(self, request: Request, head: Mapping[int, bytes], body: bytes) -> None:
        """Queue a part of a streamed answer; the first carries STATUS and CONTENT_TYPE."""
        self.send(frames.encode(Kind.CHUNK, request.id, head, len(body)) + body)

    def end(self, request: Request, head: Mapping[int, bytes], message: bytes = b"") -> None:
        """Queue the end of a streamed answer: with ERROR in `head`, and `message`, where it broke."""
        self.send(frames.encode(Kind.END, request.id, head, len(message)) + message)

    def send(self, frame: bytes) -> None:
        """Queue a frame."""
        self._out.append(frame)
        self._out_bytes += len(frame)

    @property
    def pending(self) -> bool:
        """Whether bytes wait to be written."""
        return bool(self._out)

    @property
    def out_bytes(self) -> int:
        """Bytes that wait to be written; 0 once the peer is gone."""
        return 0 if self.closed else self._out_bytes

    def flush(self) -> None:
        """Write what the peer takes now."""
        if not self._out or self.closed:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.closed = True
            return
        if sent == len(data):
            self._out.clear()
            self._out_bytes = 0
            return
        self._out = [data[sent:]]
        self._out_bytes = len(data) - sent
        if self._out_bytes > OUT_BYTES_MAX:
            self.closed = True

    def cancel(self, frame_id: int) -> Optional[Request]:  # noqa: UP045 - Python 3.9
        """Mark a request that waits or is answered in parts; None where it was taken already."""
        if frame_id in self.serving:
            self.serving[frame_id].cancelled = True
            return self.serving[frame_id]
        for request in self.waiting:
            if request.id == frame_id:
                request.cancelled = True
                return request
        return None


def _no_turn(wait_ms: int) -> None:
    """Of a link that no server serves."""


def _stands_alone(raw: bytes) -> bool:
    """Whether these TLVs end where they should, so that what follows them is not part of a value."""
    try:
        frames.decode_head(raw)
    except FrameError:
        return False
    return True
