"""Frames survive any split, and refuse what is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.replica import frames
from clary.replica.frames import Decoder, Frame, FrameError, Kind, Tag

HEADS = st.dictionaries(st.sampled_from(sorted(Tag)).map(int), st.binary(max_size=64), max_size=6)
FRAMES = st.builds(Frame, st.sampled_from(Kind), st.integers(0, 2**64 - 1), HEADS, st.binary(max_size=512))


@given(st.lists(FRAMES, max_size=6), st.integers(1, 40))
def test_frames_survive_any_split(sent: list[Frame], piece_bytes: int) -> None:
    raw = b"".join(map(frames.encode_frame, sent))
    pieces = [raw[at : at + piece_bytes] for at in range(0, len(raw), piece_bytes)]
    got = frames.frames(pieces)
    assert [(f.kind, f.id, dict(f.head), bytes(f.body)) for f in got] == [
        (f.kind, f.id, dict(f.head), f.body) for f in sent
    ]


def test_unknown_optional_headers_are_skipped_and_required_ones_refused() -> None:
    assert frames.decode_head(bytes((0x7E, 0, 1, 9)) + frames.encode_head({Tag.STATUS: frames.u16(200)})) == {
        Tag.STATUS: b"\x00\xc8"
    }
    with pytest.raises(FrameError, match="0xfe is unknown"):
        frames.decode_head(bytes((0xFE, 0, 1, 9)))


@pytest.mark.parametrize("length", [0, 10, frames.FRAME_BYTES_MAX + 1])
def test_an_impossible_length_closes_the_link(length: int) -> None:
    with pytest.raises(FrameError, match="are allowed"):
        list(Decoder().feed(length.to_bytes(4, "big")))


def test_hello_agrees_on_the_highest_common_version() -> None:
    (hello,) = frames.frames([frames.hello("01J", "n", 64, b"{}")])
    assert frames.check_hello(hello) == frames.VERSION_MAX
    newer = Frame(Kind.HELLO, 0, {Tag.VERSION_RANGE: b"\x07\x09"}, frames.MAGIC)
    with pytest.raises(FrameError, match="7 to 9"):
        frames.check_hello(newer)
