"""Event stream encoding: messages that answer one request, one after the other.

`application/vnd.amazon.eventstream`: u32 total length, u32 headers length, u32 CRC of those eight bytes; headers;
payload; u32 CRC of all before it. All big-endian, CRC-32 as zlib's. Header: u8 name length, name, u8 type, value
(Smithy specification, "Amazon Event Stream"; checked against botocore's decoder).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from botocore.model import StructureShape

from clary.edge.aws.protocols import json
from clary.edge.aws.protocols.values import to_epoch

CONTENT_TYPE = "application/vnd.amazon.eventstream"
PAYLOAD_BYTES_MAX = 24 * 1024 * 1024
"""Longest payload of one message, in bytes (botocore refuses more)."""
HEADERS_BYTES_MAX = 128 * 1024

HeaderValue = bool | int | bytes | str | datetime | UUID


def encode(headers: Mapping[str, HeaderValue], payload: bytes) -> bytes:
    """One message; ValueError beyond the format's limits."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
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
        return struct.pack("!Bq", 8, round(to_epoch(value) * 1000))
    if isinstance(value, UUID):
        return b"\x09" + value.bytes
    kind, raw = (6, value) if isinstance(value, bytes) else (7, value.encode())
    if len(raw) > 32767:
        raise ValueError("a header value has at most 32,767 bytes")
    return struct.pack("!BH", kind, len(raw)) + raw


def event(name: str, members: Mapping[str, Any], shape: StructureShape) -> bytes:
    """One event of a stream shape: `name` is the member of the union, `members` are those of its structure."""
    headers: dict[str, HeaderValue] = {":message-type": "event", ":event-type": name}
    payload = b""
    body: dict[str, Any] = {}
    explicit = False
    for member, value in members.items():
        inner = shape.members[member]
        if inner.serialization.get("eventheader"):
            headers[member] = value
        elif inner.serialization.get("eventpayload"):
            explicit = True
            headers[":content-type"], payload = _payload(value, inner.type_name)
            if inner.type_name == "structure":
                payload = orjson.dumps(json.value_out(value, inner))
        else:
            body[member] = json.value_out(value, inner)
    if not explicit and body:
        headers[":content-type"], payload = "application/json", orjson.dumps(body)
    return encode(headers, payload)


def _payload(value: Any, kind: str) -> tuple[str, bytes]:
    if kind == "blob":
        return "application/octet-stream", bytes(value)
    return ("text/plain", value.encode()) if kind == "string" else ("application/json", b"")


def exception(name: str, members: Mapping[str, Any]) -> bytes:
    """A modelled error inside a stream, which ends it."""
    headers = {":message-type": "exception", ":exception-type": name, ":content-type": "application/json"}
    return encode(headers, orjson.dumps(members))


def error(code: str, message: str) -> bytes:
    """An error that the model does not know, inside a stream, which ends it."""
    return encode({":message-type": "error", ":error-code": code, ":error-message": message}, b"")
