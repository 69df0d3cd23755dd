"""The rest-json protocol: members in path, query, headers and a JSON (or raw) body.

Paths match the model's templates: `/endpoints/{EndpointName}/invocations`, `{Key+}` takes slashes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from clary.edge.aws.protocols import json, query, values
from clary.edge.aws.protocols.json import UNKNOWN
from clary.edge.aws.protocols.values import Unreadable


@dataclass(frozen=True)
class Head:
    """What a rest request says besides its body."""

    path: str
    """As on the wire, percent-encoded, without the query."""
    query: str
    headers: Mapping[str, str]
    """By lower-case name."""


@functools.lru_cache(maxsize=1024)
def template_pattern(template: str) -> re.Pattern[str]:
    """A path template as a pattern with a group per label, in order."""
    path = template.partition("?")[0]
    parts = re.split(r"\{(\w+\+?)\}", path)
    # The split alternates between literal text and labels.
    out = [
        re.escape(part) if i % 2 == 0 else ("(.+)" if part.endswith("+") else "([^/]+)") for i, part in enumerate(parts)
    ]
    return re.compile("".join(out) + "/?")


def labels(template: str) -> list[str]:
    return re.findall(r"\{(\w+)\+?\}", template.partition("?")[0])


def matches(operation: OperationModel, method: str, path: str) -> bool:
    """Whether a request line is this operation's."""
    return method == operation.http["method"] and bool(template_pattern(operation.http["requestUri"]).fullmatch(path))


def parse(head: Head, body: bytes, operation: OperationModel) -> dict[str, Any]:
    """Members of the operation's input; Unreadable."""
    shape = operation.input_shape
    if shape is None:
        return {}
    found = template_pattern(operation.http["requestUri"]).fullmatch(head.path)
    texts = [unquote(text) for text in found.groups()] if found else []
    in_path = dict(zip(labels(operation.http["requestUri"]), texts, strict=True)) if found else {}
    in_query = query.form_fields(head.query)
    payload = shape.serialization.get("payload")
    members: dict[str, Any] = {}
    in_body: dict[str, Shape] = {}
    for name, member in shape.members.items():
        where = member.serialization.get("location")
        wire_name = member.serialization.get("name", name)
        if where == "uri":
            members[name] = query.scalar_in(in_path[wire_name], member)
        elif where == "querystring":
            if wire_name in in_query:
                members[name] = _query_in(head.query, wire_name, in_query[wire_name], member)
        elif where == "header":
            if wire_name.lower() in head.headers:
                members[name] = _header_in(head.headers[wire_name.lower()], member)
        elif where == "headers":
            prefix = wire_name.lower()
            found_headers = {k[len(prefix) :]: v for k, v in head.headers.items() if k.startswith(prefix)}
            if found_headers:
                members[name] = found_headers
        elif name == payload:
            if body or member.type_name in ("blob", "string"):
                members[name] = _payload_in(body, member)
        else:
            in_body[name] = member
    if payload is None and in_body:
        parsed = json.parse(body, shape)
        members.update({k: v for k, v in parsed.items() if k in in_body or k.startswith(UNKNOWN)})
    return members


def _payload_in(body: bytes, shape: Shape) -> Any:
    if shape.type_name == "blob":
        return body
    if shape.type_name == "string":
        return body.decode("utf-8", "replace")
    try:
        return json.value_in(orjson.loads(body), shape)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"The request body is not JSON: {error.msg} at byte {error.pos}") from None


def _query_in(form: str, wire_name: str, last: str, shape: Shape) -> Any:
    if not isinstance(shape, ListShape):
        return query.scalar_in(last, shape)
    given = [query.form_fields(pair) for pair in form.split("&")]
    return [query.scalar_in(pair[wire_name], shape.member) for pair in given if wire_name in pair]


def _header_in(text: str, shape: Shape) -> Any:
    if shape.serialization.get("jsonvalue"):
        try:
            return orjson.loads(values.blob_in(text))
        except orjson.JSONDecodeError:
            raise Unreadable("The header holds no JSON") from None
    if isinstance(shape, ListShape):
        return [query.scalar_in(item.strip(), shape.member) for item in text.split(",")]
    return query.scalar_in(text, shape)


@dataclass(frozen=True)
class Parts:
    """A response: extra headers, and the body."""

    headers: dict[str, str]
    body: bytes


def serialise(members: Mapping[str, Any], shape: Shape | None) -> Parts:
    """Headers and body of an output's members; None members are left out; KeyError for one that the shape lacks."""
    if not isinstance(shape, StructureShape):
        return Parts({}, b"{}")
    payload = shape.serialization.get("payload")
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}
    raw = b""
    for name, value in members.items():
        member = shape.members[name]
        where = member.serialization.get("location")
        wire_name = member.serialization.get("name", name)
        if value is None:
            continue
        if where == "header":
            headers[wire_name] = _header_out(value, member)
        elif where == "headers" and isinstance(member, MapShape):
            headers.update({f"{wire_name}{key}": str(item) for key, item in value.items()})
        elif name == payload:
            raw = _payload_out(value, member)
        elif where != "statusCode":
            body[wire_name] = json.value_out(value, member)
    return Parts(headers, raw if payload is not None else orjson.dumps(body))


def _payload_out(value: Any, shape: Shape) -> bytes:
    if shape.type_name == "blob":
        return bytes(value)
    return value.encode() if shape.type_name == "string" else orjson.dumps(json.value_out(value, shape))


def _header_out(value: Any, shape: Shape) -> str:
    if isinstance(shape, ListShape):
        return ",".join(query.scalar_out(item, shape.member, "rfc822") for item in value)
    if shape.serialization.get("jsonvalue"):
        return values.blob_out(orjson.dumps(value))
    return query.scalar_out(value, shape, "rfc822")
