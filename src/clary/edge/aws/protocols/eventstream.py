"""Event streams of the services' models: a shape's members as one message (`clary.kit.eventstream` encodes it)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from botocore.model import StructureShape

from clary.edge.aws.protocols import json
from clary.kit.eventstream import (
    CONTENT_TYPE,
    HEADERS_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    HeaderValue,
    encode,
    error,
    exception,
)

__all__ = ("CONTENT_TYPE", "HEADERS_BYTES_MAX", "PAYLOAD_BYTES_MAX", "encode", "error", "event", "exception")


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
