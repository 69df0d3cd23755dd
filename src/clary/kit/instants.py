"""Instants: UTC microseconds since 1970, and how they are written. Loads no event loop, as kit/clock does."""

from __future__ import annotations

from datetime import datetime, timezone

MICROS = 1_000_000
"""Microseconds in a second: every persisted instant is UTC int64 microseconds."""


def utc_of(at_us: int) -> datetime:
    """The instant as an aware datetime."""
    return datetime.fromtimestamp(at_us / MICROS, timezone.utc)


def stamp_s(at_us: int) -> str:
    """`2026-01-01T00:00:00Z`."""
    return utc_of(at_us).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_name(at_us: int) -> str:
    """`20260101-000000-000`, for names that people read and that come in order of time."""
    return utc_of(at_us).strftime("%Y%m%d-%H%M%S-%f")[:-3]


def stamp_ms(at_us: int) -> str:
    """`2026-01-01T00:00:00.000Z`."""
    return utc_of(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")
