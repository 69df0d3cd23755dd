"""Event stream encoding: messages that answer one request, one after the other. Pure.

`application/vnd.amazon.eventstream`: u32 total length, u32 headers length, u32 CRC of those eight bytes; headers;
payload; u32 CRC of all before it. All big-endian, CRC-32 as zlib's. Header: u8 name length, name, u8 type, value
(Smithy specification, "Amazon Event Stream"; checked against botocore's decoder).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Union
from uuid import UUID

CONTENT_TYPE = "application/vnd.amazon.eventstream"
PAYLOAD_BYTES_MAX = 24 * 1024 * 1024
"""Longest payload of one message, in bytes (botocore refuses more)."""
HEADERS_BYTES_MAX = 128 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

HeaderValue = Union[bool, int, bytes, str, datetime, UUID]


def encode(headers: Mapping[str, HeaderValue], payload: bytes) -> bytes:
    """One message; ValueError beyond the format's limits."""
    return _message(b"".join(_header(name, value) for name, value in headers.items()), payload)


def _message(encoded: bytes, payload: bytes) -> bytes:
    if len(payload) > PAYLOAD_BYTES_MAX or len(encoded) > HEADERS_BYTES_MAX:
        raise ValueError(f"an event of {len(payload)} bytes with {len(encoded)} bytes of headers is over the limit")
    prelude = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + encoded + payload
    return message + struct.pack("!I", zlib.crc32(message))


def _header(name: str, value: HeaderValue) -> bytes:
    encoded = name.encode()
    if not 0 < len(encoded) < 256:
        raise ValueError(f"a header name has 1 to 255 bytes: {name!r}")
    return struct.pack("!B", len(encoded)) + encoded + _value(value)


def _value(value: HeaderValue) -> bytes:
    if isinstance(value, bool):
        return b"\x00" if value else b"\x01"
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return struct.pack("!Bi", 4, value)
        return struct.pack("!Bq", 5, value)
    if isinstance(value, datetime):
        return struct.pack("!Bq", 8, (value - _EPOCH) // timedelta(milliseconds=1))
    if isinstance(value, UUID):
        return b"\x09" + value.bytes
    kind, raw = (6, value) if isinstance(value, bytes) else (7, value.encode())
    if len(raw) > 32767:
        raise ValueError("a header value has at most 32,767 bytes")
    return struct.pack("!BH", kind, len(raw)) + raw


_PART_HEADERS = b"".join(
    _header(name, value)
    for name, value in (
        (":message-type", "event"),
        (":event-type", "PayloadPart"),
        (":content-type", "application/octet-stream"),
    )
)


def payload_part(payload: bytes) -> bytes:
    """The event `PayloadPart` of InvokeEndpointWithResponseStream."""
    return _message(_PART_HEADERS, payload)


def exception(name: str, members: Mapping[str, object]) -> bytes:
    """A modelled error inside a stream, which ends it."""
    headers: dict[str, HeaderValue] = {
        ":message-type": "exception",
        ":exception-type": name,
        ":content-type": "application/json",
    }
    return encode(headers, json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode())


def error(code: str, message: str) -> bytes:
    """An error that the model does not know, inside a stream, which ends it."""
    return encode({":message-type": "error", ":error-code": code, ":error-message": message}, b"")
