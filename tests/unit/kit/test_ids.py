"""Ids that tell when they were made."""

from __future__ import annotations

from clary.kit.ids import SystemIds, instant_us, uuid_of


def test_a_ulid_tells_its_millisecond() -> None:
    at_us = 1_700_000_000_123_456
    assert instant_us(SystemIds().ulid(at_us)) == at_us // 1000 * 1000


def test_other_texts_tell_none() -> None:
    ulid = SystemIds().ulid(1)
    assert [instant_us(text) for text in ("", ulid[1:], ulid.lower() + "x", "U" * 26)] == [None] * 4


def test_a_ulid_has_one_uuid() -> None:
    first, second = SystemIds().ulid(1), SystemIds().ulid(1)
    assert uuid_of(first) == uuid_of(first) != uuid_of(second)
    assert len(uuid_of(first)) == 36
