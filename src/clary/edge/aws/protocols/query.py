"""The query protocol: form fields in (`Metrics.member.1.Name=...`), XML out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.etree.ElementTree import Element, SubElement, tostring

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from clary.edge.aws.protocols import values
from clary.edge.aws.protocols.json import DEPTH_MAX, UNKNOWN
from clary.edge.aws.protocols.values import Unreadable

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FIELDS_MAX = 50_000
"""Form fields of one request. The longest is PutMetricData's, with 1000 metrics in 1 MB."""


class _Tree(dict[str, "_Tree"]):
    """Form fields by the parts of their dotted names; `text` is the value at this very name."""

    text: str | None = None


def form_fields(form: str) -> dict[str, str]:
    """Fields of an `application/x-www-form-urlencoded` text, the last of a repeated name; Unreadable."""
    fields: dict[str, str] = {}
    for pair in form.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            fields[_decode(name)] = _decode(value)
    if len(fields) > FIELDS_MAX:
        raise Unreadable(f"The request has more than {FIELDS_MAX} fields")
    return fields


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("The request is not UTF-8") from None


def parse(fields: Mapping[str, str], shape: Shape | None) -> dict[str, Any]:
    """Members of an input shape from form fields; Unreadable."""
    tree = _Tree()
    for name, value in fields.items():
        if name in ("Action", "Version") or name.startswith(("X-Amz-", "AWSAccessKeyId", "SignatureVersion")):
            continue
        parts = name.split(".")
        if len(parts) > DEPTH_MAX:
            raise Unreadable(f"The field {name[:64]!r} is nested deeper than {DEPTH_MAX} levels")
        node = tree
        for part in parts:
            node = node.setdefault(part, _Tree())
        node.text = value
    if not isinstance(shape, StructureShape):
        return {f"{UNKNOWN}{name}": "" for name in tree}
    return _structure_in(tree, shape)


def _structure_in(tree: _Tree, shape: StructureShape) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, member in shape.members.items():
        wire_name = member.serialization.get("name", name)
        if isinstance(member, ListShape) and member.serialization.get("flattened"):
            wire_name = member.member.serialization.get("name", wire_name)
        if wire_name in tree:
            members[name] = _value_in(tree.pop(wire_name), member)
    members.update({f"{UNKNOWN}{name}": "" for name in tree})
    return members


def _value_in(tree: _Tree, shape: Shape) -> Any:
    if isinstance(shape, StructureShape):
        return _structure_in(tree, shape)
    if isinstance(shape, ListShape):
        return _list_in(tree, shape)
    if isinstance(shape, MapShape):
        entries = tree if shape.serialization.get("flattened") else tree.get("entry", _Tree())
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        return {
            entry.get(key_name, _Tree()).text or "": _value_in(entry.get(value_name, _Tree()), shape.value)
            for _, entry in _numbered(entries)
        }
    if tree:
        raise Unreadable("Unexpected complex element termination")
    return scalar_in(tree.text or "", shape)


def _list_in(tree: _Tree, shape: ListShape) -> list[Any]:
    if tree.text == "" and not tree:
        return []
    if not shape.serialization.get("flattened"):
        name = shape.member.serialization.get("name", "member")
        unknown = [key for key in tree if key != name]
        if unknown or tree.text:
            raise Unreadable(f"Unexpected list element: {unknown[0] if unknown else tree.text!r}")
        tree = tree.get(name, _Tree())
    return [_value_in(item, shape.member) for _, item in _numbered(tree)]


def _numbered(tree: _Tree) -> list[tuple[int, _Tree]]:
    """Children in the order of their numbers; gaps are closed, as the services do."""
    # By the number alone: `1` and `01` may both be there.
    return sorted(((values.int_in(name), child) for name, child in tree.items()), key=lambda one: one[0])


def scalar_in(text: str, shape: Shape) -> Any:
    """A scalar of its text by its shape; Unreadable."""
    kind = shape.type_name
    if kind in ("integer", "long"):
        return values.int_in(text)
    if kind in ("float", "double"):
        return values.float_in(text)
    if kind == "boolean":
        return values.bool_in(text)
    if kind == "timestamp":
        return values.from_text(text)
    return values.blob_in(text) if kind == "blob" else text


def scalar_out(value: Any, shape: Shape, timestamps: str = "iso8601") -> str:
    """A scalar as text."""
    kind = shape.type_name
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "timestamp":
        return str(values.format_timestamp(value, shape.serialization.get("timestampFormat", timestamps)))
    if kind == "blob":
        return values.blob_out(value)
    if kind in ("float", "double"):
        return str(values.float_out(float(value)))
    return xml_text(str(value))


def xml_text(text: str) -> str:
    """Text with the characters that XML 1.0 cannot hold replaced by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def to_bytes(root: Element) -> bytes:
    """A document with its declaration, as the services send it."""
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode").encode()


def serialise(members: Mapping[str, Any], operation: OperationModel, request_id: str) -> bytes:
    """`<XResponse><XResult>...</XResult><ResponseMetadata>`; None members are left out."""
    root = Element(f"{operation.name}Response", xmlns=operation.service_model.metadata["xmlNamespace"])
    shape = operation.output_shape
    if shape is not None:
        result = SubElement(root, shape.serialization.get("resultWrapper", f"{operation.name}Result"))
        fill(result, members, shape)
    metadata = SubElement(root, "ResponseMetadata")
    SubElement(metadata, "RequestId").text = request_id
    return to_bytes(root)


def fill(element: Element, members: Mapping[str, Any], shape: Shape) -> None:
    """Children of an element for the members of a structure; KeyError for a member that the shape lacks."""
    assert isinstance(shape, StructureShape)
    for name, value in members.items():
        if value is not None:
            member = shape.members[name]
            _append(element, member.serialization.get("name", name), value, member)


def _append(parent: Element, name: str, value: Any, shape: Shape) -> None:
    if isinstance(shape, StructureShape):
        fill(SubElement(parent, name), value, shape)
    elif isinstance(shape, ListShape):
        flat = shape.serialization.get("flattened")
        holder = parent if flat else SubElement(parent, name)
        item_name = shape.member.serialization.get("name", name if flat else "member")
        for item in value:
            _append(holder, item_name, item, shape.member)
    elif isinstance(shape, MapShape):
        flat = shape.serialization.get("flattened")
        holder = parent if flat else SubElement(parent, name)
        for key, item in value.items():
            entry = SubElement(holder, name if flat else "entry")
            SubElement(entry, shape.key.serialization.get("name", "key")).text = xml_text(str(key))
            _append(entry, shape.value.serialization.get("name", "value"), item, shape.value)
    else:
        SubElement(parent, name).text = scalar_out(value, shape)


def error_body(code: str, message: str, *, sender: bool, request_id: str, namespace: str) -> bytes:
    """`<ErrorResponse>` of the query protocol; without a namespace for a service that has none here."""
    root = Element("ErrorResponse", {"xmlns": namespace} if namespace else {})
    error = SubElement(root, "Error")
    for name, text in (("Type", "Sender" if sender else "Receiver"), ("Code", code), ("Message", message)):
        SubElement(error, name).text = xml_text(text)
    SubElement(root, "RequestId").text = request_id
    return to_bytes(root)
