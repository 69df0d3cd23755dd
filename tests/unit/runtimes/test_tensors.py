"""CSV and libsvm bodies as float32; the fast CSV path gives the reference parser's bits or steps aside."""

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clary.runtimes import tensors
from clary.runtimes.tensors import csv_reference, csv_rows, libsvm_rows, sniff_delimiter, to_float32

NAN = float("nan")


def bits(rows: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    """Shape and bytes, every NaN made one NaN: its sign and payload have no meaning."""
    return rows.shape, np.where(np.isnan(rows), np.float32("nan"), rows).tobytes()


NUMBERS = st.one_of(
    st.floats(width=64, allow_infinity=False).map(repr),
    st.floats(width=32, allow_infinity=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["", " ", "-0", "-0.0", "+1", "01", ".5", "5.", "1e5", "1E-5", "1_0", "nan", "NaN", " 7 ", "-"]),
    st.sampled_from(["null", "true", '"1"', "[1]", "{}", "0x10", "1e400", "3.5e38", "-1e39", "1e-60", "9" * 400]),
)
ROWS = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=4)
)
BODIES = st.one_of(
    st.tuples(ROWS, st.sampled_from(["\n", "\r\n"]), st.sampled_from([",", ", ", ";"])).map(
        lambda drawn: drawn[1].join(drawn[2].join(row) for row in drawn[0]).encode()
    ),
    st.text(alphabet="0123456789.,-+eE\n\r []", max_size=40).map(str.encode),
    st.binary(max_size=40),
)


@given(BODIES)
@example(b"0 \n0")
def test_the_fast_path_equals_the_reference_or_steps_aside(body: bytes) -> None:
    text = body.strip()
    fast = tensors._csv_fast(text)
    if fast is not None:
        assert bits(fast) == bits(csv_reference(text))


@given(
    st.lists(st.lists(st.floats(width=32, allow_infinity=False, allow_nan=False), min_size=3, max_size=3), min_size=1)
)
def test_plain_numbers_take_the_fast_path(rows: list[list[float]]) -> None:
    body = "\n".join(",".join(repr(value) for value in row) for row in rows).encode()
    assert tensors._csv_fast(body) is not None, "the hot case fell to the slow path"
    assert bits(csv_rows(body)) == bits(np.array(rows, dtype=np.float32))


def test_without_orjson_the_answer_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"1.5,-0,2e-3\n3,4,5\n"
    with_orjson = csv_rows(body)
    monkeypatch.setattr(tensors, "_loads", None)
    assert bits(csv_rows(body)) == bits(with_orjson)


@given(st.floats(width=64, allow_nan=False))
def test_a_double_is_rounded_to_float32_as_c_rounds_it(value: float) -> None:
    try:
        expected = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        expected = float("inf")
    if abs(expected) == float("inf"):
        with pytest.raises(ValueError, match="`inf` or a value too large"):
            csv_rows(f"{value!r},1".encode())
    else:
        assert csv_rows(f"{value!r},1".encode())[0, 0] == np.float32(expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"1,2,3", [[1, 2, 3]]),
        (b"1,2\n3,4\n", [[1, 2], [3, 4]]),
        (b"1,2\r\n3,4\r\n", [[1, 2], [3, 4]]),
        (b"1,,3\n,5,\n", [[1, NAN, 3], [NAN, 5, NAN]]),
        (b"1,\r\n2,3", [[1, NAN], [2, 3]]),
        (b"1;2;3", [[1, 2, 3]]),
        (b"1\t2\n3\t4", [[1, 2], [3, 4]]),
        (b"1|2", [[1, 2]]),
        (b"1 2 3", [[1, 2, 3]]),
        (b"0.5\n0.25", [[0.5], [0.25]]),
        (b"7", [[7]]),
        (b"nan,NaN,1e3", [[NAN, NAN, 1000]]),
        (b"-0,1", [[-0.0, 1]]),
        (b" 1, 2 ", [[1, 2]]),
    ],
)
def test_csv_bodies(body: bytes, expected: list[list[float]]) -> None:
    assert bits(csv_rows(body)) == bits(np.array(expected, dtype=np.float32))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"   \n ", "no row"),
        (b"1,2\n3", "row 2 has 1 columns where row 1 has 2"),
        (b"a,b", "could not convert string to float: 'a'"),
        (b"1,\xff", "utf-8"),
        (b"1,inf", "`inf`"),
        (b"1,1e39", "`inf`"),
        (b"age,income\n1,2", "could not convert"),
        (b"1,2\n\n3,4", "row 2"),
        (b'"1","2"', "could not convert"),
        (b"null,1", "could not convert"),
        (b"true,1", "could not convert"),
    ],
)
def test_bodies_that_are_no_csv(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        csv_rows(body)


def test_the_delimiter_comes_from_the_beginning_of_the_first_line() -> None:
    assert sniff_delimiter("1;2,3") == ","
    assert sniff_delimiter("1;2 3") == ";"
    assert sniff_delimiter("1") == ","
    assert sniff_delimiter("1 " * 300 + ";") == " "


@pytest.mark.parametrize(
    ("body", "width", "expected", "needed"),
    [
        (b"0:1 2:3", 3, [[1, NAN, 3]], 3),
        (b"1 0:1 2:3\n0 1:5", 3, [[1, NAN, 3], [NAN, 5, NAN]], 3),
        (b"0:0", 2, [[0, NAN]], 1),
        (b"0:1 0:2", 2, [[3, NAN]], 1),
        (b"0:1 5:9", 3, [[1, NAN, NAN]], 6),
        (b"1\n0:1", 1, [[NAN], [1]], 1),
        (b"0:1\r\n1:2\r\n", 2, [[1, NAN], [NAN, 2]], 2),
    ],
)
def test_libsvm_bodies(body: bytes, width: int, expected: list[list[float]], needed: int) -> None:
    rows, found = libsvm_rows(body, width)
    assert bits(rows) == bits(np.array(expected, dtype=np.float32))
    assert found == needed


@pytest.mark.parametrize("body", [b"1,2,3", b"x:1", b"1:x", b"-1:2", b"0:1e39", b"\xff:1", b"1:2:3"])
def test_bodies_that_are_no_libsvm(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        libsvm_rows(body, 3)


def test_a_small_libsvm_body_cannot_ask_for_all_memory() -> None:
    with pytest.raises(ValueError, match="are the most"):
        libsvm_rows(b"0:1\n" * 1000, 1_000_000)


def test_rows_for_the_library_are_contiguous_float32() -> None:
    rows = to_float32(np.arange(6, dtype=np.float64).reshape(2, 3).T)
    assert rows.flags.c_contiguous
    assert rows.dtype == np.float32
