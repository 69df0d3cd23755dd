"""What an ONNX file tells without onnxruntime: producer, inputs, their shapes. Reads protobuf's wire format alone.

Field numbers are those of onnx.proto (ModelProto, GraphProto, ValueInfoProto, TypeProto, TensorShapeProto).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Union  # noqa: UP035 - Python 3.9

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_IR_MAX = 64
_FIELDS_MAX = 1_000_000

Value = Union[int, memoryview]


@dataclass(frozen=True)
class GraphInput:
    """One input of the graph."""

    name: str
    shape: tuple[int | None, ...]
    """None for a dimension that the request decides."""


@dataclass(frozen=True)
class OnnxFacts:
    """What a file says."""

    producer: str
    """`skl2onnx 1.17`; empty where it does not say."""
    inputs: tuple[GraphInput, ...]

    @property
    def width(self) -> int | None:
        """Columns of a table of rows that fills the inputs; None where rows are not what they take."""
        if len(self.inputs) == 1 and len(self.inputs[0].shape) == 2:
            return self.inputs[0].shape[1]
        columns = [1 if len(one.shape) == 1 else one.shape[1] if len(one.shape) == 2 else None for one in self.inputs]
        return len(columns) if columns and all(width == 1 for width in columns) else None


def read_onnx(raw: bytes) -> OnnxFacts | None:
    """The facts of a ModelProto; None for bytes that are none. A file cut short tells what its beginning holds."""
    producer, version, inputs = "", "", None
    try:
        for number, value in _fields(memoryview(raw)):
            if number == 1 and not (isinstance(value, int) and 0 < value <= _IR_MAX):
                return None
            if number == 2:
                producer = _text(value)
            elif number == 3:
                version = _text(value)
            elif number == 7:
                inputs = _graph(_sub(value))
    except (ValueError, UnicodeDecodeError):
        return None
    return None if inputs is None else OnnxFacts(f"{producer} {version}".strip(), inputs)


def _graph(raw: memoryview) -> tuple[GraphInput, ...]:
    """Inputs that no initializer fills."""
    inputs: list[GraphInput] = []
    filled: set[str] = set()
    for number, value in _fields(raw):
        if number == 11:
            inputs.append(_input(_sub(value)))
        elif number == 5:
            filled.add(next((_text(one) for at, one in _fields(_sub(value)) if at == 8), ""))
    return tuple(one for one in inputs if one.name not in filled)


def _input(raw: memoryview) -> GraphInput:
    name, shape = "", ()  # type: str, tuple[int | None, ...]
    for number, value in _fields(raw):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for kind, tensor in _fields(_sub(value)):
                if kind == 1:
                    shape = _shape(_sub(tensor))
    return GraphInput(name, shape)


def _shape(tensor: memoryview) -> tuple[int | None, ...]:
    found: list[int | None] = []
    for number, value in _fields(tensor):
        if number == 2:
            for at, dimension in _fields(_sub(value)):
                if at == 1:
                    found.append(next((n for k, n in _fields(_sub(dimension)) if k == 1 and isinstance(n, int)), None))
    return tuple(found)


def _fields(raw: memoryview) -> Iterator[tuple[int, Value]]:
    """(field number, value) of one message. ValueError where it is none or ends within a field."""
    at = count = 0
    while at < len(raw):
        count += 1
        if count > _FIELDS_MAX:
            raise ValueError("too many fields")
        key, at = _varint(raw, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("field 0")
        value: Value
        if wire == _VARINT:
            value, at = _varint(raw, at)
        elif wire == _BYTES:
            length, at = _varint(raw, at)
            if at + length > len(raw):
                raise ValueError("cut short")
            value, at = raw[at : at + length], at + length
        elif wire in (_FIXED32, _FIXED64):
            value, at = 0, at + (4 if wire == _FIXED32 else 8)
        else:
            raise ValueError(f"wire type {wire}")
        yield number, value


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(raw) and shift < 70:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("cut short")


def _sub(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a message is expected")  # noqa: TRY004 - the bytes are wrong, not the caller
    return value


def _text(value: Value) -> str:
    return bytes(_sub(value)).decode("utf-8")
