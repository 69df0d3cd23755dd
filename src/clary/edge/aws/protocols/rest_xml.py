"""The rest-xml protocol: members in URI, query, headers and an XML body; the server's side of it.

Source: https://smithy.io/2.0/aws/protocols/aws-restxml-protocol.html and botocore's shapes. A streaming payload is not
read here: the door hands it to the operation as it comes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser
from xml.sax.saxutils import escape

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from clary.edge.aws.protocols import values
from clary.edge.aws.protocols.values import Unreadable

_LOCATED = frozenset({"uri", "querystring", "header", "headers", "statusCode"})
_UNFIT_IN = re.compile(
    rb"([\x01-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf])|&#0*([1-8]|1[124-9]|2\d|3[01]);|&#x0*([1-8bcef]|1[0-9a-f]);",
    re.IGNORECASE,
)
_DISGUISE = 0x10FF00
"""What stands for those while a document is read, by their low byte: a corner of the last private plane."""
_NO_DISGUISE = re.compile(rb"\0|\xf4\x8f|&#0*111|&#x0*10f", re.IGNORECASE)
"""UTF-16, which has such bytes within other characters, or that corner itself."""
_DISGUISED = re.compile(f"[{chr(_DISGUISE + 1)}-{chr(_DISGUISE + 31)}\U0010fffe\U0010ffff]")
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0d\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True)
class Incoming:
    """The parts of a request that hold members, decoded once."""

    labels: Mapping[str, str]
    """Parts of the path, by the name in the model's URI (`Bucket`, `Key`)."""
    query: Mapping[str, Sequence[str]]
    """Values by name, percent-decoded."""
    headers: Mapping[str, str]
    """By lower-case name."""


