"""SageMaker's `application/x-recordio-protobuf`: protobuf records, each behind a RecordIO header.

RecordIO: u32 magic 0xCED7230A, u32 length (both little-endian), the record, zero bytes up to a multiple of 4.
The record is `aialgs.data.Record` (SageMaker developer guide, "Common data formats for training"):
`map<string, Value> features = 1; map<string, Value> label = 2`, a `Value` being one of float32_tensor = 2,
float64_tensor = 3, int32_tensor = 7, and a tensor `values = 1; keys = 2; shape = 3`, all packed. A tensor with keys is
sparse. Only what these fields need of protobuf is here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence  # noqa: UP035 - Python 3.9

import numpy as np

from clary.runtimes.tensors import CELLS_MAX, BodyError, to_float32

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = 0xCED7230A
_HEADER = struct.Struct("<II")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FEATURES = 1
_DTYPES: Mapping[int, str] = {2: "<f4", 3: "<f8", 7: "i4"}
_VALUES, _KEYS, _SHAPE = 1, 2, 3
_TENSOR = "values"
"""The feature that SageMaker's own writers use, and algorithms read."""


def recordio_rows(body: bytes) -> NDArray[np.float32]:
    """Every record's features as float32 of shape (records, columns); what a sparse record leaves out is NaN.

    Labels are passed over. Raises BodyError for a broken frame or message and for dense records of unequal length.
    """
    dense: list[NDArray[Any]] = []
    sparse: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
    width = 0
    for record in _records(memoryview(body)):
        values, keys, shape = _tensor(record)
        if keys is None and not (shape is not None and not len(values)):
            dense.append(values)
            continue
        places = np.zeros(0, np.int64) if keys is None else keys
        if len(places) != len(values):
            raise BodyError(f"a sparse record has {len(places)} keys for {len(values)} values")
        if len(places) and int(places.min()) < 0:
            raise BodyError("a sparse record has a key beyond 2**63")
        width = max(width, shape or 0, int(places.max()) + 1 if len(places) else 0)
        sparse.append((values, places))
    if dense and sparse:
        raise BodyError("dense and sparse records are mixed")
    if dense:
        if len({len(row) for row in dense}) > 1:
            raise BodyError(f"records have {len(dense[0])} and other numbers of values")
        return to_float32(np.stack(dense))
    if not sparse:
        raise BodyError("no records found")
    if len(sparse) * width > CELLS_MAX:
        raise BodyError(f"{len(sparse)} rows of {width} features; {CELLS_MAX} values are the most")
    rows = np.full((len(sparse), width), np.nan, dtype=np.float64)
    for index, (values, places) in enumerate(sparse):
        rows[index, places] = values
    return to_float32(rows)


def _records(body: memoryview) -> Iterator[memoryview]:
    at = 0
    while at < len(body):
        if at + _HEADER.size > len(body):
            raise BodyError(f"a record's header is cut off at byte {at}")
        magic, length = _HEADER.unpack_from(body, at)
        if magic != MAGIC:
            raise BodyError(f"invalid RecordIO magic at byte {at}")
        at += _HEADER.size
        if at + length > len(body):
            raise BodyError(f"a record of {length} bytes is cut off at byte {at}")
        yield body[at : at + length]
        at += length + -length % 4


def _tensor(record: memoryview) -> tuple[NDArray[Any], NDArray[np.int64] | None, int | None]:
    """Values, keys (None where dense) and the last dimension of the shape, of the feature `values`."""
    for number, _, entry in _fields(record):
        if number != _FEATURES or isinstance(entry, int):
            continue
        parts = {field: content for field, _, content in _fields(entry)}
        name, value = parts.get(1, b""), parts.get(2, b"")
        if isinstance(name, int) or isinstance(value, int) or bytes(name) != _TENSOR.encode():
            continue
        for kind, _, tensor in _fields(memoryview(value)):
            if kind in _DTYPES and not isinstance(tensor, int):
                return _values(tensor, _DTYPES[kind])
    raise BodyError("a record has no tensor named 'values' among its features")


def _values(tensor: memoryview, dtype: str) -> tuple[NDArray[Any], NDArray[np.int64] | None, int | None]:
    values: list[NDArray[Any]] = []
    keys: list[int] = []
    shape: list[int] = []
    for number, wire, content in _fields(tensor):
        if number == _VALUES:
            values.append(_numbers(wire, content, dtype))
        elif number in (_KEYS, _SHAPE):
            found = [content] if isinstance(content, int) else list(_varints(content))
            (keys if number == _KEYS else shape).extend(found)
    flat = np.concatenate(values) if values else np.zeros(0, np.float32)
    places = np.array(keys, dtype=np.uint64).astype(np.int64) if keys else None
    return flat, places, shape[-1] if shape else None


def _numbers(wire: int, content: int | memoryview, dtype: str) -> NDArray[Any]:
    """One occurrence of `values`: packed as SageMaker writes it, or a single number as protobuf also allows."""
    if dtype == "i4":
        found = [content] if isinstance(content, int) else list(_varints(content))
        return np.array(found, dtype=np.uint64).astype(np.uint32).view(np.int32)
    if isinstance(content, int):
        raise BodyError("a float is encoded as an integer")
    size = np.dtype(dtype).itemsize
    if len(content) % size or (wire != _BYTES and len(content) != size):
        raise BodyError(f"{len(content)} bytes of {size}-byte numbers")
    return np.frombuffer(content, dtype=dtype)


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Number, wire type and content of each field: an int for a varint, else its bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise BodyError(f"unknown wire type {wire}")
        if at + size > len(message):
            raise BodyError("a field is cut off")
        yield number, wire, message[at : at + size]
        at += size


def _varints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise BodyError("a varint is cut off or too long")


def encode_labels(rows: Sequence[Mapping[str, Sequence[float]]]) -> bytes:
    """One record a row, each key a float32 tensor among its labels: how SageMaker's algorithms answer."""
    parts: list[bytes] = []
    for row in rows:
        record = b"".join(_label(key, values) for key, values in row.items())
        parts += [_HEADER.pack(MAGIC, len(record)), record, bytes(-len(record) % 4)]
    return b"".join(parts)


def _label(key: str, values: Sequence[float]) -> bytes:
    with np.errstate(over="ignore"):
        packed = np.array(values, dtype="<f4").tobytes()
    tensor = _field(2, _field(_VALUES, packed))  # float32_tensor { values }
    return _field(2, _field(1, key.encode()) + _field(2, tensor))  # label { key, value }


def _field(number: int, content: bytes) -> bytes:
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(content)) + content


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
