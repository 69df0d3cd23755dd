"""Identifiers as an argument: ULIDs for rows, UUIDs for request ids."""

from __future__ import annotations

import os
import uuid
from typing import Protocol

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Ids(Protocol):
    """Where new names come from."""

    def ulid(self, now_us: int) -> str:
        """26 characters that sort by time (milliseconds of `now_us`), then at random."""
        ...

    def request_id(self) -> str:
        """An UUID in its 36-character form, as AWS request ids are."""
        ...


def encode_ulid(now_us: int, entropy: bytes) -> str:
    """Crockford base 32 of 48 bits of milliseconds and 80 bits of `entropy` (10 bytes)."""
    value = (now_us // 1000 & (1 << 48) - 1) << 80 | int.from_bytes(entropy, "big")
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def instant_us(ulid: str) -> int | None:
    """The milliseconds that a ULID begins with, in microseconds; None for a text that is none."""
    if len(ulid) != 26 or any(char not in _CROCKFORD for char in ulid):
        return None
    ms = 0
    for char in ulid[:10]:
        ms = ms * 32 + _CROCKFORD.index(char)
    return ms * 1000


def uuid_of(ulid: str) -> str:
    """An UUID that is always the same for a ULID."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, ulid))


class SystemIds:
    """Ids from the kernel's random source."""

    def ulid(self, now_us: int) -> str:
        return encode_ulid(now_us, os.urandom(10))

    def request_id(self) -> str:
        return str(uuid.UUID(bytes=os.urandom(16), version=4))


class CountingIds:
    """Ids that count up, for tests that compare whole answers."""

    def __init__(self) -> None:
        self._count = 0

    def ulid(self, now_us: int) -> str:
        self._count += 1
        return encode_ulid(now_us, self._count.to_bytes(10, "big"))

    def request_id(self) -> str:
        self._count += 1
        return str(uuid.UUID(int=self._count))
