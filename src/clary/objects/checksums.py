"""The checksums S3 knows: computed as bytes pass, combined where the algorithm allows it.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from clary.objects.records import COMPOSITE, FULL_OBJECT, Checksum

DEFAULT = "CRC64NVME"
"""What S3 computes for an object whose uploader gave no checksum."""


class Hasher(Protocol):
    """Takes bytes in order; gives the big-endian digest once."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC of `width` bytes, by a function (data, previous) -> next."""

    def __init__(self, step: Callable[[bytes | memoryview, int], int], width: int) -> None:
        self._step = step
        self._width = width
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width, "big")


class _XxHash:
    def __init__(self, native: _NativeXxHash) -> None:
        self._native = native

    def update(self, data: bytes | memoryview, /) -> None:
        self._native.update(data)

    def digest(self) -> bytes:
        return self._native.finalize()


class _NativeXxHash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def finalize(self) -> bytes: ...


def _crc32() -> Hasher:
    return _Crc(zlib.crc32, 4)


def _crc32c() -> Hasher:
    from awscrt import checksums

    return _Crc(checksums.crc32c, 4)


def _crc64nvme() -> Hasher:
    from awscrt import checksums

    return _Crc(checksums.crc64nvme, 8)


def _xxhash64() -> Hasher:
    from awscrt import checksums

    return _XxHash(checksums.XXHash.new_xxhash64())


def _xxhash3() -> Hasher:
    from awscrt import checksums

    return _XxHash(checksums.XXHash.new_xxhash3_64())


def _xxhash128() -> Hasher:
    from awscrt import checksums

    return _XxHash(checksums.XXHash.new_xxhash3_128())


def _md5() -> Hasher:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> Hasher:
    return hashlib.sha1(usedforsecurity=False)


@dataclass(frozen=True)
class Algorithm:
    """One checksum algorithm and what it may be used for."""

    name: str
    new: Callable[[], Hasher]
    width: int
    """Bytes of a digest."""
    kinds: tuple[str, ...]
    """Kinds a multipart upload may have; the first is the default."""


ALGORITHMS: Mapping[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("CRC32", _crc32, 4, (COMPOSITE, FULL_OBJECT)),
        Algorithm("CRC32C", _crc32c, 4, (COMPOSITE, FULL_OBJECT)),
        Algorithm("CRC64NVME", _crc64nvme, 8, (FULL_OBJECT,)),
        Algorithm("SHA1", _sha1, 20, (COMPOSITE,)),
        Algorithm("SHA256", hashlib.sha256, 32, (COMPOSITE,)),
        Algorithm("SHA512", hashlib.sha512, 64, (COMPOSITE,)),
        Algorithm("MD5", _md5, 16, (COMPOSITE,)),
        Algorithm("XXHASH64", _xxhash64, 8, (COMPOSITE,)),
        Algorithm("XXHASH3", _xxhash3, 8, (COMPOSITE,)),
        Algorithm("XXHASH128", _xxhash128, 16, (COMPOSITE,)),
    )
}


def text(digest: bytes) -> str:
    """Base64, as S3 writes checksums."""
    return base64.b64encode(digest).decode()


def full(algorithm: str, digest: bytes) -> Checksum:
    """The checksum of whole bytes."""
    return Checksum(algorithm, text(digest), FULL_OBJECT)


def of_parts(algorithm: str, kind: str, parts: Sequence[tuple[str, int]]) -> Checksum:
    """The checksum of an object made of parts, each given by (checksum in base64, size in bytes).

    COMPOSITE: the algorithm over the parts' digests, with `-<number of parts>`. FULL_OBJECT: CRCs combined, which
    equals the CRC of all the bytes.
    """
    digests = [(base64.b64decode(value), size) for value, size in parts]
    if kind == COMPOSITE:
        hasher = ALGORITHMS[algorithm].new()
        for digest, _ in digests:
            hasher.update(digest)
        return Checksum(algorithm, f"{text(hasher.digest())}-{len(parts)}", COMPOSITE)
    combine = _combiner(algorithm)
    value = 0
    for digest, size in digests:
        value = combine(value, int.from_bytes(digest, "big"), size)
    return full(algorithm, value.to_bytes(ALGORITHMS[algorithm].width, "big"))


def _combiner(algorithm: str) -> Callable[[int, int, int], int]:
    from awscrt import checksums

    combiners: dict[str, Callable[[int, int, int], int]] = {
        "CRC32": checksums.combine_crc32,
        "CRC32C": checksums.combine_crc32c,
        "CRC64NVME": checksums.combine_crc64nvme,
    }
    return combiners[algorithm]