@dataclass(frozen=True)
class Outgoing:
    """An encoded answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def parse(operation: OperationModel, incoming: Incoming, body: bytes = b"") -> dict[str, Any]:
    """Members of the operation's input; Unreadable where a value does not fit its shape.

    `body` is the whole body of an operation whose input is not streaming; empty otherwise.
    """
    shape = operation.input_shape
    if shape is None:
        return {}
    members: dict[str, Any] = {}
    for name, member in shape.members.items():
        value = _located_in(member, name, incoming)
        if value is not None:
            members[name] = value
    payload = shape.serialization.get("payload")
    if payload is not None:
        member = shape.members[payload]
        if isinstance(member, StructureShape):
            if body:
                members[payload] = _structure_in(_root(body), member)
        elif not operation.has_streaming_input and body:
            members[payload] = body if member.type_name == "blob" else _text(body)
    elif body and any(member.serialization.get("location") not in _LOCATED for member in shape.members.values()):
        members.update(_structure_in(_root(body), shape))
    return members


def serialise(
    operation: OperationModel,
    members: Mapping[str, Any],
    *,
    root: str = "",
    namespace: str = "",
    status: int | None = None,
) -> Outgoing:
    """The answer to an operation. `root` names the document's element where the model does not.

    A member whose value is text is written as it stands, whatever its shape: a header that a client stored.
    A streaming payload is the caller's; its body here is empty.
    """
    shape = operation.output_shape
    headers: dict[str, str] = {}
    code = status or int(operation.http.get("responseCode", 200))
    if shape is None:
        return Outgoing(code, headers, b"")
    for name, member in shape.members.items():
        if members.get(name) is not None and member.serialization.get("location") in _LOCATED:
            if member.serialization["location"] == "statusCode":
                code = int(members[name])
            else:
                headers.update(_header_out(member, name, members[name]))
    payload = shape.serialization.get("payload")
    if payload is None:
        body = [(name, member) for name, member in shape.members.items() if "location" not in member.serialization]
        if not body:
            return Outgoing(code, headers, b"")
        return Outgoing(code, headers, document(root or shape.name, namespace, _members_out(members, shape)))
    member = shape.members[payload]
    if isinstance(member, StructureShape):
        if members.get(payload) is None:
            return Outgoing(code, headers, b"")
        name = root or member.serialization.get("name", member.name)
        return Outgoing(code, headers, document(name, namespace, _members_out(members[payload], member)))
    value = members.get(payload)
    if operation.has_streaming_output or value is None:
        return Outgoing(code, headers, b"")
    return Outgoing(code, headers, value if isinstance(value, bytes) else str(value).encode())


def document(root: str, namespace: str, inner: str) -> bytes:
    """A whole XML document around already encoded content."""
    attribute = f' xmlns="{namespace}"' if namespace else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{attribute}>{inner}</{root}>'.encode()


def element(name: str, text: str) -> str:
    """One element with text, escaped; characters that XML 1.0 cannot hold as references, as S3 writes them."""
    escaped = escape(text, {'"': "&quot;"})
    if _UNFIT.search(escaped):
        escaped = _UNFIT.sub(lambda found: f"&#x{ord(found.group()):X};", escaped)
    return f"<{name}>{escaped}</{name}>"


def sendable(text: str) -> bool:
    """Whether a client can read an answer that holds this text: references to what XML cannot hold it cannot."""
    return all(found.group() == "\r" for found in _UNFIT.finditer(text))


# -- requests ----------------------------------------------------------------------------------------------------------


class _Builder(TreeBuilder):
    """Builds the tree, refusing a document type: entities are of no use here."""

    def doctype(self, *_: str | None) -> NoReturn:
        raise Unreadable("A document type declaration is not allowed")


def _root(body: bytes) -> Element:
    parser = XMLParser(target=_Builder())  # noqa: S314 - entities cannot be declared, see _Builder
    disguised = 0
    if not _NO_DISGUISE.search(body):
        body, disguised = _UNFIT_IN.subn(_disguise, body)
    try:
        parser.feed(body)
        found: Element = parser.close()
    except (ParseError, ValueError, LookupError) as error:  # the last two: encodings that Python lacks
        raise Unreadable(f"The XML is not well-formed: {error}") from None
    if disguised:
        for node in found.iter():
            node.text = node.text and _DISGUISED.sub(_undisguise, node.text)
    return found


def _disguise(found: re.Match[bytes]) -> bytes:
    """A control character, which XML 1.0 cannot hold and a key can: botocore sends it as it is, others a reference."""
    raw, decimal, hexadecimal = found.groups()
    code = ord(raw.decode()) if raw else int(decimal) if decimal else int(hexadecimal, 16)
    return b"&#%d;" % (_DISGUISE + (code & 0xFF))


def _undisguise(found: re.Match[str]) -> str:
    low = ord(found.group()) & 0xFF
    return chr(low if low < 0x20 else 0xFF00 | low)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Unreadable("The request body is not UTF-8") from None


def _located_in(shape: Shape, name: str, incoming: Incoming) -> Any:
    location = shape.serialization.get("location")
    wire_name = shape.serialization.get("name", name)
    if location == "uri":
        return incoming.labels.get(wire_name)
    if location == "headers":
        start = wire_name.lower()
        found = {key[len(start) :]: value for key, value in incoming.headers.items() if key.startswith(start)}
        return found or None
    if location == "header":
        text = incoming.headers.get(wire_name.lower())
        return None if text is None else _header_in(text, shape)
    if location == "querystring":
        given = incoming.query.get(wire_name)
        if given is None:
            return None
        if isinstance(shape, ListShape):
            return [_scalar_in(text, shape.member) for text in given]
        return _scalar_in(given[-1], shape)
    return None


def _header_in(text: str, shape: Shape) -> Any:
    if isinstance(shape, ListShape):
        return [_scalar_in(part.strip(), shape.member) for part in text.split(",") if part.strip()]
    if shape.serialization.get("jsonvalue"):
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Unreadable("The value is not valid base64") from None
    return _scalar_in(text, shape)


def _structure_in(node: Element, shape: StructureShape) -> dict[str, Any]:
    children: dict[str, list[Element]] = {}
    for child in node:
        children.setdefault(_local(child.tag), []).append(child)
    members: dict[str, Any] = {}
    for name, member in shape.members.items():
        if member.serialization.get("location") in _LOCATED:
            continue
        wire_name = _element_name(member, name)
        if member.serialization.get("xmlAttribute"):
            local = wire_name.split(":")[-1]
            found = [text for key, text in node.attrib.items() if _local(key) == local]
            if found:
                members[name] = _scalar_in(found[0], member)
            continue
        nodes = children.pop(wire_name, None)
        if nodes is not None:
            members[name] = _value_in(nodes, member)
    if children:
        raise Unreadable(f"The element {sorted(children)[0]!r} is not part of {shape.name}")
    return members


def _value_in(nodes: Sequence[Element], shape: Shape) -> Any:
    """The value of a member from all elements of its name: several only for a flattened list or map."""
    if isinstance(shape, ListShape):
        if shape.serialization.get("flattened"):
            items = list(nodes)
        else:
            name = shape.member.serialization.get("name", "member")
            items = [child for child in nodes[0] if _local(child.tag) == name]
        return [_value_in([item], shape.member) for item in items]
    if isinstance(shape, MapShape):
        entries = list(nodes) if shape.serialization.get("flattened") else list(nodes[0])
        return dict(_entry_in(entry, shape) for entry in entries)
    if len(nodes) > 1:
        raise Unreadable(f"The element {_local(nodes[0].tag)!r} stands more than once")
    if isinstance(shape, StructureShape):
        return _structure_in(nodes[0], shape)
    return _scalar_in(nodes[0].text or "", shape)


def _entry_in(entry: Element, shape: MapShape) -> tuple[str, Any]:
    key_name = shape.key.serialization.get("name", "key")
    value_name = shape.value.serialization.get("name", "value")
    found = {_local(child.tag): child for child in entry}
    if key_name not in found or value_name not in found:
        raise Unreadable(f"An entry of {shape.name} lacks {key_name} or {value_name}")
    return found[key_name].text or "", _value_in([found[value_name]], shape.value)


def _element_name(shape: Shape, name: str) -> str:
    if isinstance(shape, ListShape) and shape.serialization.get("flattened"):
        named = shape.serialization.get("name") or shape.member.serialization.get("name")
        return str(named or name)
    return str(shape.serialization.get("name", name))


def _local(tag: str) -> str:
    """A name without its namespace: clients differ in whether they send one."""
    return tag.rpartition("}")[2]


def _scalar_in(text: str, shape: Shape) -> Any:
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


# -- answers -----------------------------------------------------------------------------------------------------------


def _header_out(shape: Shape, name: str, value: Any) -> dict[str, str]:
    wire_name = shape.serialization.get("name", name)
    if shape.serialization["location"] == "headers":
        return {f"{wire_name}{key}": text for key, text in value.items()}
    if isinstance(shape, ListShape):
        return {wire_name: ",".join(_scalar_out(item, shape.member, "rfc822") for item in value)}
    return {wire_name: _scalar_out(value, shape, "rfc822")}


def _members_out(members: Mapping[str, Any], shape: StructureShape) -> str:
    parts = []
    for name, member in shape.members.items():
        value = members.get(name)
        if value is not None and "location" not in member.serialization:
            parts.append(_value_out(_element_name(member, name), value, member))
    return "".join(parts)


def _value_out(name: str, value: Any, shape: Shape) -> str:
    if isinstance(shape, StructureShape):
        return f"<{name}{_attributes(value, shape)}>{_members_out(_without_attributes(value, shape), shape)}</{name}>"
    if isinstance(shape, ListShape):
        if shape.serialization.get("flattened"):
            return "".join(_value_out(name, item, shape.member) for item in value)
        item_name = shape.member.serialization.get("name", "member")
        return f"<{name}>{''.join(_value_out(item_name, item, shape.member) for item in value)}</{name}>"
    if isinstance(shape, MapShape):
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        pairs = [element(key_name, key) + _value_out(value_name, item, shape.value) for key, item in value.items()]
        if shape.serialization.get("flattened"):
            return "".join(f"<{name}>{pair}</{name}>" for pair in pairs)
        return f"<{name}>{''.join(f'<entry>{pair}</entry>' for pair in pairs)}</{name}>"
    return element(name, _scalar_out(value, shape, "iso8601"))


def _attributes(value: Mapping[str, Any], shape: StructureShape) -> str:
    namespace = shape.serialization.get("xmlNamespace")
    written = []
    for name, member in shape.members.items():
        if member.serialization.get("xmlAttribute") and value.get(name) is not None:
            text = escape(str(value[name]), {'"': "&quot;"})
            written.append(f' {member.serialization.get("name", name)}="{text}"')
    if not written:
        return ""
    declared = f' xmlns:{namespace["prefix"]}="{namespace["uri"]}"' if namespace and "prefix" in namespace else ""
    return declared + "".join(written)


def _without_attributes(value: Mapping[str, Any], shape: StructureShape) -> Mapping[str, Any]:
    attributes = {name for name, member in shape.members.items() if member.serialization.get("xmlAttribute")}
    return {name: item for name, item in value.items() if name not in attributes} if attributes else value


def _scalar_out(value: Any, shape: Shape, timestamps: str) -> str:
    kind = shape.type_name
    if isinstance(value, str):
        return value
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "timestamp":
        return str(values.format_timestamp(value, shape.serialization.get("timestampFormat", timestamps)))
    if kind == "blob":
        return values.blob_out(value)
    if kind in ("float", "double"):
        return str(values.float_out(float(value)))
    return str(value)
