"""The protocol smithy-rpc-v2-cbor: one CBOR map in, one out, walked by the model's shapes as JSON's are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from botocore.model import Shape, StructureShape

from clary.edge.aws.protocols import json
from clary.edge.aws.protocols.values import Unreadable
from clary.kit import cbor

CONTENT_TYPE = "application/cbor"
PROTOCOL = "rpc-v2-cbor"
"""Value of the header `smithy-protocol`, on requests and answers."""


def parse(body: bytes, shape: Shape | None) -> dict[str, Any]:
    """Members of an input shape from a body; an empty body is an empty map; Unreadable."""
    if not body:
        return {}
    try:
        document = cbor.decode(body)
    except cbor.CborError as error:
        raise Unreadable(f"The request body is not CBOR: {error}") from None
    if not isinstance(document, dict):
        raise Unreadable("Start of structure not found: the request body must be a CBOR map")
    if not isinstance(shape, StructureShape):
        return {f"{json.UNKNOWN}{name}": value for name, value in document.items()}
    members: dict[str, Any] = json.value_in(document, shape, scalar=_scalar_in)
    return members


def _scalar_in(document: Any, shape: Shape) -> Any:
    if shape.type_name == "blob":
        if not isinstance(document, bytes):
            raise Unreadable("A blob must be a byte string")
        return document
    if shape.type_name == "timestamp":
        if not isinstance(document, datetime):
            raise Unreadable("A timestamp must be a number with the tag 1")
        return document
    if isinstance(document, (bytes, datetime)):
        raise Unreadable(f"{type(document).__name__} found where {shape.type_name} was expected")
    return json.scalar_in(document, shape)


def serialise(members: Mapping[str, Any], shape: Shape | None) -> bytes:
    """A body of an output shape's members; None members are left out; LookupError for one that the shape lacks."""
    return cbor.encode(json.value_out(members, shape, scalar=_scalar_out) if shape is not None else {})


def _scalar_out(value: Any, shape: Shape) -> Any:
    return float(value) if shape.type_name in ("float", "double") else value
