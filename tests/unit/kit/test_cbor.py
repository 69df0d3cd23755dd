"""CBOR against botocore's own reader and RFC 8949's examples (appendix A)."""

import contextlib
import io
import math
from datetime import UTC, datetime
from typing import Any

import botocore.parsers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.kit.cbor import CborError, decode, encode

INSTANTS = st.datetimes(datetime(1902, 1, 1), datetime(2200, 1, 1)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
)
SCALARS = (
    st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary() | INSTANTS
)


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(scalars, lambda below: st.lists(below) | st.dictionaries(st.text(), below), max_leaves=20)


@given(nested(SCALARS | st.none()))
def test_what_is_written_is_read(value: Any) -> None:
    assert decode(encode(value)) == value


@given(nested(SCALARS))
def test_botocore_reads_what_is_written(value: Any) -> None:
    # Without null, which its reader leaves out of maps.
    parser = botocore.parsers.RpcV2CBORParser()
    read = parser.parse_data_item(io.BufferedReader(io.BytesIO(encode(value))))
    assert read == value


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(CborError):
        decode(raw)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1818", 24),
        ("1b000000e8d4a51000", 1000000000000),
        ("3903e7", -1000),
        ("f93c00", 1.0),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f97c00", math.inf),
        ("f7", None),
        ("c11a514b67b0", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("c1fb41d452d9ec200000", datetime(2013, 3, 21, 20, 4, 0, 500000, tzinfo=UTC)),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ],
)
def test_the_examples_of_the_rfc(written: str, value: Any) -> None:
    assert decode(bytes.fromhex(written)) == value


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "cut short"),
        ("62", "cut short"),
        ("9bffffffffffffffff", "cut short"),
        ("ff", "an end without a beginning"),
        ("81ff", "an end within"),
        ("bf6161ff", "has no value"),
        ("0101", "1 bytes follow"),
        ("1c", "reserved"),
        ("61ff", "not UTF-8"),
        ("a10101", "a key that is no text"),
        ("7f4161ff", "parts of another kind"),
        ("d81c80", "the tag 28 is not taken"),
        ("c2420101", "the tag 2 is not taken"),
        ("c161 61", "a number of seconds"),
        ("c1f97e00", "a number of seconds"),
        ("c1fb7e37e43c8800759c", "not a time"),
        ("e0", "the simple value 0"),
        ("81" * 70 + "01", "nested deeper"),
    ],
)
def test_what_is_refused(written: str, words: str) -> None:
    with pytest.raises(CborError, match=words):
        decode(bytes.fromhex(written))


def test_what_has_no_form() -> None:
    with pytest.raises(TypeError, match="complex"):
        encode(1j)
