"""Chunked bodies, split anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.dataplane.chunked import ChunkedBody
from clary.dataplane.head import Refused


def encode(parts: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts if part)
    return chunks + b"0\r\n" + trailer + b"\r\n"


@given(
    st.lists(st.binary(max_size=40), max_size=5),
    st.sampled_from([b"", b";a=b", b" ; x"]),
    st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: 1\r\nB: 2\r\n"]),
    st.binary(max_size=20),
    st.lists(st.integers(1, 30), max_size=40),
)
def test_the_body_and_what_follows_it_do_not_depend_on_the_split(
    parts: list[bytes], extension: bytes, trailer: bytes, after: bytes, sizes: list[int]
) -> None:
    raw = encode(parts, extension, trailer) + after
    body = ChunkedBody(1000)
    rest = b""
    for size in [*sizes, len(raw)]:
        piece, raw = raw[:size], raw[size:]
        rest = rest + piece if body.done else body.feed(piece)
    assert body.done
    assert (body.body(), rest) == (b"".join(parts), after)


@pytest.mark.parametrize(
    "raw",
    [
        b"-1\r\n",
        b"0x4\r\nabcd\r\n",
        b"\r\n",
        b"4 4\r\n",
        b"4\r\nabcdX\r\n",
        b"1" * 16 + b"\r\n",
        b"1" * 2000,
        b"4\nabcd",
    ],
)
def test_what_is_not_a_chunk_is_refused(raw: bytes) -> None:
    body = ChunkedBody(1 << 62)
    with pytest.raises(Refused) as refused:
        body.feed(raw + b"\r\n0\r\n\r\n")
    assert refused.value.status == 400


def test_a_body_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(Refused, match="HTTP content length exceeded 10 bytes") as refused:
        ChunkedBody(10).feed(b"b\r\n")
    assert (refused.value.status, refused.value.code) == (413, "")


def test_an_endless_trailer_is_refused() -> None:
    body = ChunkedBody(10)
    with pytest.raises(Refused, match="trailer"):
        body.feed(b"0\r\n" + b"X-A: 1234567890\r\n" * 2000)
