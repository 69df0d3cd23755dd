"""The spool keeps order, stays within its limit, and lets a reader know what is complete."""

import os
from pathlib import Path

import pytest

from clary.telemetry import spool
from clary.telemetry.delta import DELTA_BYTES_MAX, Delta, decode_deltas, encode_delta
from clary.telemetry.spool import SpoolOptions, SpoolWriter, segments


def a_delta(sequence: int) -> Delta:
    return Delta("router-0", "boot", sequence, sequence * 1_000_000, ())


def complete(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return spool.is_complete(fd)
    finally:
        os.close(fd)


def test_segments_are_ordered_and_only_the_last_is_open(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "router-0", SpoolOptions(segment_bytes=1))
    for sequence in range(1, 13):
        writer.append(encode_delta(a_delta(sequence)))
    paths = segments(tmp_path / "router-0")
    assert [decode_deltas(path.read_bytes())[0][0].sequence for path in paths] == list(range(1, 13))
    assert [complete(path) for path in paths] == [True] * 11 + [False]
    writer.close()
    assert complete(paths[-1])


def test_a_new_life_begins_a_new_segment(tmp_path: Path) -> None:
    first = SpoolWriter(tmp_path)
    first.append(b"one")
    second = SpoolWriter(tmp_path)
    second.append(b"two")
    first.append(b"three")
    assert [path.read_bytes() for path in segments(tmp_path)] == [b"onethree", b"two"]
    first.close()
    second.close()


def test_the_oldest_is_dropped_and_counted(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SpoolOptions(bytes_max=100, segment_bytes=30))
    for number in range(20):
        writer.append(bytes((number,)) * 10)
    kept = b"".join(path.read_bytes() for path in segments(tmp_path))
    assert 60 <= len(kept) <= 100
    assert kept == b"".join(bytes((number,)) * 10 for number in range(20))[-len(kept) :]
    assert writer.dropped_bytes == 200 - len(kept)
    writer.close()


def test_a_full_disk_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(b"whole")
    real_write = os.write

    def short_write(fd: int, raw: bytes) -> int:
        return real_write(fd, raw[:3])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short_write)
        with pytest.raises(OSError, match="only 3 of 6"):
            writer.append(b"second")
    writer.append(b"third")
    assert segments(tmp_path)[0].read_bytes() == b"wholethird"
    writer.close()


def test_a_torn_tail_is_waited_for_and_damage_is_seen() -> None:
    whole = encode_delta(a_delta(1))
    for cut in range(len(whole)):
        assert decode_deltas(whole + whole[:cut]) == ([a_delta(1)], len(whole), False)
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    assert decode_deltas(whole + bytes(flipped)) == ([a_delta(1)], len(whole), True)
    assert decode_deltas((DELTA_BYTES_MAX + 1).to_bytes(4, "big") + bytes(8)) == ([], 0, True)
