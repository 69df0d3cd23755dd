"""The JSON protocols (awsJson 1.0 and 1.1): one JSON object in, one out, walked by the model's shapes.

The words of a type error are those that the hosted services give (`NUMBER_VALUE can not be converted to a String`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson
from botocore.model import ListShape, MapShape, Shape, StructureShape

from clary.edge.aws.protocols import values
from clary.edge.aws.protocols.values import Unreadable

DEPTH_MAX = 64
"""Nesting of a request. The deepest shape served has about ten levels; recursion in shapes makes a limit necessary."""
UNKNOWN = "__unknown__"
"""Prefix under which members that the model does not know are kept, for validation to refuse by name."""

_KINDS = {"integer": "an Integer", "long": "a Long", "float": "a Float", "double": "a Double", "boolean": "a Boolean"}
_BITS = {"integer": 31, "long": 63}


def parse(body: bytes, shape: Shape | None) -> dict[str, Any]:
    """Members of an input shape from a body; an empty body is an empty object; Unreadable."""
    if not body.strip():
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"The request body is not JSON: {error.msg} at byte {error.pos}") from None
    if not isinstance(document, dict):
        raise Unreadable("Start of structure not found: the request body must be a JSON object")
    if not isinstance(shape, StructureShape):
        return {f"{UNKNOWN}{name}": value for name, value in document.items()}
    return _structure_in(document, shape, 0)


Scalar = Callable[[Any, Shape], Any]
"""A scalar of a body, or for one, by its shape: what protocols of this kind differ in."""


def value_in(document: Any, shape: Shape, depth: int = 0, scalar: Scalar | None = None) -> Any:
    """One value by its shape; Unreadable. `scalar`: of another protocol than JSON."""
    if depth > DEPTH_MAX:
        raise Unreadable(f"The request is nested deeper than {DEPTH_MAX} levels")
    if isinstance(shape, StructureShape):
        if shape.is_document_type:
            return document
        if not isinstance(document, dict):
            raise Unreadable(_not_a("structure", document))
        return _structure_in(document, shape, depth, scalar)
    if isinstance(shape, ListShape):
        if not isinstance(document, list):
            raise Unreadable("Expected list or null")
        return [None if item is None else value_in(item, shape.member, depth + 1, scalar) for item in document]
    if isinstance(shape, MapShape):
        if not isinstance(document, dict):
            raise Unreadable(_not_a("map", document))
        # null entries are kept, so that validation may name them.
        return {
            key: None if item is None else value_in(item, shape.value, depth + 1, scalar)
            for key, item in document.items()
        }
    return (scalar or scalar_in)(document, shape)


def _structure_in(
    document: dict[str, Any], shape: StructureShape, depth: int, scalar: Scalar | None = None
) -> dict[str, Any]:
    wire_names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
    members: dict[str, Any] = {}
    for wire_name, value in document.items():
        name = wire_names.get(wire_name)
        if name is None:
            # A union may carry its type's name (Smithy's `__type`); nothing else is ignored.
            if wire_name != "__type":
                members[f"{UNKNOWN}{wire_name}"] = value
        elif value is not None:
            members[name] = value_in(value, shape.members[name], depth + 1, scalar)
    return members


def scalar_in(document: Any, shape: Shape) -> Any:
    """A scalar of JSON by its shape; Unreadable."""
    kind = shape.type_name
    if isinstance(document, (list, dict)):
        raise Unreadable("Start of structure or map found where not expected.")
    if kind in ("string", "character"):
        if not isinstance(document, str):
            raise Unreadable(f"{_token(document)} can not be converted to a String")
        return document
    if kind == "timestamp":
        return _timestamp_in(document)
    if kind == "blob":
        if not isinstance(document, str):
            raise Unreadable(f"{_token(document)} can not be converted to a ByteBuffer")
        return values.blob_in(document)
    if kind == "boolean":
        if not isinstance(document, bool):
            raise Unreadable(f"{_token(document)} can not be converted to a Boolean")
        return document
    if kind in ("float", "double") and document in ("NaN", "Infinity", "-Infinity"):
        return float(document)
    if isinstance(document, bool) or not isinstance(document, (int, float)):
        raise Unreadable(f"{_token(document)} can not be converted to {_KINDS[kind]}")
    if kind in ("float", "double"):
        return float(document)
    if not -(2 ** _BITS[kind]) <= document < 2 ** _BITS[kind] or document != int(document):
        raise Unreadable(f"{document} can not be converted to {_KINDS[kind]}")
    return int(document)


def _timestamp_in(document: Any) -> datetime:
    if isinstance(document, bool):
        raise Unreadable(f"{_token(document)} can not be converted to milliseconds since epoch")
    if isinstance(document, (int, float)):
        return values.from_epoch(document)
    return values.from_text(document)


def _token(document: object) -> str:
    """What the services call a JSON value in a type error."""
    if isinstance(document, bool):
        return "TRUE_VALUE" if document else "FALSE_VALUE"
    return "NUMBER_VALUE" if isinstance(document, (int, float)) else "STRING_VALUE"


def _not_a(kind: str, document: object) -> str:
    found = "list" if isinstance(document, list) else _token(document)
    return f"Expected {kind} or null, found {found}"


def serialise(members: Mapping[str, Any], shape: Shape | None) -> bytes:
    """A body of an output shape's members; None members are left out; LookupError for one that the shape lacks."""
    return orjson.dumps(value_out(members, shape) if shape is not None else {})


def value_out(value: Any, shape: Shape, timestamps: str = "unixtimestamp", scalar: Scalar | None = None) -> Any:
    """One value as JSON by its shape; as another protocol has its scalars, with `scalar`."""
    if isinstance(shape, StructureShape):
        if shape.is_document_type:
            return value
        out = {}
        for name, member in value.items():
            if member is not None:
                inner = shape.members[name]
                out[inner.serialization.get("name", name)] = value_out(member, inner, timestamps, scalar)
        return out
    if isinstance(shape, ListShape):
        return [value_out(item, shape.member, timestamps, scalar) for item in value]
    if isinstance(shape, MapShape):
        return {key: value_out(item, shape.value, timestamps, scalar) for key, item in value.items()}
    if scalar is not None:
        return scalar(value, shape)
    kind = shape.type_name
    if kind == "timestamp":
        return values.format_timestamp(value, shape.serialization.get("timestampFormat", timestamps))
    if kind == "blob":
        return values.blob_out(value)
    if kind in ("float", "double"):
        return values.float_out(float(value))
    return value
