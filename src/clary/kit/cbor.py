"""CBOR (RFC 8949), as much of it as Smithy's RPC v2 CBOR protocol has: JSON's types, bytes and instants.

Tags but the one of an instant (1) are refused: shared references and sets would let a small body stand for a huge
value. The decoder is bounded by its input: no length is believed before the bytes are there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

DEPTH_MAX = 64
"""Nesting of arrays, maps and tags."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _OTHER = range(8)
_INDEFINITE = 31
_INSTANT = 1
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}


class CborError(ValueError):
    """Bytes that are no CBOR, or a kind of it that is not taken."""


class _End(Exception):  # noqa: N818 - ends an item of indefinite length; never leaves this module
    pass


def decode(raw: bytes) -> Any:
    """The one item that `raw` holds: None, bool, int, float, str, bytes, aware datetime, list, dict. CborError."""
    reader = _Reader(raw)
    try:
        value = reader.item(0)
    except _End:
        raise CborError("an end without a beginning") from None
    if reader.at != len(raw):
        raise CborError(f"{len(raw) - reader.at} bytes follow the value")
    return value


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.at = 0

    def _take(self, count: int) -> bytes:
        if count > len(self._raw) - self.at:
            raise CborError("it is cut short")
        self.at += count
        return self._raw[self.at - count : self.at]

    def _head(self) -> tuple[int, int]:
        first = self._take(1)[0]
        return first >> 5, first & 31

    def _number(self, info: int) -> int:
        if info < 24:
            return info
        if info not in _WIDTHS:
            raise CborError(f"a head with the reserved information {info}")
        return int.from_bytes(self._take(_WIDTHS[info]), "big")

    def item(self, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise CborError(f"it is nested deeper than {DEPTH_MAX} levels")
        kind, info = self._head()
        if kind == _UNSIGNED:
            return self._number(info)
        if kind == _NEGATIVE:
            return -1 - self._number(info)
        if kind == _BYTES:
            return self._string(kind, info)
        if kind == _TEXT:
            return self._text(self._string(kind, info))
        if kind == _ARRAY:
            items: list[Any] = []
            self._repeat(info, lambda: items.append(self.item(depth + 1)))
            return items
        if kind == _MAP:
            return self._map(info, depth)
        if kind == _TAG:
            return self._instant(self._number(info), depth)
        return self._other(info)

    def _map(self, info: int, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}

        def entry() -> None:
            key = self.item(depth + 1)
            if not isinstance(key, str):
                raise CborError("a map has a key that is no text")
            try:
                entries[key] = self.item(depth + 1)
            except _End:
                raise CborError(f"the key {key[:64]!r} has no value") from None

        self._repeat(info, entry)
        return entries

    def _repeat(self, info: int, one: Callable[[], None]) -> None:
        """So many items, or all until the end that an indefinite length has. A stray end is refused."""
        if info != _INDEFINITE:
            for _ in range(self._number(info)):
                try:
                    one()
                except _End:
                    raise CborError("an end within items that are counted") from None
            return
        while True:
            try:
                one()
            except _End:
                return

    def _string(self, kind: int, info: int) -> bytes:
        if info != _INDEFINITE:
            return self._take(self._number(info))
        parts: list[bytes] = []
        while True:
            part_kind, part_info = self._head()
            if (part_kind, part_info) == (_OTHER, _INDEFINITE):
                return b"".join(parts)
            if part_kind != kind or part_info == _INDEFINITE:
                raise CborError("a string has parts of another kind")
            parts.append(self._take(self._number(part_info)))

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise CborError("a text is not UTF-8") from None

    def _instant(self, tag: int, depth: int) -> datetime:
        if tag != _INSTANT:
            raise CborError(f"the tag {tag} is not taken")
        try:
            seconds = self.item(depth + 1)
        except _End:
            raise CborError("a tag has no value") from None
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
            raise CborError("an instant must be a number of seconds")
        try:
            return _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))
        except OverflowError:
            raise CborError(f"{seconds} is not a time in seconds since 1970") from None

    def _other(self, info: int) -> Any:
        if info == _INDEFINITE:
            raise _End
        if info in _FLOATS:
            return struct.unpack(_FLOATS[info], self._take(_WIDTHS[info]))[0]
        if info in _SIMPLE:
            return _SIMPLE[info]
        raise CborError(f"the simple value {info} is not taken")


def encode(value: Any) -> bytes:
    """A value of the kinds that `decode` gives; TypeError for another. Maps keep their order."""
    out = bytearray()
    _put(value, out)
    return bytes(out)


def _put_head(kind: int, number: int, out: bytearray) -> None:
    if number < 24:
        out.append(kind << 5 | number)
        return
    info = next(info for info, width in _WIDTHS.items() if number < 1 << 8 * width)
    out.append(kind << 5 | info)
    out += number.to_bytes(_WIDTHS[info], "big")


def _put(value: Any, out: bytearray) -> None:
    if value is None or isinstance(value, bool):
        out.append(_OTHER << 5 | (22 if value is None else 20 + value))
    elif isinstance(value, int):
        _put_head(_UNSIGNED if value >= 0 else _NEGATIVE, value if value >= 0 else -1 - value, out)
    elif isinstance(value, float):
        out += b"\xfb" + struct.pack(">d", value)
    elif isinstance(value, str):
        raw = value.encode()
        _put_head(_TEXT, len(raw), out)
        out += raw
    elif isinstance(value, (bytes, bytearray)):
        _put_head(_BYTES, len(value), out)
        out += value
    elif isinstance(value, datetime):
        microseconds = (value - _EPOCH) // timedelta(microseconds=1)
        _put_head(_TAG, _INSTANT, out)
        _put(microseconds // 1_000_000 if microseconds % 1_000_000 == 0 else microseconds / 1_000_000, out)
    elif isinstance(value, (list, tuple)):
        _put_head(_ARRAY, len(value), out)
        for item in value:
            _put(item, out)
    elif isinstance(value, dict):
        _put_head(_MAP, len(value), out)
        for key, item in value.items():
            _put(key, out)
            _put(item, out)
    else:
        raise TypeError(f"no CBOR for {type(value).__name__}")
