"""Checksums: known answers, and parts against the whole."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.objects import checksums
from clary.objects.records import COMPOSITE, FULL_OBJECT


def of(algorithm: str, data: bytes) -> str:
    hasher = checksums.ALGORITHMS[algorithm].new()
    hasher.update(data)
    return checksums.text(hasher.digest())


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        # Check values of the CRC catalogue (reveng.sourceforge.io) for "123456789".
        ("CRC32", "cbf43926"),
        ("CRC32C", "e3069283"),
        ("CRC64NVME", "ae8b14860a799888"),
        ("SHA1", hashlib.sha1(b"123456789").hexdigest()),
        ("SHA256", hashlib.sha256(b"123456789").hexdigest()),
    ],
)
def test_known_answers(algorithm: str, expected: str) -> None:
    assert of(algorithm, b"123456789") == checksums.text(bytes.fromhex(expected))


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
@given(parts=st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_crcs_of_parts_make_the_crc_of_the_whole(algorithm: str, parts: list[bytes]) -> None:
    joined = checksums.of_parts(algorithm, FULL_OBJECT, [(of(algorithm, part), len(part)) for part in parts])
    assert (joined.value, joined.kind) == (of(algorithm, b"".join(parts)), FULL_OBJECT)


def test_a_composite_is_the_digest_of_digests() -> None:
    parts = [b"one", b"two"]
    joined = checksums.of_parts("SHA256", COMPOSITE, [(of("SHA256", part), len(part)) for part in parts])
    digests = b"".join(hashlib.sha256(part).digest() for part in parts)
    assert joined.value == checksums.text(hashlib.sha256(digests).digest()) + "-2"


def test_widths() -> None:
    for algorithm in checksums.ALGORITHMS.values():
        assert len(algorithm.new().digest()) == algorithm.width
