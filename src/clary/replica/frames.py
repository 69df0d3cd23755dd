"""The wire between a router and a replica: frames, each `u32 length | u8 kind | u64 id | u16 head | TLVs | body`.

All integers are big-endian; `length` counts what follows it. Several frames may ride one write, answers come in any
order. A TLV is `u8 type | u16 length | value`; a type with the top bit set must be understood, any other may be
skipped. Every version speaks its own number and the one before it: HELLO carries both ends' range.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Union

MAGIC = b"CLRY"
VERSION_MIN = 1
VERSION_MAX = 1
FRAME_BYTES_MAX = 128 * 1024 * 1024
"""A longer frame is a broken or hostile peer: the link is closed."""

_PREFIX = struct.Struct(">IBQH")
_TLV = struct.Struct(">BH")
PREFIX_BYTES = _PREFIX.size


class Kind(enum.IntEnum):
    """What a frame is."""

    HELLO = 1
    """First frame of each side. The replica's carries REPORT (JSON) once it is ready or has failed to load."""
    REQUEST = 2
    RESPONSE = 3
    """A whole answer: STATUS, CONTENT_TYPE, timings, body."""
    CHUNK = 4
    """A part of a streamed answer; the first carries STATUS and CONTENT_TYPE."""
    END = 5
    """The end of a streamed answer; carries ERROR where it broke."""
    CANCEL = 6
    """The client went away: the replica may drop the request; it still answers or ENDs."""
    PING = 7
    """Answered by a PING with the same id."""
    DRAIN = 8
    """From a router: no more requests on this link. From a replica: send no more."""


REQUIRED = 0x80


class Tag(enum.IntEnum):
    """The TLV types. Those with the top bit set (`REQUIRED`) a peer must understand."""

    CONTENT_TYPE = 1
    ACCEPT = 2
    CUSTOM_ATTRIBUTES = 3
    REQUEST_ID = 4
    INFERENCE_ID = 5
    VERSION_RANGE = 6
    """Two bytes: lowest and highest frame version spoken."""
    REPLICA_UID = 7
    NONCE = 8
    """Differs at each start of the process."""
    CREDITS = 9
    """u32: requests the replica takes on this link before it answered any."""
    REPORT = 10
    """JSON, see `worker.report`."""
    PREDICT_US = 11
    """u32: microseconds in the runtime (decode, predict, encode) for this request's batch."""
    QUEUE_US = 12
    """u32: microseconds between arrival at the worker and the start of its batch."""
    BATCH_ROWS = 13
    """u32: rows predicted together."""
    ERROR = 14
    """A short error code beside a non-2xx STATUS, such as `oom` or `runtime`."""
    TOKEN = 15
    """Proof of identity on a `tcp:` address."""
    TRACEPARENT = 16
    """Of W3C Trace Context, as are the next: the trace that the request belongs to, and the span that calls."""
    TRACESTATE = 17
    AMZN_TRACE_ID = 18
    """X-Amzn-Trace-Id as sent."""
    STATUS = REQUIRED | 1
    """u16: HTTP status of an answer."""
    DEADLINE_MS = REQUIRED | 2
    """u32: milliseconds left when the frame was written; a replica never starts a request past it."""
    ALONE = REQUIRED | 3
    """Empty: predict by itself, joined with nothing (a retry after a crash)."""
    TARGET_MODEL = REQUIRED | 4
    STREAM = REQUIRED | 5
    """Empty: the answer is wanted as CHUNKs and END."""


class FrameError(ValueError):
    """The peer does not speak this protocol; the link must be closed."""


Head = dict[int, bytes]
Bytes = Union[bytes, bytearray, memoryview]


@dataclass(frozen=True)
class Frame:
    """One frame. `head` maps a Tag to its raw value; `body` is never copied on the way in."""

    kind: Kind
    id: int
    head: Mapping[int, bytes] = field(default_factory=dict)
    body: Bytes = b""


def encode_head(head: Mapping[int, bytes]) -> bytes:
    """TLVs in the order given. A value of 64 KiB or more raises FrameError."""
    parts: list[bytes] = []
    for tag, value in head.items():
        if len(value) > 0xFFFF:
            raise FrameError(f"the header value {Tag(tag).name} has {len(value)} bytes; 65535 are the most")
        parts.append(_TLV.pack(tag, len(value)))
        parts.append(value)
    return b"".join(parts)


def encode(kind: Kind, frame_id: int, head: Mapping[int, bytes], body_bytes: int = 0) -> bytes:
    """Prefix and TLVs of a frame whose body of `body_bytes` bytes the caller writes next."""
    tlvs = encode_head(head)
    if len(tlvs) > 0xFFFF:
        raise FrameError(f"the frame header has {len(tlvs)} bytes; 65535 are the most")
    return _PREFIX.pack(11 + len(tlvs) + body_bytes, kind, frame_id, len(tlvs)) + tlvs


def encode_frame(frame: Frame) -> bytes:
    """The whole frame as one bytes object."""
    return encode(frame.kind, frame.id, frame.head, len(frame.body)) + bytes(frame.body)


TRACE_HEADERS = (
    (Tag.TRACEPARENT, "traceparent"),
    (Tag.TRACESTATE, "tracestate"),
    (Tag.AMZN_TRACE_ID, "X-Amzn-Trace-Id"),
)
"""How a model's code and a server of its own see them."""


