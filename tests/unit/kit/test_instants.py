"""Instants as they are written."""

from __future__ import annotations

from clary.kit.instants import MICROS, stamp_ms, stamp_name, stamp_s

AT_US = 1_767_225_600 * MICROS + 7_999


def test_stamps_are_cut_off_not_rounded() -> None:
    assert (stamp_s(AT_US), stamp_ms(AT_US)) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.007Z")
    assert stamp_name(AT_US) == "20260101-000000-007"
    assert stamp_s(AT_US - 8_000) == "2025-12-31T23:59:59Z"
