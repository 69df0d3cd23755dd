"""The RecordIO-protobuf codec against bytes of Google's own library (data/README.md says where from)."""

import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.runtimes.recordio import MAGIC, encode_labels, recordio_rows

NAN = float("nan")
RECORDED = {
    name: bytes.fromhex(text)
    for name, text in json.loads((Path(__file__).parent / "data/recordio.json").read_text()).items()
}


def frame(record: bytes) -> bytes:
    return struct.pack("<II", MAGIC, len(record)) + record + bytes(-len(record) % 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("float32_dense", [[1.5, -2, 3e10], [0, NAN, 0.1]]),
        ("float64_dense", [[1.5, -2, 3e10], [0, 0.25, 0.1]]),
        ("int32_dense", [[1, -2, 2147483647]]),
    ],
)
def test_dense_records_of_each_type(name: str, expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(recordio_rows(RECORDED[name]), np.array(expected, dtype=np.float32))


def test_sparse_records_leave_the_rest_missing() -> None:
    rows = recordio_rows(RECORDED["float32_sparse"])
    assert rows.shape == (3, 400)
    assert {(r, c): float(rows[r, c]) for r, c in zip(*np.nonzero(~np.isnan(rows)), strict=True)} == {
        (0, 0): 1.5,
        (0, 300): 2.5,
        (1, 3): 9.0,
    }


def test_answers_are_byte_for_byte_what_protobuf_writes() -> None:
    assert encode_labels([{"score": [0.5]}, {"score": [0.25, 0.75]}]) == RECORDED["labels"]


def test_long_fields_take_long_lengths() -> None:
    long = encode_labels([{"k" * 200: [1.0] * 5000}])
    magic, length = struct.unpack_from("<II", long)
    assert magic == MAGIC
    assert len(long) == 8 + length + -length % 4


@pytest.mark.parametrize("name", [n for n in RECORDED if n != "labels"])
def test_every_cut_is_refused(name: str) -> None:
    whole = RECORDED[name]
    for end in range(1, len(whole) - 3):
        try:
            rows = recordio_rows(whole[:end])
        except ValueError:
            continue
        assert len(rows) < len(recordio_rows(whole)), f"cut at {end}, and nothing was missed"


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_value_errors(record: bytes) -> None:
    for body in (record, frame(record), RECORDED["float32_dense"] + record):
        with contextlib.suppress(ValueError):
            recordio_rows(body)


def test_a_small_sparse_record_cannot_ask_for_all_memory() -> None:
    key = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"  # the largest key that an int64 holds
    tensor = b"\x0a\x04\x00\x00\x80\x3f" + b"\x12" + bytes([len(key)]) + key
    value = b"\x12" + bytes([len(tensor)]) + tensor
    entry = b"\x0a\x06values" + b"\x12" + bytes([len(value)]) + value
    with pytest.raises(ValueError, match="are the most"):
        recordio_rows(frame(b"\x0a" + bytes([len(entry)]) + entry))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x00" * 16, "magic"),
        (frame(b""), "no tensor named 'values'"),
        (RECORDED["labels"], "no tensor named 'values'"),
        (b"\x01", "cut off"),
        (RECORDED["float32_dense"] + RECORDED["float32_sparse"], "mixed"),
        (
            RECORDED["float32_dense"] + frame(b"\x0a\x12\x0a\x06values\x12\x08\x12\x06\x0a\x04\x00\x00\x80\x3f"),
            "numbers of",
        ),
    ],
)
def test_bodies_that_are_no_records(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        recordio_rows(body)