def trace_headers(head: Mapping[int, bytes]) -> tuple[tuple[str, str], ...]:
    """The trace headers of a request, as (name, value)."""
    return tuple((name, text(head, tag)) for tag, name in TRACE_HEADERS if tag in head)


_KNOWN = frozenset(int(tag) for tag in Tag)


def decode_head(raw: Bytes) -> Head:
    """TLVs as a dict; an unknown required type, or a value that runs past the end, raises FrameError."""
    head: Head = {}
    at, end = 0, len(raw)
    while at < end:
        if at + 3 > end:
            raise FrameError("a header value is cut off")
        tag, length = _TLV.unpack_from(raw, at)
        at += 3
        if at + length > end:
            raise FrameError("a header value runs past its header")
        if tag in _KNOWN:
            head[tag] = bytes(raw[at : at + length])
        elif tag & REQUIRED:
            raise FrameError(f"the required header {tag:#x} is unknown to version {VERSION_MAX}")
        at += length
    return head


class Decoder:
    """Bytes in, whole frames out; keeps what is left of an unfinished one."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()

    def feed(self, data: Bytes) -> Iterator[Frame]:
        """Frames completed by `data`. Bodies are views of memory that stays valid after the next feed."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted():
                return
            buffer: bytes = bytes(self._rest)
            self._rest = bytearray()
        else:
            buffer = data if isinstance(data, bytes) else bytes(data)
        view = memoryview(buffer)
        at, end = 0, len(buffer)
        while end - at >= 4:
            length = int.from_bytes(view[at : at + 4], "big")
            if not 11 <= length <= self._frame_bytes_max:
                raise FrameError(f"a frame of {length} bytes; 11 to {self._frame_bytes_max} are allowed")
            if end - at < 4 + length:
                break
            yield _decode_one(view[at : at + 4 + length])
            at += 4 + length
        if at < end:
            self._rest += view[at:]

    def _wanted(self) -> int:
        """Bytes the unfinished frame needs in all, as far as its length is known."""
        if len(self._rest) < 4:
            return 4
        return 4 + int.from_bytes(self._rest[:4], "big")


def _decode_one(raw: memoryview) -> Frame:
    _, kind, frame_id, head_bytes = _PREFIX.unpack_from(raw)
    body_at = PREFIX_BYTES + head_bytes
    if body_at > len(raw):
        raise FrameError("a frame's header runs past its end")
    try:
        known = Kind(kind)
    except ValueError:
        raise FrameError(f"unknown frame kind {kind}") from None
    return Frame(known, frame_id, decode_head(raw[PREFIX_BYTES:body_at]), raw[body_at:])


def u16(value: int) -> bytes:
    """Two bytes, for STATUS."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """Four bytes, clipped to what they hold: for times, counts and credits."""
    return min(max(value, 0), 0xFFFFFFFF).to_bytes(4, "big")


def number(head: Mapping[int, bytes], tag: Tag, default: int = 0) -> int:
    """An integer header, or `default` where it is absent."""
    value: bytes | None = head.get(tag)
    return default if value is None else int.from_bytes(value, "big")


def text(head: Mapping[int, bytes], tag: Tag) -> str:
    """A text header, or the empty string; bytes that are not UTF-8 are kept by surrogates."""
    return head.get(tag, b"").decode("utf-8", "surrogateescape")


def hello(uid: str, nonce: str, credits: int, report: bytes = b"", token: bytes = b"") -> bytes:
    """The first frame of either side; magic in its body."""
    head: dict[int, bytes] = {
        Tag.VERSION_RANGE: bytes((VERSION_MIN, VERSION_MAX)),
        Tag.REPLICA_UID: uid.encode(),
        Tag.NONCE: nonce.encode(),
        Tag.CREDITS: u32(credits),
    }
    if report:
        head[Tag.REPORT] = report
    if token:
        head[Tag.TOKEN] = token
    return encode(Kind.HELLO, 0, head, len(MAGIC)) + MAGIC


def check_hello(frame: Frame) -> int:
    """The highest version both ends speak; FrameError where there is none or the frame is no HELLO."""
    if frame.kind is not Kind.HELLO or bytes(frame.body) != MAGIC:
        raise FrameError("the peer did not say HELLO first")
    spoken = frame.head.get(Tag.VERSION_RANGE, b"\x00\x00")
    if len(spoken) != 2:
        raise FrameError(f"the peer's range of versions has {len(spoken)} bytes; it is 2")
    low, high = spoken
    version = min(high, VERSION_MAX)
    if version < max(low, VERSION_MIN):
        raise FrameError(f"the peer speaks frame versions {low} to {high}; this end {VERSION_MIN} to {VERSION_MAX}")
    return version


def frames(data: Iterable[Bytes]) -> list[Frame]:
    """Every frame of a whole recording, for tools and tests."""
    decoder = Decoder()
    found: list[Frame] = []
    for piece in data:
        found.extend(decoder.feed(piece))
    return found


Address = tuple[str, str]


def parse_address(address: str) -> Address:
    """`unix:/path` or `tcp:host:port` as (kind, rest); anything else raises FrameError."""
    kind, _, rest = address.partition(":")
    if kind not in ("unix", "tcp") or not rest:
        raise FrameError(f"not a replica address: {address!r}; use unix:/path or tcp:host:port")
    return kind, rest
